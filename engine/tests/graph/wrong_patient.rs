//! What follows once instances are said to be another patient's: no report stands on them, and what was compared with them
//! is made again.

use sulcus_engine::ledger::event::{Because, Directive, Event, Scope};
use sulcus_operators::rows::ReportRow;

use crate::site::{Site, Slice, is_withdrawn, series_uid, study_uid};

const WRONG: Option<Because> = Some(Because::WrongPatient);

/// Three visits of one patient, each compared with those before, and study 9 of another patient.
fn visits() -> (Site, [u8; 3]) {
    let mut all = Site::with_rules();
    (0..9).for_each(|study| scan(&mut all, study, 0));
    // An outcome is decided by its key: only a visit with lesions can be compared with.
    let has_lesions = |study: &u8| all.lesions().iter().any(|lesion| lesion.study_uid == study_uid(*study));
    let studies: Vec<u8> = (0..9).filter(has_lesions).take(3).collect();
    let mut site = Site::that_compares();
    studies.iter().for_each(|study| scan(&mut site, *study, 0));
    scan(&mut site, 9, 1);
    (site, studies.try_into().unwrap())
}

fn scan(site: &mut Site, study: u8, patient: u8) {
    let days = ["20200101", "20200102", "20200103", "20200104", "20200105", "20200106", "20200107", "20200108"];
    let day = days[usize::from(study) % days.len()];
    for number in 1..=4 {
        site.slice(&Slice { expected: Some(4), day, patient, ..Slice::new(study, 0, number) });
    }
    site.work();
}

/// How often the series of a study were run.
fn runs(site: &Site, study: u8) -> usize {
    let keys = |event: &Event| match event {
        Event::RevisionIssued { key, run: Some(run), .. } if key.study_uid == study_uid(study) => Some(run.run_key),
        _ => None,
    };
    let keys: Vec<_> = site.log.iter().filter_map(|entry| keys(&entry.event)).collect();
    let of_study = |event: &Event| matches!(event, Event::RunFinished(outcome) if keys.contains(&outcome.run_key));
    site.log.iter().filter(|entry| of_study(&entry.event)).count()
}

fn revisions(site: &Site, study: u8) -> usize {
    let of_study =
        |event: &Event| matches!(event, Event::RevisionIssued { key, .. } if key.study_uid == study_uid(study));
    site.log.iter().filter(|entry| of_study(&entry.event)).count()
}

fn report(site: &Site, study: u8) -> ReportRow {
    site.reports().into_iter().find(|row| row.study_uid == study_uid(study)).unwrap()
}

#[test]
fn what_was_compared_with_another_patients_visit_is_run_again_once() {
    let (mut site, studies) = visits();
    let [first, second, third] = studies;
    assert_eq!(studies.map(|study| runs(&site, study)), [1, 1, 1]);
    site.withdraw_because(Scope::Study(study_uid(first)), WRONG);
    site.work();
    assert_eq!(studies.map(|study| runs(&site, study)), [1, 2, 2]);
    assert!(is_withdrawn(&report(&site, first)));
    assert_eq!([second, third].map(|study| revisions(&site, study)), [2, 2]);
    assert_eq!((runs(&site, 9), revisions(&site, 9)), (1, 1), "it was compared with none of his visits");
    // What stands now stays, also where the study comes again as what it was.
    scan(&mut site, first, 0);
    assert_eq!(studies.map(|study| runs(&site, study)), [1, 2, 2]);
    site.open.restart(&site.log.clone(), &site.now.clone());
}

#[test]
fn a_visit_that_is_withdrawn_for_another_reason_leaves_the_others_runs_as_they_are() {
    for because in [None, Some(Because::Quality), Some(Because::Retention)] {
        let (mut site, studies) = visits();
        site.withdraw_because(Scope::Study(study_uid(studies[0])), because);
        site.work();
        assert_eq!(studies.map(|study| runs(&site, study)), [1, 1, 1]);
    }
}

#[test]
fn a_study_that_comes_again_under_another_id_leaves_the_visits_of_the_first() {
    let (mut site, studies) = visits();
    let [first, second, third] = studies;
    site.withdraw(Scope::Study(study_uid(third)));
    scan(&mut site, third, 1);
    assert_eq!(runs(&site, first), 1, "it was compared with no visit");
    assert_eq!(runs(&site, second), 1, "it was run before the third came");
    assert_eq!(runs(&site, third), 2, "it has another RunKey now");
    site.withdraw(Scope::Study(study_uid(first)));
    scan(&mut site, first, 1);
    assert_eq!(runs(&site, second), 2, "it was compared with the first");
}

#[test]
fn a_visit_that_is_sealed_is_run_again_as_well() {
    let (mut site, studies) = visits();
    site.open.seals().into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    site.withdraw_because(Scope::Series(series_uid(studies[0], 0)), WRONG);
    site.work();
    assert_eq!(studies.map(|study| runs(&site, study)), [1, 2, 2]);
}

#[test]
fn a_run_that_was_under_way_when_its_visit_left_does_not_count() {
    let (_, studies) = visits();
    let mut site = Site::that_compares();
    scan(&mut site, studies[0], 0);
    for number in 1..=4 {
        site.slice(&Slice { expected: Some(4), day: "20200109", ..Slice::new(studies[1], 0, number) });
    }
    site.close();
    let run = site.runs().remove(0);
    let (run_key, attempt) = (run.order.run_key, run.attempt);
    site.event(Event::RunStarted { run_key, attempt });
    let outcome = site.outcome_of(&run);
    assert!(!outcome.alignments.is_empty());
    site.withdraw_because(Scope::Study(study_uid(studies[0])), WRONG);
    site.close();
    site.event(Event::RunFinished(outcome));
    site.close();
    assert_eq!(site.runs(), [run], "as if it had never begun");
    site.work();
    assert_eq!((runs(&site, studies[1]), revisions(&site, studies[1])), (2, 1));
}

#[test]
fn a_report_is_withdrawn_at_once_where_a_slice_of_it_is_another_patients() {
    let mut site = Site::with_rules();
    scan(&mut site, 0, 0);
    scan(&mut site, 9, 1);
    let slice = || Scope::Instance(format!("{}.4", series_uid(0, 0)));
    site.withdraw_because(slice(), Some(Because::Quality));
    site.work();
    assert_eq!(revisions(&site, 0), 1, "it stands until the series is whole again");
    scan(&mut site, 0, 0);
    site.withdraw_because(slice(), WRONG);
    site.work();
    assert!(is_withdrawn(&report(&site, 0)));
    let withdrawn = revisions(&site, 0);
    let as_of = site.last_member(&series_uid(0, 0));
    site.direct(0, 0, Directive::Close { as_of });
    site.work();
    assert!(!is_withdrawn(&report(&site, 0)));
    assert_eq!(revisions(&site, 0), withdrawn + 1);
}

#[test]
fn a_report_that_is_withdrawn_already_is_not_withdrawn_again_while_its_series_comes_anew() {
    let mut site = Site::with_rules();
    scan(&mut site, 0, 0);
    site.withdraw_because(Scope::Series(series_uid(0, 0)), WRONG);
    site.work();
    assert_eq!(revisions(&site, 0), 2);
    site.slices(0, 0, 1..=2, Some(4));
    site.work();
    assert_eq!(revisions(&site, 0), 2);
    scan(&mut site, 0, 0);
    assert_eq!(revisions(&site, 0), 3);
    assert!(!is_withdrawn(&report(&site, 0)));
}

#[test]
fn a_kind_of_reason_that_is_said_afterwards_makes_one_more_revision() {
    let mut site = Site::with_rules();
    scan(&mut site, 0, 0);
    scan(&mut site, 9, 1);
    site.withdraw(Scope::Study(study_uid(0)));
    site.work();
    assert_eq!(revisions(&site, 0), 2);
    site.withdraw_because(Scope::Study(study_uid(0)), WRONG);
    site.work();
    assert_eq!(revisions(&site, 0), 3);
    assert_eq!(revisions(&site, 9), 1);
    // A slice of another series, which no report was made from.
    site.slices(0, 4, 1..=1, None);
    site.withdraw(Scope::Series(series_uid(0, 4)));
    site.work();
    site.withdraw_because(Scope::Series(series_uid(0, 4)), Some(Because::Quality));
    site.work();
    assert_eq!(revisions(&site, 0), 3, "it concerns no report");
    site.withdraw(Scope::Study(study_uid(0)));
    site.work();
    assert_eq!(revisions(&site, 0), 3, "it says no kind");
}
