//! A site that cannot work is refused at its start, while somebody looks: exit code 2, what is wrong, and what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sulcus_tests::places::{root, sulcus};
use sulcus_tests::slices::{Slices, write_series};

fn package() -> PathBuf {
    root().join("tests/blob-filter")
}

/// Runs the binary, which must end by itself at once; its exit code and what it said on standard error.
fn ends(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    if child.try_wait().unwrap().is_none() {
        // Its own children end with its standard input.
        child.kill().unwrap();
        panic!("{command:?} runs on");
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Writes a site with this model and these further lines.
fn site(folder: &Path, model: &Path, more: &str) -> PathBuf {
    let file = folder.join("site.toml");
    let text = format!(
        "[site]\nname = \"test\"\ndata = \"data\"\n[receiver]\naddress = \"127.0.0.1:0\"\n{more}\n\
         [[pipeline]]\nname = \"lesions\"\nwhen = 'Modality == \"MR\"'\nmodel = \"{}\"\ndestinations = [\"folder\"]\n\
         [[destination]]\nname = \"folder\"\nkind = \"folder\"\npath = \"results\"\n",
        model.display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn serve(config: &Path) -> Command {
    let mut command = Command::new(sulcus().unwrap());
    command.args(["serve", "--config"]).arg(config);
    command
}

/// It ended with code 2 and said all of `words`, beside a hint.
fn refused((code, said): (Option<i32>, String), words: &[&str]) {
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("help:") || said.contains("did you mean"), "there is no hint: {said}");
    for word in words {
        assert!(said.contains(word), "'{word}' is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn without_onnx_runtime_nothing_starts_and_the_hint_says_how_to_get_it() {
    let work = tempfile::tempdir().unwrap();
    let config = site(work.path(), &package(), "");
    let nowhere = work.path().join("nowhere");
    refused(
        ends(serve(&config).env("SULCUS_ONNXRUNTIME", &nowhere)),
        &["libonnxruntime.so", "nowhere", "cargo xtask setup"],
    );
    // A program that lies elsewhere than `cargo xtask setup` put ONNX Runtime.
    let moved = work.path().join("sulcus");
    fs::copy(sulcus().unwrap(), &moved).unwrap();
    let mut alone = Command::new(&moved);
    alone.args(["serve", "--config"]).arg(&config).env_remove("SULCUS_ONNXRUNTIME");
    refused(ends(&mut alone), &["ONNX Runtime", "cargo xtask setup"]);
    fs::create_dir(&nowhere).unwrap();
    fs::write(nowhere.join("libonnxruntime.so"), "no library").unwrap();
    refused(ends(serve(&config).env("SULCUS_ONNXRUNTIME", &nowhere)), &["cannot load", "cargo xtask setup"]);
    assert!(!work.path().join("data").exists(), "nothing was begun");

    let scans = work.path().join("scans");
    write_series(&scans, Slices { count: 3, rows: 16, columns: 16, seed: 31 }).unwrap();
    let mut run = Command::new(sulcus().unwrap());
    run.arg("run").args([&scans, &work.path().join("out")]).arg("--model").arg(package());
    refused(ends(run.env("SULCUS_ONNXRUNTIME", work.path())), &["libonnxruntime.so", "cargo xtask setup"]);
}

#[test]
fn a_model_package_with_a_changed_byte_is_refused() {
    for file in ["plans.json", "model.onnx"] {
        let work = tempfile::tempdir().unwrap();
        let copy = work.path().join("package");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(package()).unwrap().flatten() {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let config = site(work.path(), &copy, "");
        let mut bytes = fs::read(copy.join(file)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(copy.join(file), bytes).unwrap();
        refused(ends(&mut serve(&config)), &["lesions", "package", "model package"]);
        let mut check = Command::new(sulcus().unwrap());
        refused(ends(check.args(["config", "check", "--config"]).arg(&config)), &["lesions", "model package"]);
        fs::remove_file(copy.join(file)).unwrap();
        refused(ends(&mut serve(&config)), &[file, "model package"]);
    }
}

#[test]
fn a_broken_configuration_is_refused_with_its_line_and_the_nearest_key() {
    let work = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str]); 4] = [
        ("max_asociations = 3", &["site.toml:6", "max_asociations", "max_associations"]),
        ("max_pdu = \"large\"", &["site.toml:6"]),
        ("max_pdu = 12", &["site.toml:6", "max_pdu"]),
        ("idle_seconds = ", &["site.toml:6"]),
    ];
    for (line, words) in cases {
        let config = site(work.path(), &package(), line);
        let (code, said) = ends(&mut serve(&config));
        assert_eq!(code, Some(2), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "'{word}' is not in: {said}"));
        println!("{line}: {}", said.trim());
    }
    let config = site(work.path(), &package(), "");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("destinations = [\"folder\"]", "destinations = [\"foldr\"]")).unwrap();
    refused(ends(&mut serve(&config)), &["foldr", "did you mean \"folder\"?"]);
    fs::write(&config, text.replace("Modality ==", "Modality =")).unwrap();
    refused(ends(&mut serve(&config)), &["lesions"]);
    let (code, said) = ends(&mut serve(&work.path().join("absent.toml")));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("absent.toml"), "{said}");
}

#[test]
fn a_model_that_fits_no_device_is_refused_with_what_it_needs() {
    let work = tempfile::tempdir().unwrap();
    let device =
        |name: &str, mib: u32| format!("[[device]]\nname = \"{name}\"\nprovider = \"cpu\"\nmemory_mib = {mib}\n");
    let config = site(work.path(), &package(), &format!("{}{}", device("a", 1), device("b", 9)));
    let words = ["pipeline lesions", "at least 11 MiB", "more than 9 MiB", "memory_mib"];
    refused(ends(&mut serve(&config)), &words);
    let mut check = Command::new(sulcus().unwrap());
    refused(ends(check.args(["config", "check", "--config"]).arg(&config)), &words);
    site(work.path(), &package(), &format!("{}{}", device("a", 1), device("b", 11)));
    let mut check = Command::new(sulcus().unwrap());
    assert_eq!(
        ends(check.args(["config", "check", "--config"]).arg(&config)).0,
        Some(0),
        "one that holds it is enough"
    );
}
