//! A report tells of the patient's earlier visits, and is corrected where one of them is.

use sulcus_engine::{
    graph::Lesion,
    ledger::{
        event::{Event, Scope},
        patients::MOST_STUDIES,
    },
};
use sulcus_operators::rows::{Finding, LesionVerdict, ReportRow, VisitRow};

use crate::site::{Site, Slice, study_uid};

const DAYS: [&str; 3] = ["20200101", "20210101", "20220101"];

/// One whole series of a study, scanned on its day.
fn scan(site: &mut Site, study: u8, patient: u8) {
    scan_on(site, DAYS[usize::from(study)], study, patient);
}

fn scan_on(site: &mut Site, day: &'static str, study: u8, patient: u8) {
    for number in 1..=4 {
        site.slice(&Slice { expected: Some(4), day, patient, ..Slice::new(study, 0, number) });
    }
    site.work();
}

fn report(site: &Site, study: u8) -> ReportRow {
    site.reports().into_iter().find(|row| row.study_uid == study_uid(study)).unwrap()
}

fn told(site: &Site, study: u8) -> Vec<(String, u32)> {
    report(site, study).visits.into_iter().map(|VisitRow { study_uid, lesions, .. }| (study_uid, lesions)).collect()
}

/// Lesions of a study that no reader rejected.
fn kept(site: &Site, study: u8) -> u32 {
    let rejected = |finding: &Finding| finding.verdict == LesionVerdict::Rejected;
    let of_study = |lesion: &Lesion| lesion.study_uid == study_uid(study);
    let lesions = site.lesions().into_iter().filter(of_study);
    lesions.filter(|lesion| !lesion.finding.as_ref().is_some_and(rejected)).count() as u32
}

fn of(site: &Site, studies: &[u8]) -> Vec<(String, u32)> {
    studies.iter().map(|study| (study_uid(*study), kept(site, *study))).collect()
}

fn revisions(site: &Site, study: u8) -> usize {
    let of_study =
        |event: &Event| matches!(event, Event::RevisionIssued { key, .. } if key.study_uid == study_uid(study));
    site.log.iter().filter(|entry| of_study(&entry.event)).count()
}

#[test]
fn a_report_tells_of_earlier_visits_of_the_same_patient_alone() {
    let mut site = Site::with_rules();
    scan(&mut site, 0, 0);
    scan(&mut site, 1, 0);
    scan(&mut site, 2, 1);
    assert_eq!(told(&site, 0), []);
    assert_eq!(told(&site, 1), of(&site, &[0, 1]));
    assert_eq!(told(&site, 2), []);
    assert_eq!([0, 1, 2].map(|study| revisions(&site, study)), [1, 1, 1]);
    let row = &report(&site, 1).visits[1];
    assert_eq!((row.study_date.as_str(), row.change), (DAYS[1], None), "nobody compared the two");
}

#[test]
fn an_earlier_visit_that_comes_later_corrects_the_later_ones() {
    let mut site = Site::with_rules();
    scan(&mut site, 1, 0);
    scan(&mut site, 2, 0);
    scan(&mut site, 0, 0);
    assert_eq!(told(&site, 2).len(), 3);
    assert_eq!([0, 1, 2].map(|study| revisions(&site, study)), [1, 2, 2]);
}

#[test]
fn a_correction_of_one_visit_reaches_the_later_ones_and_no_other() {
    let mut site = Site::with_rules();
    (0..3).for_each(|study| scan(&mut site, study, 0));
    let found = kept(&site, 1);
    assert!(found > 0);
    site.judge(1, 1, LesionVerdict::Rejected, "A. Reader");
    site.work();
    assert_eq!([0, 1, 2].map(|study| revisions(&site, study)), [1, 2, 2]);
    assert_eq!(kept(&site, 1), found - 1);
    assert_eq!(told(&site, 2), of(&site, &[0, 1, 2]));
    site.withdraw(Scope::Study(study_uid(1)));
    site.work();
    assert_eq!(told(&site, 2), of(&site, &[0, 2]));
}

#[test]
fn visits_are_sealed_together_and_come_back_together() {
    let mut site = Site::with_rules();
    (0..2).for_each(|study| scan(&mut site, study, 0));
    site.open.seals().into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    // The third visit tells of the two that were sealed.
    scan(&mut site, 2, 0);
    assert_eq!(told(&site, 2).len(), 3);
    let seals = site.open.seals();
    assert_eq!(seals.len(), 1, "the others are sealed still");
    seals.into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    // A verdict on the first reaches all that tell of it.
    site.judge(0, 1, LesionVerdict::Rejected, "A. Reader");
    site.work();
    assert_eq!([0, 1, 2].map(|study| revisions(&site, study)), [2, 2, 2]);
}

#[test]
fn a_study_that_is_one_too_many_tells_of_none_whatever_is_sealed() {
    let most = MOST_STUDIES as u8;
    let mut site = Site::with_rules();
    (0..most - 1).for_each(|study| scan_on(&mut site, DAYS[0], study, 0));
    scan_on(&mut site, DAYS[1], most - 1, 0);
    scan_on(&mut site, DAYS[2], most, 0);
    assert_eq!(told(&site, most - 1).len(), 12);
    assert_eq!(told(&site, most), []);
    site.open.seals().into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    // Two that are too many are in the graph together, without those that came first.
    scan_on(&mut site, DAYS[1], most + 1, 0);
    site.event(Event::StudyReopened { study_uid: study_uid(most) });
    site.close();
    assert_eq!(site.open.len(), 2);
    assert_eq!([most, most + 1].map(|study| told(&site, study)), [[], []]);
    // One of the first reaches another of the first, which tells of it.
    assert!(kept(&site, 9) > 0 && told(&site, most - 1).iter().any(|(study, _)| *study == study_uid(9)));
    site.judge(9, 1, LesionVerdict::Rejected, "A. Reader");
    site.work();
    assert_eq!([9, most - 1, most, most + 1].map(|study| revisions(&site, study)), [2, 2, 1, 1]);
    site.open.restart(&site.log.clone(), &site.now.clone());
}

#[test]
fn a_study_whose_patient_id_is_corrected_is_run_again_and_told_of_among_his_visits() {
    let mut site = Site::with_rules();
    scan(&mut site, 0, 0);
    scan(&mut site, 1, 1);
    assert_eq!(told(&site, 1), []);
    let runs = |site: &Site| site.log.iter().filter(|entry| matches!(entry.event, Event::RunFinished(_))).count();
    assert_eq!(runs(&site), 2);
    site.withdraw(Scope::Study(study_uid(1)));
    scan(&mut site, 1, 0);
    assert_eq!(told(&site, 1), of(&site, &[0, 1]));
    assert_eq!(runs(&site), 3);
}
