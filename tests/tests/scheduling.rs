//! What goes first, what is stopped, and what there is no room for, at a running site.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_operators::digest::Digest;
use sulcus_operators::results::report::Report;
use sulcus_tests::places::root;
use sulcus_tests::processes::kill;
use sulcus_tests::scans::{named, objects, reports, send, small_series};
use sulcus_tests::serving::{Object, Role, Serving, SiteSpec, count, settled};
use sulcus_tests::slices::{Slices, write_series};

const PATIENCE: Duration = Duration::from_secs(300);

/// A series of 100 square slices; the filter takes 50 tiles for sides of 256 voxels.
fn large_series(folder: &Path, seed: u32, side: u16) -> Vec<Object> {
    objects(&write_series(folder, Slices { count: 100, rows: side, columns: side, seed }).unwrap()).unwrap()
}

/// A further pipeline of this name and urgency, for series of this manufacturer.
fn pipeline(name: &str, manufacturer: &str, model: &Path) -> String {
    format!(
        "[[pipeline]]\nname = \"{name}\"\nwhen = 'Manufacturer == \"{manufacturer}\"'\nmodel = \"{}\"\n\
         destinations = [\"folder\"]\nurgency = \"{name}\"\n",
        model.display()
    )
}

fn filter() -> PathBuf {
    root().join("tests/blob-filter")
}

/// The filter as another package.
fn other_filter(folder: &Path) -> PathBuf {
    let path = folder.join("other-filter");
    fs::create_dir(&path).unwrap();
    for entry in fs::read_dir(filter()).unwrap().flatten() {
        fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
    let manifest = path.join("manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, text.replace("version = \"1\"", "version = \"2\"")).unwrap();
    path
}

fn begun(entries: &[Entry]) -> Vec<(Digest, u32)> {
    let run = |entry: &Entry| match &entry.event {
        Event::RunStarted { run_key, attempt } => Some((*run_key, *attempt)),
        _ => None,
    };
    entries.iter().filter_map(run).collect()
}

fn status(serving: &Serving) -> Value {
    let (said, done) = serving.command(&["status", "--json"]).unwrap();
    assert!(done, "{said}");
    serde_json::from_str(&said).unwrap()
}

fn only_report(serving: &Serving) -> Report {
    let mut all = reports(&serving.results());
    assert_eq!(all.len(), 1);
    all.remove(0).1
}

/// The process of the only device; none while it is started anew.
fn device(serving: &Serving) -> Option<Role> {
    serving.roles().into_iter().find(|role| role.name == "infer")
}

/// Kills the device's process until a run has died of it: one that is killed before it was given the run is replaced, and
/// a run begins before its process does.
fn fail_run(serving: &mut Serving, failures: usize) {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "no run dies");
        if let Some(device) = device(serving) {
            kill(&[device.id]);
        }
        let failed = |entries: &[Entry]| count(entries, "RunFailed") == failures;
        if serving.wait_for("the run goes on", Duration::from_secs(2), failed).is_ok() {
            return;
        }
    }
}

/// How often a model was loaded onto the device.
fn loaded(serving: &Serving) -> usize {
    serving.log().matches("model ready").count()
}

#[test]
fn an_urgent_study_that_comes_last_is_the_first_of_those_that_had_not_begun() {
    let work = tempfile::tempdir().unwrap();
    let tables = format!("{}{}", pipeline("urgent", "Urgent", &filter()), pipeline("background", "Resear", &filter()));
    let when = "Manufacturer == \"Sulcus\"".to_owned();
    let mut serving = Serving::start(work.path(), SiteSpec { when, tables, ..SiteSpec::default() }).unwrap();
    let folder = work.path().join("in");
    let first = large_series(&folder, 71, 512);
    send(serving.address(), &first).unwrap();
    serving.wait_for("the first does not begin", PATIENCE, |entries| begun(entries).len() == 1).unwrap();
    for (seed, patient, manufacturer) in
        [(72, "RESEARCH1", "Resear"), (73, "ROUTINE01", "Sulcus"), (74, "EMERGENCY", "Urgent")]
    {
        let slices = named(small_series(&folder, seed).unwrap(), patient, manufacturer);
        send(serving.address(), &slices).unwrap();
    }
    let all_wait = |entries: &[Entry]| count(entries, "TimerFired") == 4;
    serving.wait_for("the others are not complete", PATIENCE, all_wait).unwrap();
    let queue: Vec<Value> = status(&serving)["runs_to_do"].as_array().unwrap().clone();
    assert_eq!(count(&serving.entries(), "RunFinished"), 0, "the first run was too short for this test");
    let study = |run: &Value| run["order"]["study_uid"].as_str().unwrap().to_owned();
    let waiting: Vec<(String, &Value)> = queue.iter().map(|run| (study(run), &run["urgency"])).collect();
    let uid = |seed: u32| format!("2.25.{}1", 100_000 + seed);
    let [urgent, normal, background] = ["urgent", "normal", "background"].map(Value::from);
    assert_eq!(waiting, [(uid(74), &urgent), (uid(71), &normal), (uid(73), &normal), (uid(72), &background)]);
    let (said, _) = serving.command(&["status"]).unwrap();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| line.contains(", since ")).collect();
    assert!(lines.len() == 4 && lines[0].starts_with("urgent") && lines[3].starts_with("background"), "{said}");

    let keys: Vec<Value> = queue.iter().map(|run| run["order"]["run_key"].clone()).collect();
    serving.wait_for("not all are reported", PATIENCE, |entries| settled(entries, 8)).unwrap();
    let began: Vec<Value> = begun(&serving.entries()).iter().map(|(key, _)| serde_json::json!(key)).collect();
    assert_eq!(began, [&keys[1], &keys[0], &keys[2], &keys[3]].map(Value::clone), "in the order of the queue");
}

#[test]
fn a_late_slice_stops_the_run_under_way_and_the_next_report_is_of_the_whole_series() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let slices = large_series(&work.path().join("in"), 75, 256);
    let (late, others) = slices.split_last().unwrap();
    send(serving.address(), others).unwrap();
    serving.wait_for("no run begins", PATIENCE, |entries| begun(entries).len() == 1).unwrap();
    let process = device(&serving).unwrap();
    send(serving.address(), std::slice::from_ref(late)).unwrap();
    serving.wait_for("the run is not stopped", PATIENCE, |entries| count(entries, "RunCancelled") == 1).unwrap();
    serving.wait_for("no report", PATIENCE, |entries| settled(entries, 2)).unwrap();
    let report = only_report(&serving);
    assert_eq!((report.revision, report.run.unwrap().size[2]), (1, 100), "the first report is of the whole series");
    assert_eq!(count(&serving.entries(), "RunFinished"), 1, "what was stopped gave nothing");
    assert_eq!(count(&serving.entries(), "RunFailed"), 0);
    assert!(serving.roles().contains(&process), "the process of the device lives on");
    assert_eq!(loaded(&serving), 1, "with its model");
    let (said, _) = serving.command(&["ledger", "show"]).unwrap();
    assert!(said.contains("RunCancelled"), "{said}");

    // The late slice goes again: what was stopped is wanted after all.
    let uid = &late.sop_instance_uid;
    let (said, done) = serving.command(&["withdraw", "--instance", uid, "--reason", "a double"]).unwrap();
    assert!(done, "{said}");
    serving.wait_for("no second report", PATIENCE, |entries| settled(entries, 4)).unwrap();
    let [(first, one), (_, _), (again, two)] = begun(&serving.entries())[..] else { panic!("three runs begin") };
    assert_eq!((again, one, two), (first, 1, 2), "the number of the attempt that was stopped is not given again");
    assert_eq!(status(&serving)["faults"], serde_json::json!([]));
}

#[test]
fn a_run_that_is_under_way_when_its_study_is_withdrawn_is_stopped_and_nothing_of_it_is_delivered() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let folder = work.path().join("in");
    let withdraw = |serving: &Serving, seed: u32| {
        let study_uid = format!("2.25.{}1", 100_000 + seed);
        let (said, done) =
            serving.command(&["withdraw", "--study", &study_uid, "--reason", "of another patient"]).unwrap();
        assert!(done, "{said}");
    };
    send(serving.address(), &large_series(&folder, 76, 256)).unwrap();
    serving.wait_for("no run begins", PATIENCE, |entries| begun(entries).len() == 1).unwrap();
    let process = device(&serving);
    assert!(process.is_some());
    withdraw(&serving, 76);
    serving.wait_for("the run is not stopped", PATIENCE, |entries| count(entries, "RunCancelled") == 1).unwrap();
    assert_eq!(device(&serving), process);

    // The last attempt is stopped as well, though there would be no other.
    send(serving.address(), &large_series(&folder, 77, 256)).unwrap();
    for attempt in 2..4 {
        serving.wait_for("no attempt begins", PATIENCE, |entries| begun(entries).len() == attempt).unwrap();
        fail_run(&mut serving, attempt - 1);
    }
    serving.wait_for("no last attempt begins", PATIENCE, |entries| begun(entries).len() == 4).unwrap();
    withdraw(&serving, 77);
    serving.wait_for("the run is not stopped", PATIENCE, |entries| count(entries, "RunCancelled") == 2).unwrap();

    send(serving.address(), &named(small_series(&folder, 78).unwrap(), "ROUTINE01", "Sulcus")).unwrap();
    serving.wait_for("no report of another study", PATIENCE, |entries| settled(entries, 2)).unwrap();
    let entries = serving.entries();
    let counts = ["RunFailed", "RunFinished", "RevisionIssued", "DeliveryStarted"].map(|name| count(&entries, name));
    assert_eq!(counts, [2, 1, 1, 2], "two died, and only the other study has a report");
    let revision = |entry: &Entry| match &entry.event {
        Event::RevisionIssued { key, .. } => Some(key.study_uid.clone()),
        _ => None,
    };
    assert_eq!(entries.iter().find_map(revision).unwrap(), "2.25.1000781");
    only_report(&serving);
}

#[test]
fn models_that_have_no_room_beside_each_other_are_loaded_by_turns() {
    let work = tempfile::tempdir().unwrap();
    let tables = pipeline("urgent", "Urgent", &other_filter(work.path()));
    let spec = SiteSpec {
        when: "Manufacturer == \"Sulcus\"".to_owned(),
        device_settings: "memory_mib = 15\n".to_owned(),
        tables,
        ..SiteSpec::default()
    };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    let folder = work.path().join("in");
    for (number, (patient, manufacturer)) in
        (1..).zip([("ROUTINE01", "Sulcus"), ("EMERGENCY", "Urgent"), ("ROUTINE02", "Sulcus")])
    {
        let slices = named(small_series(&folder, 80 + number as u32).unwrap(), patient, manufacturer);
        send(serving.address(), &slices).unwrap();
        serving.wait_for("no report", PATIENCE, |entries| settled(entries, 2 * number)).unwrap();
    }
    assert_eq!(loaded(&serving), 3, "one at the start, and another each time the other is wanted");
    assert_eq!(serving.log().matches("model left").count(), 2);
    assert_eq!((count(&serving.entries(), "RunStarted"), count(&serving.entries(), "RunFailed")), (3, 0));
}

#[test]
fn a_model_that_is_too_large_for_one_device_runs_on_another() {
    let work = tempfile::tempdir().unwrap();
    let small = "[[device]]\nname = \"small\"\nprovider = \"cpu\"\nmemory_mib = 15\n";
    let spec = SiteSpec {
        when: "Manufacturer == \"Sulcus\"".to_owned(),
        model: root().join("models/demo"),
        tables: format!("{}{small}", pipeline("urgent", "Urgent", &filter())),
        ..SiteSpec::default()
    };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    let folder = work.path().join("in");
    for (number, (patient, manufacturer, device)) in
        (1..).zip([("ROUTINE01", "Sulcus", "cpu"), ("EMERGENCY", "Urgent", "small"), ("ROUTINE02", "Sulcus", "cpu")])
    {
        let slices = named(small_series(&folder, 90 + number as u32).unwrap(), patient, manufacturer);
        send(serving.address(), &slices).unwrap();
        serving.wait_for("no report", PATIENCE, |entries| settled(entries, 2 * number)).unwrap();
        let log = serving.log();
        let line = log.lines().rfind(|line| line.contains("run started")).unwrap();
        assert!(line.contains(&format!("device=\"{device}\"")), "{line}");
    }
    assert_eq!((count(&serving.entries(), "RunStarted"), count(&serving.entries(), "RunFailed")), (3, 0));
}

#[test]
fn a_run_that_fits_no_device_is_a_fault_of_which_nothing_is_recorded_and_is_done_once_there_is_room() {
    let work = tempfile::tempdir().unwrap();
    let spec = SiteSpec { model: root().join("models/demo"), ..SiteSpec::default() };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    let slices = small_series(&work.path().join("in"), 85).unwrap();
    let (late, others) = slices.split_last().unwrap();
    send(serving.address(), others).unwrap();
    serving.wait_for("no report", PATIENCE, |entries| settled(entries, 2)).unwrap();

    // Another model for what is new, and less memory than the earlier one needs.
    let change = |serving: &mut Serving, from: &str, to: &str| {
        serving.kill_all();
        let text = fs::read_to_string(serving.config()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(serving.config(), text.replace(from, to)).unwrap();
        serving.start_again().unwrap();
        serving.wait_until_listening().unwrap();
    };
    let [earlier, newer] = [root().join("models/demo"), filter()].map(|path| path.display().to_string());
    change(&mut serving, &earlier, &newer);
    change(&mut serving, "provider = \"cpu\"\n", "provider = \"cpu\"\nmemory_mib = 20\n");
    serving.wait_for("no rules", PATIENCE, |entries| count(entries, "RulesChanged") == 2).unwrap();
    send(serving.address(), std::slice::from_ref(late)).unwrap();
    // New studies have the new model, and room.
    let other = named(small_series(&work.path().join("in"), 86).unwrap(), "ROUTINE01", "Sulcus");
    send(serving.address(), &other).unwrap();
    serving.wait_for("no report of another study", PATIENCE, |entries| settled(entries, 4)).unwrap();
    serving.wait_for("the late slice changes nothing", PATIENCE, |entries| count(entries, "TimerFired") == 3).unwrap();
    let now = status(&serving);
    let [fault] = &now["faults"].as_array().unwrap()[..] else { panic!("{now:#}") };
    let [stage, reason, hint] = ["stage", "reason", "hint"].map(|key| fault[key].as_str().unwrap());
    assert_eq!(stage, "devices");
    assert!(reason.starts_with("the model needs at least ") && reason.contains("more than 20 MiB"), "{reason}");
    assert!(hint.contains("memory_mib") && hint.contains("applies_to = \"all\""), "{hint}");
    assert_eq!(now["runs_to_do"].as_array().unwrap().len(), 1);
    assert_eq!((begun(&serving.entries()).len(), count(&serving.entries(), "RunFailed")), (2, 0));

    change(&mut serving, "memory_mib = 20\n", "memory_mib = 4096\n");
    serving.wait_for("it is not done", PATIENCE, |entries| settled(entries, 6)).unwrap();
    assert_eq!(status(&serving)["faults"], serde_json::json!([]));
}
