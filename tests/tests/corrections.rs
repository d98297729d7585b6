//! Results that are replaced and taken back: a late slice, a withdrawal, a destination that comes back.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use serde_json::Value;
use sulcus_engine::ledger::event::{Entry, Event, Scope};
use sulcus_operators::results::report::{Report, Status};
use sulcus_tests::or_skip;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::scans::{reports, send, small_series, small_series_uid};
use sulcus_tests::serving::{Serving, SiteSpec, count, settled};

const PATIENCE: Duration = Duration::from_secs(60);

/// A site with a real archive.
fn start(work: &std::path::Path, archive: &Orthanc) -> Serving {
    Serving::start(work, SiteSpec { archive: Some(archive.dicom_address()), ..SiteSpec::default() }).unwrap()
}

/// SOPInstanceUIDs of the segmentations that an archive holds, sorted.
fn held(orthanc: &Orthanc) -> Vec<String> {
    let instances = orthanc.instances().unwrap();
    let uid = |id: &String| {
        assert_eq!(orthanc.value(id, "Modality").unwrap(), "SEG");
        orthanc.value(id, "SOPInstanceUID").unwrap().as_str().unwrap().to_owned()
    };
    let mut uids: Vec<String> = instances.iter().map(uid).collect();
    uids.sort();
    uids
}

fn segmentations<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Vec<String> {
    let mut uids: Vec<String> =
        reports.into_iter().filter_map(|report| report.segmentation_sop_instance_uid.clone()).collect();
    uids.sort();
    uids
}

fn all_reports(serving: &Serving) -> Vec<Report> {
    reports(&serving.results()).into_iter().map(|(_, report)| report).collect()
}

#[test]
fn a_late_slice_replaces_the_result_and_both_stay_in_the_archive() {
    let work = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(work.path())) else { return };
    let mut serving = start(work.path(), &orthanc);
    let slices = small_series(&work.path().join("in"), 11).unwrap();
    let (last, others) = slices.split_last().unwrap();
    send(serving.address(), others).unwrap();
    serving.wait_for("no first result", PATIENCE, |entries| settled(entries, 3)).unwrap();
    assert_eq!(all_reports(&serving).len(), 1);
    assert_eq!(count(&serving.entries(), "TimerFired"), 1, "without a count the settle window decides");

    send(serving.address(), std::slice::from_ref(last)).unwrap();
    serving.wait_for("no second result", PATIENCE, |entries| settled(entries, 6)).unwrap();
    let [first, second] = &all_reports(&serving)[..] else { panic!("two revisions stand in the folder") };
    assert_eq!((first.revision, &first.supersedes), (1, &None));
    assert_eq!((second.revision, &second.supersedes), (2, &Some(first.uid.clone())));
    let sizes = [first, second].map(|report| report.run.as_ref().unwrap().size[2]);
    assert_eq!(sizes, [19, 20], "the second was made from all slices");
    assert_eq!(held(&orthanc), segmentations([first, second]));
    assert_ne!(first.segmentation_sop_instance_uid, second.segmentation_sop_instance_uid);
}

#[test]
fn a_withdrawn_series_takes_its_result_back_and_sent_again_it_stands_again() {
    let work = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(work.path())) else { return };
    let mut serving = start(work.path(), &orthanc);
    let slices = small_series(&work.path().join("in"), 12).unwrap();
    send(serving.address(), &slices).unwrap();
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 3)).unwrap();

    let uid = small_series_uid(12);
    let unknown = serving.command(&["withdraw", "--series", "2.25.999", "--reason", "a slip"]).unwrap();
    assert!(!unknown.1 && unknown.0.contains("holds nothing"), "{unknown:?}");
    let (said, done) = serving.command(&["withdraw", "--study", &uid, "--reason", "wrong patient"]).unwrap();
    assert!(!done && said.contains("--series"), "a UID of another level takes nothing back: {said}");
    let (said, done) = serving.command(&["withdraw", "--series", &uid, "--reason", "wrong patient"]).unwrap();
    assert!(done, "{said}");
    serving.wait_for("no withdrawal", PATIENCE, |entries| settled(entries, 4)).unwrap();
    let withdrawn = all_reports(&serving).pop().unwrap();
    assert_eq!((withdrawn.revision, withdrawn.status), (2, Status::Withdrawn));
    assert!(withdrawn.withdrawn_because.as_ref().is_some_and(|why| why.contains("withdrawn")), "{withdrawn:?}");
    assert!(withdrawn.run.is_none() && withdrawn.lesions.is_empty());
    let words = serving.entries().into_iter().find_map(|entry| match entry.event {
        Event::InstanceWithdrawn { scope: Scope::Series(series), reason } if series == uid => Some(reason),
        _ => None,
    });
    assert_eq!(words.as_deref(), Some("wrong patient"), "the ledger keeps the words of whoever did it");

    send(serving.address(), &slices).unwrap();
    serving.wait_for("no result again", PATIENCE, |entries| settled(entries, 7)).unwrap();
    let all = all_reports(&serving);
    let [first, second, third] = &all[..] else { panic!("{all:?}") };
    assert_eq!((third.revision, third.status), (3, Status::Final));
    assert_eq!(third.supersedes.as_ref(), Some(&second.uid));
    assert_eq!((&first.run, &first.lesions), (&third.run, &third.lesions), "the same slices give the same result");
    assert_eq!(count(&serving.entries(), "RunStarted"), 1, "and cost no second run");
    assert_eq!(held(&orthanc), segmentations([first, third]));
}

/// Attempts at the archive: when each failed, and when the next was due.
fn failures(entries: &[Entry]) -> Vec<(i64, i64)> {
    let failure = |entry: &Entry| match &entry.event {
        Event::DeliveryFailed { destination, retry_at, .. } if destination == "archive" => Some((entry.at, *retry_at)),
        _ => None,
    };
    entries.iter().filter_map(failure).collect()
}

#[test]
fn an_archive_that_is_down_gets_each_object_once_when_it_is_back() {
    let work = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(work.path())) else { return };
    let mut serving = start(work.path(), &orthanc);
    let ports = orthanc.ports();
    drop(orthanc);
    send(serving.address(), &small_series(&work.path().join("in"), 13).unwrap()).unwrap();
    serving.wait_for("no attempts", PATIENCE, |entries| failures(entries).len() >= 3).unwrap();
    let (said, _) = serving.command(&["status", "--json"]).unwrap();
    let status: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status["deliveries_to_do"][0]["row"]["destination"], "archive", "{said}");

    let orthanc = Orthanc::start_at(work.path(), ports).unwrap();
    serving.wait_for("not delivered", PATIENCE, |entries| settled(entries, 3)).unwrap();
    let entries = serving.entries();
    let pauses: Vec<i64> = failures(&entries).iter().map(|(at, again)| again - at).collect();
    println!("pauses between attempts: {pauses:?} ms");
    assert!(pauses[0] < pauses[1] && pauses[1] < pauses[2], "each pause is longer than the last: {pauses:?}");
    let attempts: Vec<u32> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::DeliveryStarted { destination, attempt, .. } if destination == "archive" => Some(*attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts, (1..=pauses.len() as u32 + 1).collect::<Vec<_>>(), "every attempt is in the ledger");
    let receipts = entries
        .iter()
        .filter(|entry| matches!(&entry.event, Event::DeliverySettled { destination, .. } if destination == "archive"));
    assert_eq!(receipts.count(), 1);
    assert_eq!(held(&orthanc), segmentations(&all_reports(&serving)));
}
