//! A destination that is down, slow, refuses, breaks off and forgets to answer, in an order of a seed: what stands there
//! in the end, and in which order it came.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_engine::results_store::ResultsStore;
use sulcus_operators::digest::Digest;
use sulcus_operators::part10;
use sulcus_operators::rows::Role;
use sulcus_tests::free_port;
use sulcus_tests::scans::{reports, send, series_with_lesions};
use sulcus_tests::serving::{Serving, SiteSpec};
use sulcus_tests::wayward::{Mood, Wayward};

const PATIENCE: Duration = Duration::from_secs(180);

/// Objects that the archive has settled.
fn settled(entries: &[Entry]) -> BTreeSet<Digest> {
    let object = |entry: &Entry| match &entry.event {
        Event::DeliverySettled { object, destination, .. } if destination == "archive" => Some(*object),
        _ => None,
    };
    entries.iter().filter_map(object).collect()
}

/// The segmentations that were encoded, by study and revision.
fn segmentations(entries: &[Entry]) -> BTreeMap<(String, u32), Digest> {
    let object = |entry: &Entry| match &entry.event {
        Event::ObjectEncoded { object, key, role: Role::Segmentation, .. } => {
            Some(((key.study_uid.clone(), key.revision), *object))
        }
        _ => None,
    };
    entries.iter().filter_map(object).collect()
}

/// True once so many studies have come to this revision and the archive has settled its segmentation.
fn newest_settled(entries: &[Entry], studies: usize, revision: u32) -> bool {
    let settled = settled(entries);
    let there = |((_, number), object): &(&(String, u32), &Digest)| *number >= revision && settled.contains(object);
    let all = segmentations(entries);
    all.iter().filter(there).map(|((study, _), _)| study).collect::<BTreeSet<_>>().len() >= studies
}

fn reject_a_lesion(serving: &Serving, study: usize) {
    let newest = reports(&serving.results()).into_iter().map(|(_, report)| report);
    let mut of_study: BTreeMap<String, _> = newest.map(|report| (report.study_instance_uid.clone(), report)).collect();
    let (study_uid, report) = of_study.split_off(&study_uid(study)).pop_first().unwrap();
    let lesion = &report.lesions[0].tracking_uid;
    let words = ["verdict", "--study", &study_uid, "--lesion", lesion, "--reject", "--reader", "A. Reader"];
    let (said, done) = serving.command(&words).unwrap();
    assert!(done, "{said}");
}

fn study_uid(seed: usize) -> String {
    format!("2.25.{}1", 100_000 + seed)
}

#[test]
fn whatever_a_destination_does_everything_stands_there_once_and_in_order() {
    let work = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mut serving = Serving::start(work.path(), SiteSpec { archive: Some(address), ..SiteSpec::default() }).unwrap();
    let places = [[8, 20, 6], [20, 40, 13]];
    let series = [51, 52, 53].map(|seed| series_with_lesions(&work.path().join("in"), seed, &places).unwrap());
    for (study, slices) in series.iter().enumerate() {
        // The first is whole; of the others the last slice comes late.
        send(serving.address(), &slices[..20 - usize::from(study > 0)]).unwrap();
    }
    let failed = |entries: &[Entry]| entries.iter().any(|entry| entry.event.name() == "DeliveryFailed");
    serving.wait_for("nobody listens there yet, and nothing failed", PATIENCE, failed).unwrap();
    let seed = std::env::var("SULCUS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    let archive = Wayward::start(address, seed).unwrap();
    serving.wait_for("no first revisions", PATIENCE, |entries| newest_settled(entries, 2, 1)).unwrap();

    send(serving.address(), &series[1][19..]).unwrap();
    send(serving.address(), &series[2][19..]).unwrap();
    reject_a_lesion(&serving, 51);
    let issued = |entries: &[Entry]| segmentations(entries).keys().filter(|(_, number)| *number >= 2).count() == 3;
    serving.wait_for("no second revisions", PATIENCE, issued).unwrap();
    // The third revision of one study comes while the second may still be on its way.
    let second = |serving: &Serving| {
        let found = reports(&serving.results());
        found.iter().any(|(_, report)| report.study_instance_uid == study_uid(52) && report.revision == 2)
    };
    while !second(&serving) {
        std::thread::sleep(Duration::from_millis(20));
    }
    reject_a_lesion(&serving, 52);
    let done = |entries: &[Entry]| newest_settled(entries, 3, 2) && newest_settled(entries, 1, 3);
    serving.wait_for("no newest revisions", PATIENCE, done).unwrap();

    let (entries, held) = (serving.entries(), archive.held());
    println!("seed {seed}: {:?}; {} objects, {} came again", held.moods, held.objects.len(), held.repeated);
    assert!(Mood::ALL.iter().all(|mood| held.moods.contains_key(mood)), "it was in every mood");
    assert_eq!(held.conflicts, BTreeSet::new(), "what comes again has the same bytes");
    let store = ResultsStore::open(&serving.data()).unwrap();
    let mut encoded = BTreeMap::new();
    for entry in &entries {
        if let Event::ObjectEncoded { object, key, role, uid, bytes, .. } = &entry.event {
            encoded.insert(uid.clone(), (*object, key.clone(), *role, *bytes));
        }
    }
    let settled = settled(&entries);
    for (uid, (object, _, _, bytes)) in &encoded {
        if let Some(there) = held.objects.get(uid) {
            let ours = store.get(bytes).unwrap();
            assert!(part10::split(&ours).unwrap().data_set == there.as_slice(), "{uid} has our bytes");
        }
        assert!(!settled.contains(object) || held.objects.contains_key(uid), "{uid} is settled and not there");
    }
    assert!(held.objects.keys().all(|uid| encoded.contains_key(uid)), "nothing else is there");
    let mut last: BTreeMap<(String, Role), u32> = BTreeMap::new();
    for uid in &held.first {
        let (_, key, role, _) = &encoded[uid];
        let before = last.insert((key.study_uid.clone(), *role), key.revision).unwrap_or_default();
        assert!(before < key.revision, "revision {} of {} came after {before}", key.revision, key.study_uid);
    }
    let once: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::DeliverySettled { object, destination, .. } if destination == "archive" => Some(*object),
            _ => None,
        })
        .collect();
    assert_eq!(once.len(), settled.len(), "what was settled is not sent again");
}
