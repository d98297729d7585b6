//! `cargo xtask train [EPOCHS]`: the demonstration model from nothing: phantoms, nnU-Net's own training, a package with
//! where its training scans lie, its scores, and how far other scans are.
//!
//! Everything lies in `train` of the target folder, and a step whose result is there is not done again. What becomes
//! of the package is for people to decide: `models/demo` is a copy of one.

use std::path::{Path, PathBuf};

use crate::oracle;
use crate::packages::folder;
use crate::setup;
use crate::step::{Failure, command, root, step, succeed, target};

/// Heads of each site to learn from, and to be tested on.
const HEADS: [&str; 2] = ["16", "4"];

/// What the package says of itself.
const PROVENANCE: &str = "Trained on simulated heads (phantoms) alone, by models/train; no patient's image was used. \
                          Not for patients.";

/// Trains for a number of epochs of 100 steps each.
pub fn run(arguments: &[&str]) -> Result<(), Failure> {
    let epochs = match arguments {
        [] => "42",
        [epochs] if epochs.parse::<u32>().is_ok_and(|epochs| epochs > 0) => epochs,
        _ => return Err(Failure::new("the only argument is a number of epochs", "leave it out, or give 42")),
    };
    let ready = setup::everything()?;
    let python = oracle::python()?;
    let work = target().join("train");
    let templates = templates(&work)?;
    step("build", || {
        let mut cargo = ready.command("cargo");
        cargo.args(["build", "--release", "--locked", "--workspace", "--bins", "--examples"]);
        succeed(&mut cargo, "read the compiler's first error")
    })?;
    let release = target().join("release");
    let phantoms = release.join("examples/phantoms");
    let (raw, package) = (work.join("raw"), work.join(format!("package-{epochs}")));
    if !raw.join("dataset.json").is_file() {
        step("phantoms to learn from", || {
            let mut write = command(&phantoms);
            succeed(write.arg("dataset").args([&templates, &raw]).arg(HEADS[0]), "see the message above")
        })?;
    }
    if !package.is_dir() {
        let trained = work.join("trained.txt");
        step("training by nnU-Net", || {
            let mut train = command(&python);
            train.arg(root().join("models/train/train.py")).args([&raw, &work.join("nnunet")]);
            train.args(["--epochs", epochs, "--result"]).arg(&trained);
            succeed(&mut train, "see the message above; nnU-Net 2.8.1 is needed")
        })?;
        let results = std::fs::read_to_string(&trained).map_err(|error| {
            Failure::new(format!("{} cannot be read: {error}", trained.display()), "run this again")
        })?;
        step("import", || {
            let mut import = ready.command(&release.join("sulcus").to_string_lossy());
            import.args(["model", "import", "--folds", "all", "--name", "phantom-unet", "--output"]).arg(&package);
            import.args(["--provenance", PROVENANCE]);
            succeed(import.arg(results.trim()), "see the message above")
        })?;
    }
    if !package.join("embedding.bin").is_file() {
        step("where the training scans lie", || {
            let mut embed = ready.command(&release.join("sulcus").to_string_lossy());
            embed.args(["model", "embed"]).arg(&package).arg("--images").arg(raw.join("imagesTr"));
            succeed(&mut embed, "see the message above")
        })?;
    }
    step("scores on heads that the network never saw", || {
        let mut score = ready.command(&phantoms.to_string_lossy());
        succeed(score.arg("score").arg(&templates).arg(HEADS[1]).arg(&package), "see the message above")
    })?;
    step("distances of other scans from those of the training", || {
        let mut distances = ready.command(&phantoms.to_string_lossy());
        succeed(distances.arg("distances").arg(&templates).arg(HEADS[1]).arg(&package), "see the message above")
    })?;
    println!("package: {}", package.display());
    Ok(())
}

/// The folder of Colin27, out of Debian's package `mricron-data`.
fn templates(work: &Path) -> Result<PathBuf, Failure> {
    let unpacked = folder().join("mricron-data");
    let templates = unpacked.join("usr/share/mricron/templates");
    if templates.join("ch2bet.nii.gz").is_file() {
        return Ok(templates);
    }
    let hint =
        "on Debian and Ubuntu this fetches mricron-data; elsewhere unpack that package into runtime/mricron-data";
    step("template head", || {
        std::fs::create_dir_all(work)
            .map_err(|error| Failure::new(format!("{} cannot be made: {error}", work.display()), "check the disk"))?;
        succeed(command("apt-get").current_dir(work).args(["download", "mricron-data"]), hint)?;
        let packages = std::fs::read_dir(work).into_iter().flatten().flatten().map(|entry| entry.path());
        let package = packages.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb"));
        let package = package.ok_or_else(|| Failure::new("apt-get left no package", hint))?;
        succeed(command("dpkg").arg("-x").args([&package, &unpacked]), hint)
    })?;
    Ok(templates)
}
