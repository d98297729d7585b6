//! What the graph promises of results that are doubtful, outdated, or left behind.

use sulcus_engine::ledger::event::{Event, Scope, TimerKind};
use sulcus_operators::rows::{ReportStatus, Role, Verdict};

use crate::site::{End, Site, Slice, is_withdrawn, series_uid, study_uid};

#[test]
fn a_result_whose_rerun_fails_is_withdrawn() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, None);
    site.close();
    site.fire(&series_uid(0, 0), TimerKind::Idle);
    site.work();
    assert!(!is_withdrawn(&site.reports()[0]));
    site.slices(0, 0, 6..=6, None);
    site.close();
    assert!(site.revisions().is_empty(), "while more may come, what was issued stays");
    site.fire(&series_uid(0, 0), TimerKind::Idle);
    site.close();
    let run = site.runs().remove(0);
    site.run(&run, End::Permanent);
    site.work();
    let report = site.reports().remove(0);
    let ReportStatus::Withdrawn(reason) = report.status else { panic!("{report:?}") };
    assert!(reason.contains("attempt 1 failed"), "{reason}");
    assert_eq!(site.faults_of("runs")[0].key, series_uid(0, 0));
}

#[test]
fn a_series_that_only_the_idle_timer_closed_is_doubtful() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 3..=7, None);
    site.slices(1, 0, 1..=5, Some(5));
    site.close();
    site.fire(&series_uid(0, 0), TimerKind::Idle);
    site.work();
    let reports = site.reports();
    let doubts = |study: u8| reports.iter().find(|report| report.study_uid == study_uid(study)).unwrap().doubts.clone();
    let said = doubts(0).concat();
    assert!(said.contains("5 instances came") && said.contains("never said") && said.contains("from 1"), "{said}");
    assert_eq!(doubts(1), Vec::<String>::new());
}

#[test]
fn every_second_slice_is_no_series() {
    let mut site = Site::with_rules();
    let spaced = |study: u8, number: i64| Slice { spacing: "1", ..Slice::new(study, 0, number) };
    (1..=5).for_each(|place| site.slice(&spaced(0, 2 * place - 1)));
    (1..=5).for_each(|place| site.slice(&spaced(1, place)));
    site.close();
    site.fire(&series_uid(0, 0), TimerKind::Idle);
    site.fire(&series_uid(1, 0), TimerKind::Idle);
    site.close();
    assert_eq!(site.verdict(&series_uid(0, 0)), Some(Verdict::Stalled), "steps of 2 mm where the header says 1");
    assert_eq!(site.verdict(&series_uid(1, 0)), Some(Verdict::Complete));
}

#[test]
fn a_localizer_is_not_preferred_to_what_it_was_made_for() {
    let mut site = Site::with_rules();
    for number in 1..=3 {
        let image_type = "ORIGINAL\\PRIMARY\\M\\NORM";
        site.slice(&Slice { image_type, expected: Some(3), ..Slice::new(0, 0, number) });
    }
    site.slices(0, 1, 1..=5, Some(5));
    site.work();
    let report = site.reports().remove(0);
    assert_eq!(report.run.unwrap().series_uid, series_uid(0, 1));
    assert!(report.not_used[0].1.contains("more instances"), "{:?}", report.not_used);
}

#[test]
fn a_withdrawn_segmentation_is_a_fault_where_nothing_tells_of_it() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    site.withdraw(Scope::Series(series_uid(0, 0)));
    site.work();
    let faults = site.faults_of("deliveries");
    assert_eq!(faults.len(), 1, "the folder takes the withdrawn report: {faults:?}");
    assert!(faults[0].key.ends_with("to pacs") && faults[0].hint.contains("delete"), "{faults:?}");
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    assert_eq!(site.faults(), [], "it stands again");
}

#[test]
fn a_study_that_comes_to_hold_two_patients_takes_its_result_back() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    for number in 1..=5 {
        site.slice(&Slice { patient: 9, expected: Some(5), ..Slice::new(0, 1, number) });
    }
    site.work();
    let report = site.reports().remove(0);
    assert!(matches!(&report.status, ReportStatus::Withdrawn(reason) if reason.contains("2 patients")), "{report:?}");
}

#[test]
fn an_object_that_cannot_be_encoded_is_a_fault_after_three_attempts() {
    let mut site = Site::with_rules();
    site.issued_once();
    for _ in 0..3 {
        site.close();
        let [object] = &site.objects()[..] else { panic!("the report waits: {:?}", site.objects()) };
        assert_eq!(object.role, Role::Segmentation);
        site.encode(object, End::Failed);
    }
    site.close();
    assert_eq!((site.objects().len(), site.faults_of("objects").len()), (0, 1));
    assert!(is_withdrawn(&site.reports()[0]), "what could not be checked is no result");
    site.work();
    assert_eq!(site.faults_of("objects").len(), 1);
    let sent: Vec<Role> = site
        .log
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ObjectEncoded { role, .. } => Some(*role),
            _ => None,
        })
        .collect();
    assert_eq!((sent, site.issued().len()), (vec![Role::Report], 2), "only the withdrawn report goes out");
    site.slices(0, 0, 6..=6, Some(6));
    site.slices(0, 1, 1..=5, Some(5));
    site.work();
    assert!(!is_withdrawn(&site.reports()[0]));
    assert_eq!(site.faults_of("objects"), [], "cured by another run");
}
