//! Ledgers of earlier versions are brought to this one, and which studies of a patient are kept together.
#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use super::{
    LedgerError,
    event::*,
    history::History,
    patients::{MOST_STUDIES, Visitors},
    read::Reader,
    store::Ledger,
    tests::{Place, change, commit},
};
use crate::{spool::record::Label, testing::facts};

#[test]
fn a_ledger_of_an_earlier_version_is_brought_to_this_one_with_all_its_events() {
    let version_1 =
        "DROP TABLE series; DROP TABLE open_studies; DROP TABLE sealed; DROP TABLE patients; DROP TABLE cohort;
                     DELETE FROM concerns WHERE key = '*' OR (key = '1.2.3' AND seq = 4); PRAGMA user_version = 1";
    is_migrated(1, version_1);
    is_migrated(2, "DROP TABLE patients; DROP TABLE cohort; PRAGMA user_version = 2");
    is_migrated(3, "DROP TABLE cohort; DROP INDEX patients_study; PRAGMA user_version = 3");
    is_migrated(4, "DROP INDEX patients_study; PRAGMA user_version = 4");
    is_migrated(5, "PRAGMA user_version = 5");
}

/// What was there before version 6, of a ledger of this version.
const WITHOUT_HOSTS: &str = "DROP TABLE peers; DROP TABLE relayed; DROP TABLE elsewhere; DROP TABLE holders;";

/// `downgrade` makes a ledger of version `version` of one of version 5.
fn is_migrated(version: i64, downgrade: &str) {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    commit(&mut ledger, &place.spool_some(0..3));
    let withdrawn =
        Event::InstanceWithdrawn { scope: Scope::Instance("1.2.3.1.2".into()), reason: "test".into(), because: None };
    ledger.append(&[withdrawn, Event::RulesChanged(Rules::default())], 1).unwrap();
    drop(ledger);
    let before = Reader::open(&place.ledger()).unwrap().entries_after(0, 9).unwrap();
    change(&place.ledger(), &format!("{WITHOUT_HOSTS} {downgrade}"));
    assert!(matches!(Reader::open(&place.ledger()), Err(LedgerError::Version { found, .. }) if found == version));
    drop(Ledger::create_or_open(&place.ledger()).unwrap());
    let reader = Reader::open(&place.ledger()).unwrap();
    assert_eq!(reader.entries_after(0, 9).unwrap(), before);
    let at = reader.open_work().unwrap();
    assert_eq!((at.studies, at.site), (vec!["1.2.3".to_owned()], before[4..].to_vec()));
    assert_eq!(reader.about_study("1.2.3", 9).unwrap(), before[..4]);
    let Event::InstanceReceived { facts, .. } = &before[0].event else { panic!("{before:?}") };
    assert!(!facts.patient.id.is_empty());
    assert_eq!(reader.visits_of(&facts.patient).unwrap(), ["1.2.3"]);
    assert_eq!(place.verify().faults, []);
}

#[test]
fn a_ledger_of_version_4_opens_the_studies_of_whom_one_was_not_the_patients() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let mut records = place.spool_some(0..4);
    for ((label, ..), (id, study)) in records.iter_mut().zip([("P1", "1"), ("P1", "2"), ("P2", "3"), ("P2", "4")]) {
        let Label::Received { facts, .. } = label else { panic!("another label") };
        let facts = Arc::make_mut(facts);
        (facts.patient.id, facts.study_uid) = (id.to_owned(), study.to_owned());
    }
    commit(&mut ledger, &records);
    let because = Some(Because::WrongPatient);
    let withdrawn = Event::InstanceWithdrawn { scope: Scope::Study("1".into()), reason: "test".into(), because };
    let seq = *ledger.append(&[withdrawn], 1).unwrap().last().unwrap();
    let patient = facts(1, 1, &[]).patient;
    let seals = ["1", "2", "3", "4"].map(|study| {
        let (study_uid, patient) = (study.to_owned(), patient.clone());
        let summary = StudySummary { study_uid: study_uid.clone(), patient, series: vec![], reports: vec![] };
        Event::StudySealed { study_uid, as_of: seq, summary }
    });
    ledger.append(&seals, 1).unwrap();
    drop(ledger);
    let open = || Reader::open(&place.ledger()).unwrap().open_work().unwrap().studies;
    assert_eq!(open(), Vec::<String>::new());
    change(&place.ledger(), &format!("{WITHOUT_HOSTS} DROP INDEX patients_study; PRAGMA user_version = 4"));
    drop(Ledger::create_or_open(&place.ledger()).unwrap());
    assert_eq!(open(), ["1", "2"]);
    assert_eq!(Reader::open(&place.ledger()).unwrap().sealed_count().unwrap(), 2);
}

#[test]
fn a_ledger_of_version_2_learns_which_studies_are_of_one_patient() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let mut records = place.spool_some(0..4);
    let changed = [("P1", "1.2.3", ""), ("P1", "1.2.4", "20260105"), ("P2", "1.2.4", "20260105"), ("", "1.2.5", "")];
    for ((label, ..), (id, study, date)) in records.iter_mut().zip(changed) {
        let Label::Received { facts, .. } = label else { panic!("another label") };
        let facts = Arc::make_mut(facts);
        (facts.patient.id, facts.study_uid) = (id.to_owned(), study.to_owned());
        facts.keywords.make_mut().extend((!date.is_empty()).then(|| ("StudyDate".to_owned(), date.to_owned())));
    }
    commit(&mut ledger, &records);
    drop(ledger);
    let studies = || {
        let reader = Reader::open(&place.ledger()).unwrap();
        let of = |id: &str| {
            let patient = sulcus_operators::rows::PatientKey { id: id.to_owned(), ..facts(1, 1, &[]).patient };
            let studies = reader.studies_of(&patient).unwrap().into_iter();
            studies.map(|study| (study.study_uid, study.study_date)).collect::<Vec<_>>()
        };
        [of("P1"), of("P2"), of(""), of("P3")]
    };
    let (first, second) = (("1.2.3".to_owned(), String::new()), ("1.2.4".to_owned(), "20260105".to_owned()));
    let expected = [vec![first, second.clone()], vec![second], vec![], vec![]];
    assert_eq!(studies(), expected, "one series of two patients in one batch is under both");
    let before = Reader::open(&place.ledger()).unwrap().entries_after(0, 9).unwrap();
    change(
        &place.ledger(),
        &format!("{WITHOUT_HOSTS} DROP TABLE patients; DROP TABLE cohort; PRAGMA user_version = 2"),
    );
    assert!(matches!(Reader::open(&place.ledger()), Err(LedgerError::Version { found: 2, .. })));
    drop(Ledger::create_or_open(&place.ledger()).unwrap());
    assert_eq!(studies(), expected);
    assert_eq!(Reader::open(&place.ledger()).unwrap().entries_after(0, 9).unwrap(), before);
}

#[test]
fn the_first_64_studies_of_a_patient_are_his_visits_and_later_ones_stand_alone() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let mut records = place.spool_some(0..67);
    let mut visitors = Visitors::default();
    let mut alone = Vec::new();
    for ((label, ..), study) in records.iter_mut().zip([1, 1].into_iter().chain(1..)) {
        let Label::Received { facts, .. } = label else { panic!("another label") };
        Arc::make_mut(facts).study_uid = format!("1.2.{study}");
        alone.extend(visitors.note(facts).map(|_| facts.study_uid.clone()));
    }
    assert_eq!(alone, ["1.2.65"]);
    commit(&mut ledger, &records);
    drop(ledger);
    let patient = facts(1, 1, &[]).patient;
    let visits = || Reader::open(&place.ledger()).unwrap().visits_of(&patient).unwrap();
    assert_eq!(visits().len(), MOST_STUDIES);
    assert!(!visits().contains(&alone[0]));
    // Version 3 noted all of them.
    change(
        &place.ledger(),
        &format!(
            "{WITHOUT_HOSTS} INSERT INTO patients SELECT issuer, id, '1.2.65', '' FROM patients LIMIT 1;
                  DROP TABLE cohort; DROP INDEX patients_study; PRAGMA user_version = 3"
        ),
    );
    drop(Ledger::create_or_open(&place.ledger()).unwrap());
    assert!(visits().len() == MOST_STUDIES && !visits().contains(&alone[0]));
}
