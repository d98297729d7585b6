//! An operator closes a series as it stands, or lets it wait.

use std::time::Duration;

use serde_json::Value;
use sulcus_operators::results::report::{Report, Status};
use sulcus_tests::scans::{reports, send, small_series, small_series_uid};
use sulcus_tests::serving::{Serving, SiteSpec, count, settled};

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a command, which must end as `done` says; its words without line breaks.
fn say(serving: &Serving, words: &[&str], done: bool) -> String {
    let (said, well) = serving.command(words).unwrap();
    assert_eq!(well, done, "{words:?}: {said}");
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The reasons that `status` gives for a series, in one line.
fn reasons(serving: &Serving, series: &str) -> String {
    let (said, _) = serving.command(&["status", "--json"]).unwrap();
    let status: Value = serde_json::from_str(&said).unwrap();
    let rows = status["series"].as_array().unwrap().iter();
    rows.filter(|row| row["series_uid"] == series).map(|row| row["completeness"].to_string()).collect()
}

fn all_reports(serving: &Serving) -> Vec<Report> {
    reports(&serving.results()).into_iter().map(|(_, report)| report).collect()
}

#[test]
fn a_broken_off_series_is_closed_held_and_released() {
    let work = tempfile::tempdir().unwrap();
    let spec = SiteSpec { idle_seconds: 600.0, ..SiteSpec::default() };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    let slices = small_series(&work.path().join("in"), 51).unwrap();
    let uid = small_series_uid(51);
    // Numbered from 4 on: only the idle timer would close it.
    send(serving.address(), &slices[3..]).unwrap();
    serving.wait_for("not received", PATIENCE, |entries| count(entries, "AssociationReleased") == 1).unwrap();
    assert!(reasons(&serving, &uid).contains("waits for more instances"));
    let close = ["close", "--series", &uid, "--reason", "patient left the scanner", "--by", "radiographer"];
    assert!(say(&serving, &close, true).contains("closed with 17 instances"));
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();
    let [first] = &all_reports(&serving)[..] else { panic!("one report") };
    let notes = first.notes.join(" ");
    assert!(notes.contains("An operator closed the series") && notes.contains("patient left the scanner"), "{notes}");
    assert!(!notes.contains("radiographer"), "{notes}");
    assert!(say(&serving, &close, false).contains("is complete already"));

    let hold = ["hold", "--series", &uid, "--reason", "more slices are found", "--by", "radiographer"];
    assert!(say(&serving, &hold, true).contains("held by event"));
    send(serving.address(), &slices[..3]).unwrap();
    serving.wait_for("not received", PATIENCE, |entries| count(entries, "AssociationReleased") == 2).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(reasons(&serving, &uid).contains("held by radiographer: more slices are found"));
    assert!(say(&serving, &["status"], true).contains("held by radiographer: more slices are found"));
    assert_eq!(all_reports(&serving).len(), 1, "it waits though it looks whole");
    let release = ["release", "--series", &uid, "--reason", "all are sent", "--by", "radiographer"];
    assert!(say(&serving, &release, true).contains("the evidence counts again"));
    assert!(say(&serving, &release, false).contains("is not held"));
    serving.wait_for("no second result", PATIENCE, |entries| settled(entries, 4)).unwrap();
    let second = all_reports(&serving).pop().unwrap();
    assert_eq!((second.revision, second.status, second.run.as_ref().unwrap().size[2]), (2, Status::Final, 20));
    assert!(!second.notes.join(" ").contains("An operator closed"), "{:?}", second.notes);
    let shown = say(&serving, &["ledger", "show"], true);
    assert!(shown.contains("SeriesDirected") && !shown.contains("radiographer"), "{shown}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_hint() {
    let work = tempfile::tempdir().unwrap();
    let spec = SiteSpec { idle_seconds: 600.0, ..SiteSpec::default() };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    send(serving.address(), &small_series(&work.path().join("in"), 52).unwrap()[..1]).unwrap();
    serving.wait_for("not received", PATIENCE, |entries| count(entries, "AssociationReleased") == 1).unwrap();
    let (series, long) = (small_series_uid(52), "x".repeat(1025));
    let study = serving.entries().iter().find_map(|entry| match &entry.event {
        sulcus_engine::ledger::event::Event::InstanceReceived { facts, .. } => Some(facts.study_uid.clone()),
        _ => None,
    });
    for command in ["close", "hold", "release"] {
        let said = |series: &str, reason: &str, by: &str| {
            say(&serving, &[command, "--series", series, "--reason", reason, "--by", by], false)
        };
        assert!(said("2.25.999", "a slip", "me").contains("`sulcus status` lists"));
        assert!(said(study.as_ref().unwrap(), "a slip", "me").contains(&format!("its series are {series}")));
        assert!(said(&series, " ", "me").contains("--reason is empty"));
        assert!(said(&series, &long, "me").contains("more than 1024 characters"));
        assert!(said("", "a slip", "me").contains("holds no series"));
        if command != "release" {
            assert!(said(&series, "a slip", "\u{7}").contains("--by holds a control character"));
        }
    }
    assert_eq!(count(&serving.entries(), "SeriesDirected"), 0, "nothing was recorded");
    let said = say(&serving, &["close", "--series", &series, "--reason", "it is all", "--by", "me"], true);
    assert!(said.contains("it still cannot be used: the series holds a single slice"), "{said}");
    let said = say(&serving, &["withdraw", "--series", &series, "--reason", "a slip"], true);
    assert!(said.contains("1 instance withdrawn"), "{said}");
    let said = say(&serving, &["hold", "--series", &series, "--reason", "why not", "--by", "me"], false);
    assert!(said.contains("holds nothing of series"), "{said}");
    serving.kill_all();
    let (said, done) = serving.command(&["hold", "--series", &series, "--reason", "why not"]).unwrap();
    assert!(!done && !said.contains("panicked"), "{said}");
}
