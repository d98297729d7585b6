//! Ids that are one person's: visits and runs follow the merge, and go back where it is taken back.

use sulcus_engine::ledger::event::Event;
use sulcus_operators::rows::ReportRow;

use crate::site::{Site, Slice, patient, study_uid};

impl Site {
    /// Says that a patient is another, or nobody but himself again.
    pub fn merge(&mut self, from: u8, into: Option<u8>) {
        let (from, into) = (patient(from), into.map(patient));
        self.event(Event::PatientsMerged { from, into, reason: "one person".into(), by: "A. Clerk".into() });
    }
}

/// Study 0 is of patient 0, studies 1 and 2 of patient 1, study 3 of patient 2; each of its own day.
fn visits() -> Site {
    let mut site = Site::that_compares();
    for (study, patient) in [(0, 0), (1, 1), (2, 1), (3, 2)] {
        let day = ["20200101", "20210101", "20220101", "20230101"][usize::from(study)];
        for number in 1..=4 {
            site.slice(&Slice { expected: Some(4), day, patient, ..Slice::new(study, 0, number) });
        }
        site.work();
    }
    site
}

fn runs(site: &Site) -> usize {
    site.log.iter().filter(|entry| matches!(entry.event, Event::RunFinished(_))).count()
}

fn revisions(site: &Site) -> [usize; 4] {
    let of = |study: u8| {
        let is_of =
            |event: &Event| matches!(event, Event::RevisionIssued { key, .. } if key.study_uid == study_uid(study));
        site.log.iter().filter(|entry| is_of(&entry.event)).count()
    };
    [0, 1, 2, 3].map(of)
}

/// The studies that a report tells of.
fn told(site: &Site, study: u8) -> Vec<String> {
    let is_of = |row: &ReportRow| row.study_uid == study_uid(study);
    let report = site.reports().into_iter().find(is_of).unwrap();
    report.visits.into_iter().map(|visit| visit.study_uid).collect()
}

fn of(studies: &[u8]) -> Vec<String> {
    studies.iter().map(|study| study_uid(*study)).collect()
}

#[test]
fn the_visits_of_ids_that_are_merged_are_one_persons_and_only_what_is_given_up_is_run_again() {
    let mut site = visits();
    assert_eq!((runs(&site), revisions(&site)), (4, [1, 1, 1, 1]));
    assert_eq!((told(&site, 1), told(&site, 2)), (vec![], of(&[1, 2])));
    site.merge(1, Some(0));
    site.work();
    assert_eq!((told(&site, 0), told(&site, 1), told(&site, 2)), (vec![], of(&[0, 1]), of(&[0, 1, 2])));
    assert_eq!((runs(&site), revisions(&site)), (6, [1, 2, 2, 1]));
    site.open.restart(&site.log.clone(), &site.now.clone());
    // Taken back: what was run before counts again.
    site.merge(1, None);
    site.work();
    assert_eq!((told(&site, 1), told(&site, 2)), (vec![], of(&[1, 2])));
    assert_eq!((runs(&site), revisions(&site)), (6, [1, 3, 3, 1]));
    site.open.restart(&site.log.clone(), &site.now.clone());
}

#[test]
fn studies_that_are_sealed_are_merged_as_well() {
    let mut site = visits();
    site.open.seals().into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    site.merge(0, Some(1));
    site.merge(1, Some(2));
    site.work();
    assert_eq!(told(&site, 3), of(&[0, 1, 2, 3]));
    assert_eq!(runs(&site), 7);
    site.merge(1, None);
    site.work();
    assert_eq!((told(&site, 2), told(&site, 3)), (of(&[0, 1, 2]), vec![]));
}

#[test]
fn what_was_compared_while_ids_were_merged_wrongly_is_run_again() {
    let mut site = visits();
    site.merge(2, Some(0));
    site.work();
    // Another study of the patient whose id stays, compared with what is not his.
    for number in 1..=4 {
        site.slice(&Slice { expected: Some(4), day: "20240101", ..Slice::new(4, 0, number) });
    }
    site.work();
    let before = runs(&site);
    site.merge(2, None);
    site.work();
    assert_eq!(told(&site, 4), of(&[0, 4]));
    assert_eq!(runs(&site), before + 1, "study 4 alone: study 3 has its own run from before");
}

#[test]
fn a_merge_that_closes_a_circle_is_a_fault_and_does_not_count() {
    let mut site = visits();
    site.merge(0, Some(1));
    site.merge(1, Some(0));
    site.work();
    let [fault] = &site.faults_of("merges")[..] else { panic!("one circle") };
    assert!(fault.reason.contains("circle") && !fault.reason.contains("hospital"), "{fault:?}");
    assert_eq!(told(&site, 2), of(&[0, 1, 2]));
    site.merge(0, None);
    site.work();
    assert_eq!(site.faults_of("merges"), []);
    assert_eq!(told(&site, 2), of(&[0, 1, 2]), "the other one counts now");
}

#[test]
fn one_study_under_two_ids_is_one_persons_once_they_are_merged() {
    let mut site = Site::with_rules();
    for number in 1..=4 {
        let patient = u8::from(number > 2);
        site.slice(&Slice { expected: Some(4), patient, ..Slice::new(0, 0, number) });
    }
    site.work();
    assert_eq!((runs(&site), site.faults().is_empty()), (0, false));
    site.merge(1, Some(0));
    site.work();
    assert_eq!((runs(&site), site.faults()), (1, vec![]));
    site.merge(1, None);
    site.work();
    assert!(!site.faults().is_empty());
}
