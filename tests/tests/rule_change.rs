//! A model is changed at a running site: to what it applies, what it costs, and what becomes of a model that is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sulcus_operators::results::report::{Report, Status};
use sulcus_tests::places::root;
use sulcus_tests::scans::{reports, send, small_series};
use sulcus_tests::serving::{Serving, SiteSpec, count, settled};

const PATIENCE: Duration = Duration::from_secs(120);

/// The filter as a package of its own, under another version.
fn package(folder: &Path, version: &str) -> PathBuf {
    let path = folder.join(format!("filter-{version}"));
    fs::create_dir(&path).unwrap();
    for entry in fs::read_dir(root().join("tests/blob-filter")).unwrap().flatten() {
        fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
    let manifest = path.join("manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("version = \"1\""));
    fs::write(manifest, text.replace("version = \"1\"", &format!("version = \"{version}\""))).unwrap();
    path
}

/// Configuration with another `model` and further lines of the pipeline.
fn config(serving: &Serving, model: &Path, more: &str) -> String {
    let text = fs::read_to_string(serving.config()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("applies_to"));
    let lines = lines.map(|line| match line.starts_with("model = ") {
        true => format!("model = \"{}\"\n{more}", model.display()),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Stops the site and starts it with these rules, which are its `rules`th.
fn restart(serving: &mut Serving, config: &str, rules: usize) {
    serving.kill_all();
    fs::write(serving.config(), config).unwrap();
    serving.start_again().unwrap();
    serving.wait_until_listening().unwrap();
    serving.wait_for("no rules", PATIENCE, |entries| count(entries, "RulesChanged") == rules).unwrap();
}

/// What `ledger replay` says of a configuration.
fn tried(serving: &Serving, config: &str) -> Value {
    let file = serving.config().with_file_name("tried.toml");
    fs::write(&file, config).unwrap();
    let before = serving.entries().len();
    let with = file.display().to_string();
    let (said, done) = serving.command(&["ledger", "replay", "--json", "--with", &with]).unwrap();
    assert!(done, "{said}");
    assert_eq!(serving.entries().len(), before, "a rehearsal writes nothing");
    serde_json::from_str::<Value>(&said).unwrap()["pipelines"]["lesions"].clone()
}

/// The newest report on each study, in the order in which the studies came: revision, status and version of the model.
fn newest(serving: &Serving) -> Vec<(u32, Status, Option<String>)> {
    let mut newest: Vec<Report> = Vec::new();
    for (_, report) in reports(&serving.results()) {
        match newest.iter_mut().find(|known| known.study_instance_uid == report.study_instance_uid) {
            Some(known) if known.revision < report.revision => *known = report,
            Some(_) => {}
            None => newest.push(report),
        }
    }
    newest.sort_by(|a, b| a.study_instance_uid.cmp(&b.study_instance_uid));
    let version = |report: &Report| report.run.as_ref().map(|run| run.model_version.clone());
    newest.iter().map(|report| (report.revision, report.status, version(report))).collect()
}

fn stands(revision: u32, version: &str) -> (u32, Status, Option<String>) {
    (revision, Status::Final, Some(version.to_owned()))
}

#[test]
fn a_model_changes_for_new_scans_then_for_all_and_back_without_a_run() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    send(serving.address(), &small_series(&work.path().join("a"), 41).unwrap()).unwrap();
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();
    let (first, second) = (root().join("tests/blob-filter"), package(work.path(), "2"));

    let new = config(&serving, &second, "applies_to = \"new\"");
    let said = tried(&serving, &new);
    assert_eq!(
        (&said["series"], &said["runs_to_compute"], &said["reports_reissued"]),
        (&0.into(), &0.into(), &0.into())
    );
    restart(&mut serving, &new, 2);
    send(serving.address(), &small_series(&work.path().join("b"), 42).unwrap()).unwrap();
    serving.wait_for("no second study", PATIENCE, |entries| settled(entries, 4)).unwrap();
    assert_eq!(
        newest(&serving),
        [stands(1, "1"), stands(1, "2")],
        "the old study stands, the new one has the new model"
    );
    assert_eq!(count(&serving.entries(), "RunStarted"), 2);

    let all = config(&serving, &second, "applies_to = \"all\"");
    let said = tried(&serving, &all);
    let counts = ["series", "studies", "runs_to_compute", "runs_done", "reports_reissued", "reports_withdrawn"];
    assert_eq!(counts.map(|name| said[name].as_u64().unwrap()), [1, 1, 1, 0, 1, 0], "{said}");
    assert_eq!(said["deliveries"]["folder"], 2);
    restart(&mut serving, &all, 3);
    serving.wait_for("the old study is not reissued", PATIENCE, |entries| settled(entries, 6)).unwrap();
    assert_eq!(newest(&serving), [stands(2, "2"), stands(1, "2")]);

    let back = config(&serving, &first, "applies_to = \"since 2000-01-01\"");
    restart(&mut serving, &back, 4);
    serving.wait_for("not reissued", PATIENCE, |entries| settled(entries, 10)).unwrap();
    assert_eq!(newest(&serving), [stands(3, "1"), stands(2, "1")]);
    assert_eq!(count(&serving.entries(), "RunStarted"), 4, "the second study had not met the first model");
    let said = tried(&serving, &all);
    assert_eq!(counts.map(|name| said[name].as_u64().unwrap()), [2, 2, 0, 2, 2, 0], "{said}");
    restart(&mut serving, &all, 5);
    serving.wait_for("not reissued again", PATIENCE, |entries| settled(entries, 14)).unwrap();
    assert_eq!(newest(&serving), [stands(4, "2"), stands(3, "2")]);
    assert_eq!(count(&serving.entries(), "RunStarted"), 4, "going back runs nothing");

    let none = all.replace("when = 'Modality == \"MR\"'", "when = 'false'");
    assert_eq!(tried(&serving, &none)["reports_withdrawn"], 2);
    restart(&mut serving, &none, 6);
    serving.wait_for("not withdrawn", PATIENCE, |entries| settled(entries, 16)).unwrap();
    assert_eq!(newest(&serving), [(5, Status::Withdrawn, None), (4, Status::Withdrawn, None)]);
}

#[test]
fn an_earlier_model_that_is_gone_fails_by_name_and_holds_up_nothing() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    serving.wait_for("no rules", PATIENCE, |entries| count(entries, "RulesChanged") == 1).unwrap();
    let (first, second) = (package(work.path(), "1b"), package(work.path(), "2"));
    let config_of = |serving: &Serving, model: &Path| config(serving, model, "applies_to = \"new\"");
    let text = config_of(&serving, &first);
    restart(&mut serving, &text, 2);
    let slices = small_series(&work.path().join("a"), 43).unwrap();
    let (last, others) = slices.split_last().unwrap();
    send(serving.address(), others).unwrap();
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();

    let text = config_of(&serving, &second);
    restart(&mut serving, &text, 3);
    fs::remove_dir_all(&first).unwrap();
    fs::rename(package(work.path(), "3"), &first).unwrap();
    send(serving.address(), std::slice::from_ref(last)).unwrap();
    send(serving.address(), &small_series(&work.path().join("b"), 44).unwrap()).unwrap();
    serving.wait_for("no withdrawal and no result", PATIENCE, |entries| settled(entries, 5)).unwrap();
    assert_eq!(newest(&serving), [(2, Status::Withdrawn, None), stands(1, "2")]);
    let (said, _) = serving.command(&["status"]).unwrap();
    assert!(said.contains("no longer holds model blob-filter 1b of an earlier rule"), "{said}");
    assert!(said.contains("applies_to"), "{said}");
}

#[test]
fn a_configuration_that_cannot_be_tried_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let replay = |with: &str| serving.command(&["ledger", "replay", "--with", with]).unwrap();
    let (said, done) = replay("absent.toml");
    assert!(!done && said.contains("absent.toml"), "{said}");
    let text = fs::read_to_string(serving.config()).unwrap();
    let broken = work.path().join("broken.toml").display().to_string();
    for (from, to, words) in [
        ("Modality ==", "Modalty ==", "did you mean Modality?"),
        ("tests/blob-filter", "tests/nowhere", "nowhere"),
        ("[[pipeline]]", "[[pipeline]]\napplies_to = \"since yesterday\"", "since YYYY-MM-DD"),
    ] {
        fs::write(&broken, text.replace(from, to)).unwrap();
        let (said, done) = replay(&broken);
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!done && flat.contains(words), "{said}");
    }
}
