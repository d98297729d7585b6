//! Results that are replaced and taken back: a late slice, a withdrawal, a destination that comes back.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dicom_dictionary_std::tags;
use dicom_object::open_file;
use serde_json::Value;
use sulcus_engine::ledger::event::{Entry, Event, Scope};
use sulcus_operators::results::report::{Judgement, Report, Status};
use sulcus_tests::dciodvfy::dciodvfy;
use sulcus_tests::or_skip;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::places::sulcus;
use sulcus_tests::scans::{reports, send, series_with_lesions, small_series, small_series_uid};
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
    let (said, done) = serving
        .command(&["withdraw", "--series", &uid, "--reason", "Mr Miller's", "--because", "wrong-patient"])
        .unwrap();
    assert!(done && said.starts_with("20 instances withdrawn"), "{said}");
    serving.wait_for("no withdrawal", PATIENCE, |entries| settled(entries, 4)).unwrap();
    let withdrawn = all_reports(&serving).pop().unwrap();
    assert_eq!((withdrawn.revision, withdrawn.status), (2, Status::Withdrawn));
    let why = withdrawn.withdrawn_because.as_deref();
    assert_eq!(why, Some("its series was withdrawn: it is of another patient"), "and not the words that were given");
    assert!(withdrawn.run.is_none() && withdrawn.lesions.is_empty());
    let words = serving.entries().into_iter().find_map(|entry| match entry.event {
        Event::InstanceWithdrawn { scope: Scope::Series(series), reason, .. } if series == uid => Some(reason),
        _ => None,
    });
    assert_eq!(words.as_deref(), Some("Mr Miller's"), "the ledger keeps the words of whoever did it");

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

/// Tracking UIDs and labels of the segments of a segmentation.
fn segments(file: &Path) -> Vec<(String, String)> {
    let object = open_file(file).unwrap();
    let items = object.element(tags::SEGMENT_SEQUENCE).unwrap().items().unwrap().to_vec();
    let text = |item: &dicom_object::InMemDicomObject, tag| {
        item.get(tag)
            .map_or(String::new(), |element| element.to_str().unwrap().trim_end_matches(['\0', ' ']).to_owned())
    };
    items.iter().map(|item| (text(item, tags::TRACKING_UID), text(item, tags::SEGMENT_LABEL))).collect()
}

/// The newest report once so many revisions are delivered to the folder, and its segments.
fn revision(serving: &mut Serving, number: usize) -> (Report, Vec<(String, String)>) {
    serving.wait_for("no further revision", PATIENCE, |entries| settled(entries, 2 * number)).unwrap();
    let (folder, report) = reports(&serving.results()).pop().unwrap();
    assert_eq!(report.revision as usize, number);
    let file = folder.join("segmentation.dcm");
    if let Some(findings) = or_skip(dciodvfy(&file)) {
        assert_eq!(findings.errors, Vec::<String>::new());
    }
    (report, segments(&file))
}

fn uids(lesions: &[sulcus_operators::results::report::Lesion]) -> Vec<String> {
    lesions.iter().map(|lesion| lesion.tracking_uid.clone()).collect()
}

#[test]
fn a_rejected_lesion_stays_out_through_a_rerun_until_the_verdict_is_taken_back() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec { idle_seconds: 2.0, ..SiteSpec::default() }).unwrap();
    let places = [[14, 20, 8], [18, 44, 12]];
    let slices = series_with_lesions(&work.path().join("in"), 14, &places).unwrap();
    let (late, others) = slices.split_first().unwrap();
    send(serving.address(), others).unwrap();
    let (first, segments) = revision(&mut serving, 1);
    let found = uids(&first.lesions);
    let [vessel, lesion] = &found[..] else { panic!("two lesions are found: {first:?}") };
    assert_eq!(segments.iter().map(|(uid, _)| uid.clone()).collect::<Vec<_>>(), found);
    let study = first.study_instance_uid.clone();

    let verdict = |serving: &Serving, words: &[&str]| {
        let mut all = vec!["verdict", "--study", &study];
        all.extend(words);
        serving.command(&all).unwrap()
    };
    let (said, done) =
        verdict(&serving, &["--lesion", vessel, "--reject", "--reader", "Zarathustra", "--comment", "a vessel"]);
    assert!(done, "{said}");
    let (second, segments) = revision(&mut serving, 2);
    assert_eq!(second.supersedes.as_ref(), Some(&first.uid));
    assert!(second.result.ends_with("; 1 was rejected by a reader."), "{}", second.result);
    assert_eq!((uids(&second.lesions), uids(&second.lesions_rejected)), (vec![lesion.clone()], vec![vessel.clone()]));
    assert_eq!(second.lesion_volume_mm3, second.lesions[0].volume_mm3);
    let rejected = second.lesions_rejected[0].verdict.clone().unwrap();
    assert_eq!((rejected.verdict, rejected.reader.as_str()), (Judgement::Rejected, "Zarathustra"));
    assert_eq!(rejected.comment.as_deref(), Some("a vessel"));
    assert_eq!(segments, [(lesion.clone(), "Lesion 2".to_owned())], "neither its segment nor its voxels are there");
    assert_eq!(count(&serving.entries(), "RunStarted"), 1, "and nothing was run again");

    verdict(&serving, &["--lesion", lesion, "--relabel", "juxtacortical", "--reader", "B. Reader"]);
    let (_, segments) = revision(&mut serving, 3);
    assert_eq!(segments, [(lesion.clone(), "juxtacortical".to_owned())]);

    // The slice comes before all others, so that every voxel of the new grid has another index.
    send(serving.address(), std::slice::from_ref(late)).unwrap();
    let (fourth, segments) = revision(&mut serving, 4);
    assert_eq!(count(&serving.entries(), "RunStarted"), 2);
    let slices_of = |report: &Report| report.run.as_ref().unwrap().size[2];
    assert_eq!((slices_of(&first), slices_of(&fourth)), (19, 20));
    assert_eq!((uids(&fourth.lesions), uids(&fourth.lesions_rejected)), (vec![lesion.clone()], vec![vessel.clone()]));
    assert_eq!(fourth.lesions_rejected[0].verdict, second.lesions_rejected[0].verdict);
    assert_eq!(segments, [(lesion.clone(), "juxtacortical".to_owned())]);

    let (said, done) = verdict(&serving, &["--lesion", vessel, "--open", "--reader", "Zarathustra"]);
    assert!(done, "{said}");
    let (fifth, segments) = revision(&mut serving, 5);
    assert_eq!((uids(&fifth.lesions), fifth.lesions_rejected.len()), (found.clone(), 0));
    assert!(fifth.lesions[0].verdict.is_none());
    assert_eq!(segments.len(), 2);

    let (said, _) = serving.command(&["status", "--json"]).unwrap();
    let status: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status["faults"], serde_json::json!([]));
    assert!(!serving.log().contains("Zarathustra"), "no log names a reader");
    let (said, _) = serving.command(&["ledger", "show"]).unwrap();
    assert!(said.contains("VerdictGiven") && !said.contains("Zarathustra"), "{said}");
}

#[test]
fn a_verdict_that_cannot_be_meant_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let slices = series_with_lesions(&work.path().join("in"), 15, &[[14, 20, 8]]).unwrap();
    send(serving.address(), &slices).unwrap();
    let (report, _) = revision(&mut serving, 1);
    let (study, lesion) = (report.study_instance_uid.as_str(), report.lesions[0].tracking_uid.as_str());
    let (typo, long, comment) = (&lesion[..lesion.len() - 1], "x".repeat(65), "x".repeat(1025));
    let refused = |code: i32, study: &str, lesion: &str, words: &[&str], why: &str| {
        let mut command = Command::new(sulcus().unwrap());
        command.args(["verdict", "--study", study, "--lesion", lesion]).args(words);
        let output = command.arg("--config").arg(serving.config()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(why), "{words:?}: {said}");
    };
    let accept = ["--accept", "--reader", "A. Reader"];
    refused(1, "1.2.3", lesion, &accept, "knows no study 1.2.3");
    refused(1, study, typo, &accept, lesion);
    refused(1, study, "1.2.3", &accept, "tracking_uid");
    refused(1, study, lesion, &["--open", "--reader", "A. Reader"], "no verdict stands");
    refused(2, study, lesion, &["--accept", "--reader", " "], "--reader is empty");
    refused(2, study, lesion, &["--accept"], "--reader");
    refused(2, study, lesion, &["--reader", "A. Reader"], "--reject");
    refused(2, study, lesion, &["--accept", "--reject", "--reader", "A. Reader"], "cannot be used with");
    for (text, why) in
        [("", "is empty"), (&long, "64 characters"), ("a\\b", "backslash"), ("a\nb", "control character")]
    {
        refused(2, study, lesion, &["--relabel", text, "--reader", "A. Reader"], why);
    }
    refused(2, study, lesion, &["--accept", "--reader", "A. Reader", "--comment", &comment], "1024 characters");
    assert_eq!(count(&serving.entries(), "VerdictGiven"), 0);

    // The ledger may hold a verdict on what is in no report, from a reader who was quicker than a rerun.
    let gone = Event::VerdictGiven {
        study_uid: study.to_owned(),
        tracking_uid: "2.25.1".to_owned(),
        verdict: sulcus_operators::rows::LesionVerdict::Rejected,
        reader: "A. Reader".to_owned(),
        comment: String::new(),
    };
    sulcus_engine::receiver::client::Client::new(&serving.data()).append(vec![gone]).unwrap();
    let faults = || {
        let (said, _) = serving.command(&["status", "--json"]).unwrap();
        let status: Value = serde_json::from_str(&said).unwrap();
        status["faults"].as_array().unwrap().iter().map(|fault| fault["key"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(faults(), ["2.25.1"], "it is a fault that names the lesion");
    let words = ["verdict", "--study", study, "--lesion", "2.25.1", "--open", "--reader", "A. Reader"];
    assert!(serving.command(&words).unwrap().1, "which can be taken back");
    assert_eq!(faults(), Vec::<Value>::new());
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
