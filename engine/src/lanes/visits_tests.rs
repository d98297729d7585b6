//! Promises of which visits a run is compared with.
#![allow(clippy::unwrap_used)]

use sulcus_operators::{
    digest::Digest,
    rows::{RunOrder, RunOutcome, Seq},
};

use super::*;
use crate::{
    ledger::{
        event::{Because, Event, ReportedRun, RevisionKey, Scope, SpoolPlace},
        patients::MOST_STUDIES,
        store::Ledger,
    },
    spool::{
        Position,
        record::{Label, Standing},
    },
    testing::facts,
};

/// A ledger of studies with one instance each; study `n` has series `1.2.3.n`.
struct Site {
    folder: tempfile::TempDir,
    ledger: Ledger,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::create_or_open(&folder.path().join("ledger.sqlite")).unwrap();
        Site { folder, ledger }
    }

    fn receive(&mut self, study: u32, patient: &str, date: &str) -> Seq {
        let mut facts = facts(study, 1, &study.to_le_bytes());
        facts.study_uid = format!("1.9.{study}");
        facts.patient.id = patient.to_owned();
        facts.keywords.make_mut().insert("StudyDate".to_owned(), date.to_owned());
        let label = Label::Received { source: "test".into(), facts: facts.into(), standing: Standing::Fresh };
        let mut batch = self.ledger.begin(1).unwrap();
        let place = SpoolPlace { segment: 1, offset: 0, length: 4 };
        let seq = batch.record(&label, place, Position::default()).unwrap();
        batch.commit().unwrap();
        seq
    }

    fn report(&mut self, study: u32, pipeline: &str, lesions: bool) {
        self.report_compared(study, pipeline, lesions, None);
    }

    /// Reports a run that was compared with another study's.
    fn report_compared(&mut self, study: u32, pipeline: &str, lesions: bool, with: Option<u32>) {
        let run_key = Digest::of(&study.to_le_bytes());
        let lesions = serde_json::json!(if lesions {
            vec![serde_json::json!({
                "label": 1, "tracking_uid": "2.25.1", "voxels": 1, "volume_nl": 1, "centroid_um": [0, 0, 0],
                "box_first": [0, 0, 0], "box_size": [1, 1, 1], "mean_intensity_milli": 0,
                "probability_permille": 0, "peak_probability_permille": 0
            })]
        } else {
            vec![]
        });
        let outcome: RunOutcome = serde_json::from_value(serde_json::json!({
            "run_key": run_key, "mask": run_key, "size": [1, 1, 1], "spacing_um": [1, 1, 1], "intensity_scale": "",
            "notes": [], "lesions": lesions, "alignments": with.map(|with| serde_json::json!({
                "study_uid": format!("1.9.{with}"), "run_key": Digest::of(&with.to_le_bytes()),
                "transform": {"rotation_e9": [[0, 0, 0], [0, 0, 0], [0, 0, 0]], "shift_nm": [0, 0, 0]},
                "similarity_permille": 1, "overlap_permille": 1
            })).into_iter().collect::<Vec<_>>()
        }))
        .unwrap();
        let run = Some(ReportedRun { run_key, series_uid: format!("1.2.3.{study}"), inputs: Vec::new() });
        let started = Event::RunStarted { run_key, attempt: 1 };
        self.ledger.append(&[started, Event::RunFinished(outcome), revision(study, pipeline, 1, run)], 1).unwrap();
    }

    /// Studies of the visits that a run of pipeline `lesions` on the series of `study` is compared with.
    fn visits_of(&self, study: u32, member: Seq) -> Vec<String> {
        let study_uid = format!("1.9.{study}");
        let order = RunOrder {
            run_key: Digest::of(&study.to_le_bytes()),
            study_uid: study_uid.clone(),
            series_uid: format!("1.2.3.{study}"),
            stack: String::new(),
            model: Digest::default(),
            members: vec![member],
            inputs: Vec::new(),
        };
        let job = RunToDo { order, attempt: 1, wanted_by: vec![(study_uid, "lesions".to_owned())] };
        let reader = Reader::open(&self.folder.path().join("ledger.sqlite")).unwrap();
        let visits = visits(&reader, &job, &Counts::of(&reader, &job).unwrap(), &Fetcher::default()).unwrap();
        assert!(visits.iter().all(|visit| visit.instances.len() == 1));
        visits.into_iter().map(|visit| visit.study_uid).collect()
    }
}

fn revision(study: u32, pipeline: &str, revision: u32, run: Option<ReportedRun>) -> Event {
    let key = RevisionKey { study_uid: format!("1.9.{study}"), pipeline: pipeline.to_owned(), revision };
    Event::RevisionIssued { key, content: Digest::default(), at: 1, run, counted: None }
}

#[test]
fn the_four_visits_nearest_in_time_are_taken_whether_before_or_after() {
    let mut site = Site::new();
    for (study, date) in [(1, "20200101"), (2, "20260301"), (3, "20251231"), (4, ""), (5, "20260106"), (6, "20250101")]
    {
        site.receive(study, "P1", date);
        site.report(study, "lesions", true);
    }
    let new = site.receive(9, "P1", "20260102");
    assert_eq!(site.visits_of(9, new), ["1.9.3", "1.9.5", "1.9.2", "1.9.6"]);
}

#[test]
fn only_what_stands_of_the_same_patient_and_pipeline_is_a_visit() {
    let mut site = Site::new();
    for (study, patient) in [(1, "P1"), (2, "P2"), (3, "P1"), (4, "P1"), (5, "P1"), (6, "P1"), (7, "P1")] {
        site.receive(study, patient, "20260101");
    }
    site.report(1, "lesions", true);
    site.report(2, "lesions", true);
    site.report(3, "other", true);
    site.report(4, "lesions", false);
    site.report(5, "lesions", true);
    site.report(6, "lesions", true);
    let withdrawn =
        Event::InstanceWithdrawn { scope: Scope::Series("1.2.3.6".into()), reason: "test".into(), because: None };
    site.ledger.append(&[revision(5, "lesions", 2, None), withdrawn], 1).unwrap();
    let new = site.receive(9, "P1", "20260102");
    assert_eq!(
        site.visits_of(9, new),
        ["1.9.1"],
        "another patient's, another pipeline's, one without lesions, taken back"
    );

    let corrected =
        Event::InstanceWithdrawn { scope: Scope::Study("1.9.1".into()), reason: "test".into(), because: None };
    site.ledger.append(&[corrected], 1).unwrap();
    site.receive(1, "P2", "20260101");
    assert_eq!(site.visits_of(9, new), Vec::<String>::new(), "its id was corrected");

    site.receive(10, "", "20260101");
    site.report(10, "lesions", true);
    let nobody = site.receive(11, "", "20260102");
    assert_eq!(site.visits_of(11, nobody), Vec::<String>::new(), "without an id nobody has visits");
}

#[test]
fn a_study_that_is_one_too_many_to_be_a_visit_is_compared_with_none() {
    let mut site = Site::new();
    site.receive(1, "P1", "20260101");
    site.report(1, "lesions", true);
    let most = MOST_STUDIES as u32;
    for study in 2..most {
        site.receive(study, "P1", "20200101");
    }
    let last = site.receive(most, "P1", "20260102");
    let beyond = site.receive(most + 1, "P1", "20260103");
    assert_eq!(site.visits_of(most, last), ["1.9.1"]);
    assert_eq!(site.visits_of(most + 1, beyond), Vec::<String>::new());
}

#[test]
fn what_was_compared_with_another_patients_study_is_a_visit_only_once_it_is_run_again() {
    let mut site = Site::new();
    for study in [1, 2, 3] {
        site.receive(study, "P1", "20260101");
    }
    site.report(1, "lesions", true);
    site.report_compared(2, "lesions", true, Some(1));
    site.report(3, "lesions", true);
    let new = site.receive(9, "P1", "20260102");
    assert_eq!(site.visits_of(9, new), ["1.9.1", "1.9.2", "1.9.3"]);
    let withdrawn = |because| Event::InstanceWithdrawn {
        scope: Scope::Study("1.9.1".into()),
        reason: "test".into(),
        because: Some(because),
    };
    site.ledger.append(&[withdrawn(Because::Quality)], 1).unwrap();
    assert_eq!(site.visits_of(9, new), ["1.9.2", "1.9.3"]);
    site.ledger.append(&[withdrawn(Because::WrongPatient)], 1).unwrap();
    assert_eq!(site.visits_of(9, new), ["1.9.3"]);
    site.report_compared(2, "lesions", true, Some(3));
    assert_eq!(site.visits_of(9, new), ["1.9.2", "1.9.3"]);

    let corrected =
        Event::InstanceWithdrawn { scope: Scope::Study("1.9.3".into()), reason: "test".into(), because: None };
    site.ledger.append(&[corrected], 1).unwrap();
    assert_eq!(site.visits_of(9, new), ["1.9.2"]);
    site.receive(3, "P2", "20260101");
    assert_eq!(site.visits_of(9, new), Vec::<String>::new(), "it was compared with what is another patient's now");
}

#[test]
fn visits_under_ids_that_are_merged_are_one_persons_until_they_are_parted() {
    let mut site = Site::new();
    for (study, patient) in [(1, "P1"), (2, "P2"), (3, "P3")] {
        site.receive(study, patient, "20260101");
        site.report(study, "lesions", true);
    }
    let new = site.receive(9, "P1", "20260102");
    let id = |id: &str| PatientKey { id: id.to_owned(), ..facts(1, 1, b"").patient };
    let merged = |into: Option<&str>| {
        let (from, into) = (id("P2"), into.map(id));
        Event::PatientsMerged { from, into, reason: "test".into(), by: "test".into() }
    };
    site.ledger.append(&[merged(Some("P1"))], 1).unwrap();
    assert_eq!(site.visits_of(9, new), ["1.9.1", "1.9.2"]);
    site.report_compared(1, "lesions", true, Some(2));
    assert_eq!(site.visits_of(9, new), ["1.9.1", "1.9.2"]);
    site.ledger.append(&[merged(None)], 1).unwrap();
    assert_eq!(site.visits_of(9, new), Vec::<String>::new(), "the first is to be run again");
}

#[test]
fn days_are_counted_over_months_and_leap_years() {
    assert_eq!(days_between("20240228", "20240301"), 2);
    assert_eq!(days_between("20230228", "20230301"), 1);
    assert_eq!(days_between("20260101", "20251231"), 1);
    assert_eq!(days_between("20000101", "20260105"), 9501);
    for no_day in ["", "2026", "20261301", "2026-1-1", "20260132"] {
        assert_eq!(days_between(no_day, "20260105"), u64::MAX, "{no_day}");
    }
}
