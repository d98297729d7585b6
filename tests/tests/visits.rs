//! Two visits of one patient through the whole system: lesions that persist keep their tracking UIDs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_engine::results_store::ResultsStore;
use sulcus_engine::worker::load_labels;
use sulcus_operators::phantom::{Field, Motion, Phantom, PhantomSpec, Sequence, Visit};
use sulcus_operators::rows::RunOutcome;
use sulcus_tests::scans::{phantom_scan, reports, send};
use sulcus_tests::serving::{Serving, SiteSpec, settled};

/// For three runs on whole heads, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(300);
/// PatientID of the phantom, and another of the same length.
const PATIENTS: [&str; 2] = ["PHANTOM-901", "PHANTOM-777"];
/// The day of every phantom, and that of a later visit.
const DAYS: [&str; 2] = ["20260105", "20260720"];

/// Outcomes of all runs, in the order in which they ended.
fn outcomes(serving: &Serving) -> Vec<RunOutcome> {
    let outcome = |event| if let Event::RunFinished(outcome) = event { Some(outcome) } else { None };
    serving.entries().into_iter().filter_map(|entry| outcome(entry.event)).collect()
}

/// Tracking UID and volume of the found lesion that holds most of each true one, by its label; and all tracking UIDs.
fn found(
    serving: &Serving,
    outcome: &RunOutcome,
    phantom: &Phantom,
) -> (BTreeMap<u16, (String, u64)>, BTreeSet<String>) {
    let labels = load_labels(&ResultsStore::open(&serving.data()).unwrap(), outcome).unwrap();
    let mut overlaps: BTreeMap<(u16, u16), usize> = BTreeMap::new();
    for (label, truth) in labels.iter().zip(&phantom.labels).filter(|(label, truth)| **label > 0 && **truth > 0) {
        *overlaps.entry((*truth, *label)).or_default() += 1;
    }
    let mut best: BTreeMap<u16, (usize, u16)> = BTreeMap::new();
    for ((truth, label), voxels) in overlaps {
        let most = best.entry(truth).or_insert((voxels, label));
        *most = (*most).max((voxels, label));
    }
    let row = |label: u16| outcome.lesions.iter().find(|lesion| lesion.label == u32::from(label)).unwrap();
    let of = |label: u16| (row(label).tracking_uid.clone(), row(label).volume_nl);
    let uids = outcome.lesions.iter().map(|lesion| lesion.tracking_uid.clone()).collect();
    (best.into_iter().map(|(truth, (_, label))| (truth, of(label))).collect(), uids)
}

#[test]
fn lesions_keep_their_tracking_uids_from_visit_to_visit_of_one_patient_and_of_no_other() {
    let spec = PhantomSpec { lesions: 9..=9, ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 901) };
    let motion = Motion { turn_degrees: [6.0, -4.0, 8.0], shift_mm: [5.0, -6.0, 9.0] };
    let later = Visit { motion, scan: 31, gone: vec![2], grown: vec![(4, 1.4)], new: 1 };
    let heads = [
        Phantom::generate(&spec).unwrap(),
        Phantom::revisit(&spec, &spec, &later).unwrap(),
        Phantom::revisit(&spec, &spec, &Visit { scan: 32, ..Visit::default() }).unwrap(),
    ];
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let first = phantom_scan(&heads[0], "first", &[]).unwrap();
    let second = phantom_scan(&heads[1], "second", &[DAYS]).unwrap();
    let stranger = phantom_scan(&heads[2], "stranger", &[PATIENTS]).unwrap();
    // Both visits wait at once: the second is not begun before the first is reported.
    send(serving.address(), &[first, second]).unwrap();
    serving.wait_for("no reports of two visits", PATIENCE, |entries| settled(entries, 4)).unwrap();
    send(serving.address(), &[stranger]).unwrap();
    serving.wait_for("no report of the stranger", PATIENCE, |entries| settled(entries, 6)).unwrap();

    let outcomes = outcomes(&serving);
    let [first, second, stranger] = &outcomes[..] else { panic!("three runs") };
    let ((was, all_was), (is, all_is)) = (found(&serving, first, &heads[0]), found(&serving, second, &heads[1]));
    println!("found at the first visit {was:?}, at the second {is:?}");
    let both: Vec<u16> = was.keys().filter(|label| is.contains_key(label)).copied().collect();
    assert!(both.len() >= 5 && both.contains(&4) && was.contains_key(&2), "most lesions are found at both visits");
    for label in &both {
        assert_eq!(was[label].0, is[label].0, "lesion {label} persists");
    }
    assert!(is[&4].1 > was[&4].1, "it has grown");
    assert!(!all_is.contains(&was[&2].0), "what is gone gives its identity to none");
    assert!(!all_was.contains(&is[&10].0), "what is new is new");

    let [alignment] = &second.alignments[..] else { panic!("{:?}", second.alignments) };
    assert_eq!((first.alignments.len(), alignment.run_key), (0, first.run_key));
    println!("aligned: {} and {} per mille", alignment.similarity_permille, alignment.overlap_permille);
    let all: Vec<_> = reports(&serving.results()).into_iter().map(|(_, report)| report).collect();
    let report_of = |outcome: &RunOutcome| {
        let key = outcome.run_key.to_string();
        all.iter().find(|report| report.run.as_ref().is_some_and(|run| run.run_key == key)).unwrap()
    };
    assert_eq!(alignment.study_uid, report_of(first).study_instance_uid);
    let reported: BTreeSet<String> =
        report_of(second).lesions.iter().map(|lesion| lesion.tracking_uid.clone()).collect();
    assert_eq!(reported, all_is, "the report says what the run found");
    assert!(report_of(second).notes.iter().all(|note| !note.contains("not compared")), "{:?}", report_of(second).notes);

    let (_, all_stranger) = found(&serving, stranger, &heads[2]);
    assert!(all_stranger.len() >= 5 && all_stranger.is_disjoint(&all_was) && all_stranger.is_disjoint(&all_is));
    assert_eq!(stranger.alignments, []);

    // A verdict stays with its study, though the lesion is in both.
    let (study, lesion) = (&report_of(second).study_instance_uid, &was[&both[0]].0);
    let words = ["verdict", "--study", study, "--lesion", lesion, "--reject", "--reader", "A. Reader"];
    let (said, done) = serving.command(&words).unwrap();
    assert!(done, "{said}");
    serving.wait_for("no revision", PATIENCE, |entries| settled(entries, 8)).unwrap();
    let all: Vec<_> = reports(&serving.results()).into_iter().map(|(_, report)| report).collect();
    let rejected: Vec<_> = all.iter().filter(|report| !report.lesions_rejected.is_empty()).collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!((&rejected[0].study_instance_uid, rejected[0].revision), (study, 2));

    // The counts over all patients follow: each report once, as it is now, and from any cursor on only what changed.
    let stream = |words: &[&str]| {
        let (lines, done) = serving.command(&[&["cohort", "--changes"], words].concat()).unwrap();
        assert!(done, "{lines}");
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<serde_json::Value>>()
    };
    let lines = stream(&[]);
    assert_eq!(lines.len(), 3);
    let last = &lines[2];
    assert_eq!((last["study_uid"].as_str(), last["revision"].as_u64()), (Some(study.as_str()), Some(2)));
    assert_eq!(last["adds"]["lesions"].as_u64(), Some(all_is.len() as u64 - 1));
    assert_eq!((&lines[0]["adds"]["visit"], &last["adds"]["visit"]), (&1.into(), &2.into()));
    let subjects: BTreeSet<&str> = lines.iter().map(|line| line["adds"]["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects.len(), 2);
    assert!(lines.iter().all(|line| PATIENTS.iter().all(|id| !line.to_string().contains(id))), "no id leaves");
    let cursor = lines[1]["cursor"].to_string();
    assert_eq!(stream(&["--after", &cursor]), lines[2..]);
    let (counts, done) = serving.command(&["cohort", "--by", "visit,MagneticFieldStrength", "--json"]).unwrap();
    assert!(done, "{counts}");
    let counts: Vec<serde_json::Value> = serde_json::from_str(&counts).unwrap();
    let reports = |visit: &str| counts.iter().find(|count| count["by"]["visit"] == visit).unwrap()["reports"].clone();
    assert_eq!((counts.len(), reports("1"), reports("2")), (2, 2.into(), 1.into()));
    let (refused, done) = serving.command(&["cohort", "--by", "PatientName"]).unwrap();
    assert!(!done && refused.contains("reports are not counted by PatientName"), "{refused}");

    // The second visit was the stranger's: it is run again, has nothing of the first patient's, and is compared with the
    // stranger's own.
    let (said, done) = serving
        .command(&["withdraw", "--study", study, "--reason", "another head", "--because", "wrong-patient"])
        .unwrap();
    assert!(done, "{said}");
    let corrected = phantom_scan(&heads[1], "second", &[DAYS, PATIENTS]).unwrap();
    send(serving.address(), &[corrected]).unwrap();
    let finished = |entry: &Entry| matches!(entry.event, Event::RunFinished(_));
    let four = |entries: &[Entry]| entries.iter().filter(|entry| finished(entry)).count() == 4;
    serving.wait_for("no run under the corrected id", PATIENCE, four).unwrap();
    let corrected = self::outcomes(&serving).pop().unwrap();
    let (_, all_corrected) = found(&serving, &corrected, &heads[1]);
    assert!(all_corrected.is_disjoint(&all_was) && all_corrected.is_disjoint(&all_is));
    let compared: Vec<_> = corrected.alignments.iter().map(|alignment| alignment.run_key).collect();
    assert_eq!(compared, [stranger.run_key]);
    assert!(!all_corrected.is_disjoint(&all_stranger), "lesions that both have are the same");

    // Then the stranger's scan turns out to be a third person's: what took over its identities is run again without it.
    let of_stranger = report_of(stranger).study_instance_uid.clone();
    let (said, done) = serving
        .command(&["withdraw", "--study", &of_stranger, "--reason", "a third", "--because", "wrong-worklist-entry"])
        .unwrap();
    assert!(done, "{said}");
    let five = |entries: &[Entry]| entries.iter().filter(|entry| finished(entry)).count() == 5;
    serving.wait_for("no run without the third person", PATIENCE, five).unwrap();
    let again = self::outcomes(&serving).pop().unwrap();
    assert_eq!((again.run_key, &again.alignments[..]), (corrected.run_key, &[][..]));
    assert!(found(&serving, &again, &heads[1]).1.is_disjoint(&all_stranger));
    let revised = |entry: &Entry| matches!(&entry.event, Event::RevisionIssued { key, .. } if key.study_uid == *study);
    let twice = |entries: &[Entry]| {
        let rerun = entries.iter().rposition(finished).unwrap();
        entries[rerun..].iter().any(revised)
    };
    serving.wait_for("no revision with other identities", PATIENCE, twice).unwrap();

    // And the two ids are one person's after all.
    let merge = |words: &[&str]| {
        serving.command(&[&["merge", "--reason", "one person", "--by", "A. Clerk"], words].concat()).unwrap()
    };
    let [first_id, second_id] = PATIENTS;
    let (said, done) = merge(&["--patient", second_id, "--into", first_id]);
    assert!(done && !said.contains(first_id), "{said}");
    for (words, why) in [
        (vec!["--patient", first_id, "--into", second_id], "circle"),
        (vec!["--patient", second_id, "--into", first_id], "merged already"),
        (vec!["--patient", first_id, "--undo"], "nothing to take back"),
        (vec!["--patient", "PHANTOM-000", "--into", first_id], "holds nothing of"),
    ] {
        let (said, done) = merge(&words);
        assert!(!done && said.contains(why), "{why}: {said}");
    }
    // The run of when the study was under the first id counts again, and nothing is run.
    let reissued = |entries: &[Entry]| {
        let merged = entries.iter().position(|entry| matches!(entry.event, Event::PatientsMerged { .. }));
        entries[merged.unwrap()..].iter().any(|entry| {
            matches!(&entry.event, Event::RevisionIssued { key, run: Some(run), .. }
                if key.study_uid == *study && run.run_key == second.run_key)
        })
    };
    serving.wait_for("no revision among the visits of both", PATIENCE, reissued).unwrap();
    assert_eq!(self::outcomes(&serving).len(), 5);
}
