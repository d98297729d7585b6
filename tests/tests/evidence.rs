//! A scanner that asks for storage commitment (pynetdicom) is told what is kept, and its series are worked on at once; so are
//! those of one that reports performed procedure steps.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sulcus_engine::ledger::event::{Entry, Event, StepState};
use sulcus_tests::dcmtk::storescu;
use sulcus_tests::python::python;
use sulcus_tests::scans::reports;
use sulcus_tests::serving::{Serving, SiteSpec};
use sulcus_tests::slices::{Slices, write_series};
use sulcus_tests::{PeerError, or_skip};

const PATIENCE: Duration = Duration::from_secs(60);
/// So long that neither timer runs out in this test: only the list can have closed a series.
const NEVER: f64 = 3600.0;

fn site() -> SiteSpec {
    SiteSpec { settle_seconds: NEVER, idle_seconds: NEVER, ..SiteSpec::default() }
}

/// Sends a folder and asks for commitment to it, and to these UIDs.
fn asked(serving: &Serving, folder: &Path, also: &[&str]) -> Result<Value, PeerError> {
    let port = serving.address().port().to_string();
    let folder = folder.display().to_string();
    python("committing_scu.py", &[&[port.as_str(), &folder][..], also].concat())
}

fn committed(told: &Value) -> Vec<String> {
    told["committed"].as_array().unwrap().iter().map(|uid| uid.as_str().unwrap().to_owned()).collect()
}

fn reported(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry.event, Event::RevisionIssued { .. }))
}

#[test]
fn a_series_whose_instances_its_scanner_lists_is_worked_on_at_once_and_the_scanner_told_what_is_kept() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("in");
    write_series(&folder, Slices { count: 20, rows: 64, columns: 64, seed: 41 }).unwrap();
    let mut serving = Serving::start(work.path(), site()).unwrap();
    let Some(told) = or_skip(asked(&serving, &folder, &[])) else { return };
    assert_eq!((&told["status"], &told["event"], &told["failed"]), (&json!(0), &json!(1), &json!([])));
    assert_eq!(committed(&told).len(), 20);
    serving.wait_for("no report by evidence alone", PATIENCE, reported).unwrap();
    let entries = serving.entries();
    assert!(!entries.iter().any(|entry| matches!(entry.event, Event::TimerFired(_))));
    let lists: Vec<_> = entries.iter().filter_map(listed).map(|(here, absent)| (here.len(), absent.len())).collect();
    assert_eq!(lists, [(20, 0)]);

    // The same once more says nothing new, and is answered alike.
    assert_eq!(committed(&asked(&serving, &folder, &[]).unwrap()), committed(&told));
    assert_eq!(serving.entries().iter().filter_map(listed).count(), 1);
}

#[test]
fn what_is_not_here_is_said_and_waited_for() {
    let work = tempfile::tempdir().unwrap();
    let (folder, rest) = (work.path().join("in"), work.path().join("rest"));
    let files = write_series(&folder, Slices { count: 20, rows: 64, columns: 64, seed: 42 }).unwrap();
    std::fs::create_dir(&rest).unwrap();
    let late = rest.join(files[19].file_name().unwrap());
    std::fs::rename(&files[19], &late).unwrap();
    let mut serving = Serving::start(work.path(), site()).unwrap();
    let missing = "2.25.10004200020";
    let Some(told) = or_skip(asked(&serving, &folder, &[missing])) else { return };
    assert_eq!((&told["status"], &told["event"]), (&json!(0), &json!(2)));
    assert_eq!((committed(&told).len(), &told["failed"]), (19, &json!([[missing, 0x0112]])));
    std::thread::sleep(Duration::from_secs(3));
    assert!(!reported(&serving.entries()), "one slice of the list is not here");
    let (status, _) = serving.command(&["status"]).unwrap();
    assert!(status.contains("storage commitment"), "{status}");
    // The late slice, under a list of its own: together they are the series.
    let told = asked(&serving, &rest, &[]).unwrap();
    assert_eq!(committed(&told), [missing]);
    serving.wait_for("no report once all is here", PATIENCE, reported).unwrap();
}

/// Sends a folder within a step that ends like this, having made what another folder holds.
fn stepped(serving: &Serving, sent: &Path, made: &Path, ends: &str) -> Result<Value, PeerError> {
    let port = serving.address().port().to_string();
    python("scanner_steps.py", &[&port, &sent.display().to_string(), &made.display().to_string(), ends])
}

fn states(entries: &[Entry]) -> Vec<(StepState, usize)> {
    let state = |entry: &Entry| match &entry.event {
        Event::StepReported { state, series, .. } => Some((*state, series.values().map(BTreeSet::len).sum())),
        _ => None,
    };
    entries.iter().filter_map(state).collect()
}

#[test]
fn a_series_that_a_completed_step_made_is_worked_on_at_once_and_every_message_of_a_step_answered() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("in");
    write_series(&folder, Slices { count: 20, rows: 64, columns: 64, seed: 43 }).unwrap();
    let mut serving = Serving::start(work.path(), site()).unwrap();
    let Some(told) = or_skip(stepped(&serving, &folder, &folder, "COMPLETED")) else { return };
    let expected = json!({
        "begun": 0, "begun_again": 0x0111, "ended": 0, "ended_again": 0, "ended_otherwise": 0x0110, "never_begun": 0x0112,
    });
    assert_eq!(told, expected);
    serving.wait_for("no report by evidence alone", PATIENCE, reported).unwrap();
    let entries = serving.entries();
    assert!(!entries.iter().any(|entry| matches!(entry.event, Event::TimerFired(_))));
    assert_eq!(states(&entries), [(StepState::InProgress, 0), (StepState::Completed, 20)]);
    let (shown, _) = serving.command(&["ledger", "show"]).unwrap();
    assert!(shown.contains("which made 20 instances in 1 series"), "{shown}");
}

#[test]
fn what_a_step_made_and_did_not_come_is_said_and_waited_for() {
    let work = tempfile::tempdir().unwrap();
    let [folder, sent, rest] = ["in", "sent", "rest"].map(|name| work.path().join(name));
    let files = write_series(&folder, Slices { count: 20, rows: 64, columns: 64, seed: 44 }).unwrap();
    for (at, file) in files.iter().enumerate() {
        let into = if at < 19 { &sent } else { &rest };
        std::fs::create_dir_all(into).unwrap();
        std::fs::copy(file, into.join(file.file_name().unwrap())).unwrap();
    }
    let mut serving = Serving::start(work.path(), site()).unwrap();
    let Some(_) = or_skip(stepped(&serving, &sent, &folder, "COMPLETED")) else { return };
    std::thread::sleep(Duration::from_secs(3));
    assert!(!reported(&serving.entries()), "one slice that was made is not here");
    let (status, _) = serving.command(&["status"]).unwrap();
    assert!(status.contains("19 of 20 instances are here that its scanner says it made"), "{status}");
    storescu(serving.address(), "SULCUS", &[], &[&rest]).unwrap();
    serving.wait_for("no report once all is here", PATIENCE, reported).unwrap();
}

#[test]
fn the_report_of_a_scan_that_was_broken_off_says_so() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("in");
    write_series(&folder, Slices { count: 20, rows: 64, columns: 64, seed: 45 }).unwrap();
    let mut serving = Serving::start(work.path(), site()).unwrap();
    let Some(told) = or_skip(stepped(&serving, &folder, &folder, "DISCONTINUED")) else { return };
    assert_eq!(told["ended"], 0);
    let results = serving.results();
    serving.wait_for("no report was delivered", PATIENCE, |_| !reports(&results).is_empty()).unwrap();
    let notes = serde_json::to_string(&reports(&results)[0].1).unwrap();
    assert!(notes.contains("The scan was broken off"), "{notes}");
}

/// What an event lists as held and as absent.
fn listed(entry: &Entry) -> Option<(&Vec<String>, &Vec<String>)> {
    match &entry.event {
        Event::InstancesListed { instances, absent, .. } => Some((instances, absent)),
        _ => None,
    }
}
