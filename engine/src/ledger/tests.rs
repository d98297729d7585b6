//! The promises of the ledger: sequence, epochs, arrivals, reconciling, and what verify finds.
#![allow(clippy::unwrap_used)]
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::prelude::*;
use sulcus_operators::digest::Digest;

use super::{event::*, history::History, read::Reader, reconcile::reconcile, store::Ledger, verify::Report, *};
use crate::{
    spool::{
        Position, Record, Spool,
        record::{Label, Standing},
    },
    testing::facts,
};

pub(super) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn reconcile(&self, ledger: &mut Ledger) -> reconcile::Reconciled {
        reconcile(ledger, &self.ledger(), &self.spool(), 5).unwrap()
    }

    pub(super) fn verify(&self) -> Report {
        Reader::open(&self.ledger()).unwrap().verify(&self.spool()).unwrap()
    }

    /// Spools instances `numbers` of series 1 and returns what a scan would.
    pub(super) fn spool_some(&self, numbers: std::ops::Range<u32>) -> Vec<(Label, SpoolPlace, Position)> {
        let mut spool = Spool::open(&self.spool(), 1 << 20, Position::default()).unwrap();
        numbers
            .map(|number| {
                let data_set = vec![number as u8; 500];
                let facts = facts(1, number, &data_set);
                let label = Label::Received { source: "test".into(), facts: facts.into(), standing: Standing::Fresh };
                let record = Record { label: &label, data_set: &data_set, digest: Digest::of(&data_set) };
                let (place, end) = spool.append(&[record]).unwrap()[0];
                (label, place, end)
            })
            .collect()
    }
}

fn started(attempt: u32) -> Event {
    Event::RunStarted { run_key: Digest::of(b"run"), attempt }
}

pub(super) fn commit(ledger: &mut Ledger, records: &[(Label, SpoolPlace, Position)]) {
    let mut batch = ledger.begin(1).unwrap();
    for (label, place, end) in records {
        batch.record(label, *place, *end).unwrap();
    }
    batch.commit().unwrap();
}

#[test]
fn sequence_epoch_and_time_are_monotone_and_survive_reopening() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    assert_eq!(ledger.append(&[started(1), started(2)], 100).unwrap(), [1, 2]);
    drop(ledger);
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    assert_eq!(ledger.append(&[started(3)], 50).unwrap(), [3]);
    let entries = Reader::open(&place.ledger()).unwrap().entries_after(0, 10).unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.seq, entry.epoch, entry.at)).collect();
    assert_eq!(seen, [(1, 1, 100), (2, 1, 100), (3, 3, 100)]);
    assert_eq!(place.verify().faults, []);
}

#[test]
fn a_reader_never_sees_half_an_epoch() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    ledger.append(&[started(1), started(2), started(3)], 1).unwrap();
    ledger.append(&[started(4)], 1).unwrap();
    let reader = Reader::open(&place.ledger()).unwrap();
    assert_eq!(reader.entries_after(0, 1).unwrap().len(), 3);
    assert_eq!(reader.entries_after(3, 1).unwrap().len(), 1);
    assert_eq!(reader.entries_after(u64::MAX, 1).unwrap(), []);
}

#[test]
fn what_is_not_committed_never_was() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let mut batch = ledger.begin(1).unwrap();
    batch.event(&started(1)).unwrap();
    drop(batch);
    assert_eq!(ledger.append(&[started(2)], 1).unwrap(), [1]);
    assert_eq!(place.verify().faults, []);
}

#[test]
fn events_are_found_by_what_they_concern() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    commit(&mut ledger, &place.spool_some(0..3));
    ledger.append(&[started(1)], 1).unwrap();
    let reader = Reader::open(&place.ledger()).unwrap();
    assert_eq!(reader.entries_about("1.2.3.1.2", 10).unwrap().len(), 1);
    assert_eq!(reader.entries_about("1.2.3.1", 10).unwrap().len(), 3);
    assert_eq!(reader.entries_about(&Digest::of(b"run").to_string(), 10).unwrap()[0].seq, 4);
    let instances = reader.instances(&[3, 1, 4, 99]).unwrap();
    let uids: Vec<_> = instances.iter().map(|(facts, _)| facts.sop_instance_uid.as_str()).collect();
    assert_eq!(uids, ["1.2.3.1.2", "1.2.3.1.0"]);
}

#[test]
fn records_without_event_are_ingested_once_and_in_order() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let records = place.spool_some(0..600);
    commit(&mut ledger, &records[..7]);
    assert_eq!(place.reconcile(&mut ledger).ingested, 593);
    let again = place.reconcile(&mut ledger);
    assert_eq!((again.ingested, again.faults), (0, vec![]));
    let report = place.verify();
    assert_eq!((report.events, report.records, report.faults), (600, 600, vec![]));
    let reader = Reader::open(&place.ledger()).unwrap();
    let all: Vec<_> = (1..=600).collect();
    let places: Vec<_> = reader.instances(&all).unwrap().into_iter().map(|(_, place)| place).collect();
    assert_eq!(places, records.iter().map(|(_, place, _)| *place).collect::<Vec<_>>());
}

#[test]
fn a_lost_ledger_is_rebuilt_from_the_spool_alone() {
    let place = Place::new();
    let records = place.spool_some(0..5);
    commit(&mut Ledger::create_or_open(&place.ledger()).unwrap(), &records);
    std::fs::remove_file(place.ledger()).unwrap();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    assert_eq!(place.reconcile(&mut ledger).ingested, 5);
    assert_eq!(place.verify().faults, []);
}

#[test]
fn an_event_without_bytes_is_a_fault() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let records = place.spool_some(0..5);
    commit(&mut ledger, &records);
    let segment = crate::spool::segment_path(&place.spool(), 1);
    std::fs::File::options().write(true).open(&segment).unwrap().set_len(records[3].1.offset).unwrap();
    let faults = place.reconcile(&mut ledger).faults;
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["segment 1", "event 5", "event 4"]);
    assert_eq!(place.verify().faults.len(), 2);
}

#[test]
fn arrivals_are_told_apart_and_a_withdrawn_instance_comes_again_as_new() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let records = place.spool_some(1..2);
    commit(&mut ledger, &records);
    commit(&mut ledger, &records);
    let (mut other, at, end) = records[0].clone();
    if let Label::Received { facts, .. } = &mut other {
        Arc::make_mut(facts).data_set_digest = Digest::of(b"other");
    }
    commit(&mut ledger, &[(other, at, end)]);
    let withdrawn =
        Event::InstanceWithdrawn { scope: Scope::Series("1.2.3.1".into()), reason: "test".into(), because: None };
    ledger.append(&[withdrawn], 1).unwrap();
    commit(&mut ledger, &records);
    let entries = Reader::open(&place.ledger()).unwrap().entries_after(0, 10).unwrap();
    let arrivals: Vec<_> = entries
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::InstanceReceived { arrival, .. } => Some(arrival),
            _ => None,
        })
        .collect();
    let expected = [Arrival::New, Arrival::Repeated { first: 1 }, Arrival::Conflict { first: 1 }, Arrival::New];
    assert_eq!(arrivals, expected);
}

pub(super) fn change(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn verify_names_a_changed_removed_or_relabelled_event() {
    let changes = [
        ("UPDATE events SET body = replace(body, '\"attempt\":2', '\"attempt\":9') WHERE seq = 2", "event 2"),
        ("UPDATE events SET at = at + 1 WHERE seq = 3", "event 3"),
        ("UPDATE events SET name = 'RunFailed' WHERE seq = 3", "event 3"),
        ("UPDATE events SET hash = zeroblob(32) WHERE seq = 4", "event 4"),
        ("DELETE FROM events WHERE seq = 2", "event 3"),
        ("UPDATE events SET body = '{' WHERE seq = 4", "event 4"),
    ];
    for (sql, key) in changes {
        let place = Place::new();
        let events: Vec<Event> = (1..6).map(started).collect();
        Ledger::create_or_open(&place.ledger()).unwrap().append(&events, 1).unwrap();
        assert_eq!(place.verify().faults, []);
        change(&place.ledger(), sql);
        assert_eq!(place.verify().faults.first().map(|fault| fault.key.as_str()), Some(key), "{sql}");
    }
}

#[test]
fn what_is_not_a_ledger_is_refused_and_left_as_it_was() {
    let place = Place::new();
    std::fs::write(place.ledger(), b"this is certainly not a database, and never was one; keep it".repeat(50)).unwrap();
    let before = std::fs::read(place.ledger()).unwrap();
    assert!(matches!(Ledger::create_or_open(&place.ledger()), Err(LedgerError::NotALedger { .. })));
    assert!(matches!(Reader::open(&place.ledger()), Err(LedgerError::NotALedger { .. })));
    assert_eq!(std::fs::read(place.ledger()).unwrap(), before);
    std::fs::remove_file(place.ledger()).unwrap();
    assert!(matches!(Reader::open(&place.ledger()), Err(LedgerError::Missing { .. })));
    change(&place.ledger(), "CREATE TABLE someone_elses (x)");
    assert!(matches!(Ledger::create_or_open(&place.ledger()), Err(LedgerError::NotALedger { .. })));
}

#[test]
fn a_newer_version_is_refused_with_both_numbers() {
    let place = Place::new();
    Ledger::create_or_open(&place.ledger()).unwrap().append(&[started(1)], 1).unwrap();
    change(&place.ledger(), "PRAGMA user_version = 99");
    let refused = Ledger::create_or_open(&place.ledger()).unwrap_err();
    assert!(matches!(refused, LedgerError::Version { found: 99, known: 6 }));
    assert!(matches!(Reader::open(&place.ledger()), Err(LedgerError::Version { found: 99, .. })));
}

fn sealed(as_of: Seq) -> Event {
    let patient = sulcus_operators::rows::PatientKey { issuer: String::new(), id: String::new() };
    let study_uid = "1.2.3".to_owned();
    let summary = StudySummary { study_uid: study_uid.clone(), patient, series: vec![], reports: vec![] };
    Event::StudySealed { study_uid, as_of, summary }
}

#[test]
fn a_start_reads_the_open_studies_and_what_is_of_the_site() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    commit(&mut ledger, &place.spool_some(0..3));
    ledger.append(&[Event::RulesChanged(Rules::default()), started(1)], 1).unwrap();
    let reader = Reader::open(&place.ledger()).unwrap();
    let seqs = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.seq).collect::<Vec<_>>();
    let at = reader.open_work().unwrap();
    assert_eq!((at.upto, at.studies, seqs(at.site)), (5, vec!["1.2.3".to_owned()], vec![4]));
    assert_eq!(seqs(reader.about_study("1.2.3", 3).unwrap()), [1, 2]);
    assert_eq!(seqs(reader.about_run(&Digest::of(b"run"), 9).unwrap()), [5]);

    ledger.append(&[sealed(3)], 1).unwrap();
    assert!(reader.open_work().unwrap().studies.is_empty());
    assert_eq!(reader.sealed_after(0, 9).unwrap().len(), 1);
    assert_eq!((reader.sealed_after(6, 9).unwrap().len(), reader.sealed_count().unwrap()), (0, 1));

    let withdrawn =
        Event::InstanceWithdrawn { scope: Scope::Series("1.2.3.1".into()), reason: "test".into(), because: None };
    ledger.append(&[withdrawn, sealed(3)], 1).unwrap();
    assert_eq!(reader.open_work().unwrap().studies, ["1.2.3"]);
    assert_eq!(reader.sealed_count().unwrap(), 0, "a seal that saw less than there was is void");
    ledger.append(&[sealed(7)], 1).unwrap();
    assert!(reader.open_work().unwrap().studies.is_empty());
    assert_eq!(seqs(reader.about_study("1.2.3", 99).unwrap()), [1, 2, 3, 6, 7, 8, 9]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_changed_byte_of_the_file_is_an_error_or_a_fault_or_changes_nothing(at in 0usize..40_000, flip in 1u8..=255) {
        let place = Place::new();
        let events: Vec<Event> = (1..40).map(started).collect();
        Ledger::create_or_open(&place.ledger()).unwrap().append(&events, 1).unwrap();
        let before = Reader::open(&place.ledger()).unwrap().entries_after(0, 100).unwrap();
        let mut bytes = std::fs::read(place.ledger()).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        std::fs::write(place.ledger(), &bytes).unwrap();
        if let Ok(reader) = Reader::open(&place.ledger())
            && let Ok(report) = reader.verify(&place.spool())
            && report.faults.is_empty()
            && report.events == 39
        {
            prop_assert_eq!(reader.entries_after(0, 100).unwrap(), before);
        }
    }
}

#[test]
fn events_of_before_runs_kept_their_identities_still_read() {
    let zeros = "0".repeat(64);
    let revision = format!(
        r#"{{"RevisionIssued":{{"key":{{"study_uid":"1.2","pipeline":"lesions","revision":1}},"content":"{zeros}","at":5}}}}"#
    );
    let outcome = format!(
        r#"{{"RunFinished":{{"run_key":"{zeros}","mask":"{zeros}","size":[1,1,1],"spacing_um":[1,1,1],"intensity_scale":"","notes":[],"lesions":[]}}}}"#
    );
    assert!(matches!(serde_json::from_str(&revision).unwrap(), Event::RevisionIssued { run: None, .. }));
    let Event::RunFinished(outcome) = serde_json::from_str(&outcome).unwrap() else { panic!("another event") };
    assert_eq!((outcome.affine_nm, outcome.frame_of_reference_uid.as_str()), (None, ""));
}
