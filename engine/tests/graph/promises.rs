//! What the graph promises, one case each.

use sulcus_engine::ledger::event::{Event, Scope, TimerKind};
use sulcus_operators::rows::{Role, Verdict};

use crate::site::{End, Site, Slice, is_withdrawn, rules, series_uid, study_uid};

#[test]
fn counted_evidence_closes_at_once_and_everything_follows() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, Some(5));
    site.close();
    assert_eq!((site.verdict("1.2.0.0"), site.runs().len()), (Some(Verdict::Waiting), 0));
    site.slices(0, 0, 5..=5, Some(5));
    site.close();
    assert_eq!((site.verdict("1.2.0.0"), site.runs().len()), (Some(Verdict::Complete), 1));
    assert!(site.timers().is_empty());
    site.work();
    let settled: Vec<_> = site.log.iter().filter(|entry| entry.event.name() == "DeliverySettled").collect();
    assert_eq!(settled.len(), 3, "segmentation and report to the folder, segmentation to the node");
    assert_eq!((site.issued().len(), site.reports().len(), site.faults()), (1, 1, vec![]));
}

#[test]
fn one_association_a_slice_does_not_close_before_the_settle_window() {
    let mut site = Site::with_rules();
    for number in 1..=6 {
        site.slices(0, 0, number..=number, None);
        site.release(vec![series_uid(0, 0)], true);
        site.close();
        assert_eq!(site.verdict("1.2.0.0"), Some(Verdict::Waiting), "after slice {number}");
        assert!(site.runs().is_empty());
    }
    let wanted = site.timers();
    assert!(wanted.iter().all(|timer| timer.as_of == site.seq() - 1), "only the newest timers are wanted");
    let stale = sulcus_engine::ledger::event::Timer { as_of: wanted[0].as_of - 2, ..wanted[0].clone() };
    site.event(Event::TimerFired(stale));
    site.close();
    assert_eq!(site.verdict("1.2.0.0"), Some(Verdict::Waiting), "an older slice's timer proves nothing");
    site.fire("1.2.0.0", TimerKind::Settle);
    site.close();
    assert_eq!((site.verdict("1.2.0.0"), site.runs().len()), (Some(Verdict::Complete), 1));
}

#[test]
fn an_aborted_association_proves_nothing() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=6, None);
    site.release(vec![series_uid(0, 0)], false);
    site.close();
    assert!(site.timers().iter().all(|timer| timer.kind == TimerKind::Idle));
}

#[test]
fn an_enhanced_object_closes_at_once() {
    let mut site = Site::with_rules();
    site.slice(&Slice { enhanced: true, ..Slice::new(0, 0, 1) });
    site.close();
    assert_eq!((site.verdict("1.2.0.0"), site.runs().len()), (Some(Verdict::Complete), 1));
}

#[test]
fn the_idle_timer_is_the_last_resort() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 2..=5, None);
    site.slices(0, 1, 1..=2, None);
    site.slices(0, 1, 4..=5, None);
    site.slices(1, 0, 1..=3, Some(5));
    site.close();
    ["1.2.0.0", "1.2.0.1", "1.2.1.0"].iter().for_each(|uid| site.fire(uid, TimerKind::Idle));
    site.close();
    assert_eq!(site.verdict("1.2.0.0"), Some(Verdict::Complete), "even, though not numbered from 1");
    assert_eq!(site.verdict("1.2.0.1"), Some(Verdict::Stalled), "a gap");
    assert_eq!(site.verdict("1.2.1.0"), Some(Verdict::Stalled), "the count was not reached");
    assert_eq!(site.faults_of("matches").len(), 2);
    site.slices(0, 1, 3..=3, None);
    site.close();
    assert_eq!(site.verdict("1.2.0.1"), Some(Verdict::Waiting), "a late slice cures");
    assert_eq!(site.faults_of("matches").len(), 1);
}

#[test]
fn what_is_no_mr_image_does_not_wait() {
    let mut site = Site::with_rules();
    site.slice(&Slice { modality: "SR", ..Slice::new(0, 0, 1) });
    site.close();
    assert_eq!((site.verdict("1.2.0.0"), site.timers(), site.runs()), (None, vec![], vec![]));
}

#[test]
fn a_late_slice_retracts_the_run_and_issues_revision_2() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, None);
    site.release(vec![series_uid(0, 0)], true);
    site.close();
    site.fire("1.2.0.0", TimerKind::Settle);
    site.work();
    let first = site.reports()[0].run.clone().unwrap();
    site.slices(0, 0, 6..=6, None);
    let changes = site.close();
    assert!(changes.reports.iter().any(|(row, diff)| *diff == -1 && row.run.as_ref() == Some(&first)));
    assert!(site.revisions().is_empty() && site.runs().is_empty(), "held while the series waits");
    assert_eq!(site.issued().len(), 1);
    site.fire("1.2.0.0", TimerKind::Idle);
    site.work();
    let issued = site.issued();
    assert_eq!(issued.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), [1, 2]);
    assert_ne!(issued[0].1, issued[1].1);
    assert_ne!(site.reports()[0].run.as_ref().unwrap().run_key, first.run_key);
}

#[test]
fn a_withdrawn_series_issues_a_withdrawn_revision() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    site.withdraw(Scope::Series(series_uid(0, 0)));
    site.close();
    let revision = site.revisions().remove(0);
    assert_eq!((revision.key.revision, is_withdrawn(&revision.row)), (2, true));
    site.issue();
    site.close();
    let objects = site.objects();
    assert_eq!(objects.len(), 1, "a withdrawal has a report and no segmentation");
    assert_eq!((objects[0].role, objects[0].supersedes), (Role::Report, Some(1)));
    site.work();
    assert!(site.lesions().is_empty() && site.runs().is_empty());
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    assert_eq!(site.issued().last().unwrap().0, 3, "sent again, it counts again");
    assert!(!is_withdrawn(&site.reports()[0]));
}

#[test]
fn content_a_then_b_then_a_gives_revision_3_without_another_run() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    let other = Slice { expected: Some(5), version: 1, ..Slice::new(0, 0, 5) };
    for (slice, runs) in [(&other, 2), (&Slice { version: 0, ..other.clone() }, 2)] {
        site.withdraw(Scope::Instance(format!("{}.5", series_uid(0, 0))));
        site.slice(slice);
        site.work();
        let finished = site.log.iter().filter(|entry| entry.event.name() == "RunFinished").count();
        assert_eq!(finished, runs, "going back costs no run");
    }
    let issued = site.issued();
    assert_eq!(issued.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(issued[0].1, issued[2].1);
}

#[test]
fn of_two_series_of_one_acquisition_the_normalised_is_run() {
    let mut site = Site::with_rules();
    for number in 1..=4 {
        let plain = Slice { expected: Some(4), acquisition: "same".into(), ..Slice::new(0, 0, number) };
        let normalised = Slice { series: 1, image_type: "ORIGINAL\\PRIMARY\\M\\NORM\\DIS2D", ..plain.clone() };
        site.slice(&plain);
        site.slice(&normalised);
    }
    site.close();
    let runs = site.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].order.series_uid, series_uid(0, 1));
    site.work();
    let not_used = &site.reports()[0].not_used;
    assert_eq!(not_used[0].0, series_uid(0, 0));
    assert!(not_used[0].1.contains("same acquisition") && not_used[0].1.contains("prescan-normalised"));
}

#[test]
fn nothing_is_run_while_a_matching_series_of_the_study_waits() {
    let mut site = Site::with_rules();
    site.slices(0, 1, 1..=1, Some(4));
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    assert!(site.runs().is_empty());
    site.withdraw(Scope::Series(series_uid(0, 1)));
    site.close();
    assert_eq!(site.runs().len(), 1);
}

#[test]
fn a_run_that_dies_three_times_is_a_fault() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    for attempt in 1..=3 {
        site.close();
        assert_eq!(site.runs()[0].attempt, attempt);
        let run = site.runs().remove(0);
        site.run(&run, End::Died);
    }
    site.close();
    assert_eq!((site.runs().len(), site.faults_of("runs").len()), (0, 1));
    site.withdraw(Scope::Study(study_uid(0)));
    site.close();
    assert_eq!(site.faults(), [], "cured with its series");
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    let run = site.runs().remove(0);
    site.run(&run, End::Permanent);
    site.close();
    assert!(site.runs().is_empty());
    assert_eq!(site.faults_of("runs")[0].reason, "attempt 1 failed");
}

#[test]
fn a_destination_that_is_down_is_tried_again_and_named() {
    let mut site = Site::with_rules();
    site.issued_once();
    site.close();
    site.objects().iter().for_each(|object| site.encode(object, End::Done));
    for attempt in 1..=5 {
        site.close();
        let delivery = site.deliveries().into_iter().find(|d| d.row.destination == "pacs").unwrap();
        assert_eq!(delivery.attempt, attempt);
        site.deliver(&delivery, End::Failed);
    }
    site.close();
    assert!(site.deliveries().iter().any(|d| d.row.destination == "pacs" && d.not_before > 0));
    assert_eq!(site.faults_of("deliveries").len(), 1);
    site.work();
    assert_eq!(site.faults(), []);
}

#[test]
fn a_removed_destination_or_pipeline_retracts_its_deliveries() {
    let mut site = Site::with_rules();
    site.issued_once();
    site.close();
    for _segmentation_then_report in 0..2 {
        site.objects().iter().for_each(|object| site.encode(object, End::Done));
        site.close();
    }
    assert_eq!(site.deliveries().len(), 3);
    let mut without = rules();
    without.destinations.retain(|destination| destination.name != "pacs");
    site.event(Event::RulesChanged(without.clone()));
    site.close();
    assert_eq!(site.deliveries().len(), 2);
    without.pipelines.clear();
    site.event(Event::RulesChanged(without));
    site.close();
    assert_eq!((site.deliveries(), site.revisions()), (vec![], vec![]), "and takes no report back");
    site.event(Event::RulesChanged(rules()));
    site.close();
    assert_eq!(site.deliveries().len(), 3);
}

#[test]
fn conflicts_and_quarantine_stay_visible_until_withdrawn() {
    let mut site = Site::with_rules();
    let slice = Slice::new(0, 0, 1);
    site.slice(&slice);
    site.slice(&slice);
    site.close();
    assert_eq!(site.faults(), [], "the same bytes again change nothing");
    site.slice(&Slice { version: 1, ..slice });
    site.quarantine("1.7");
    site.close();
    assert_eq!(site.faults_of("instances").len(), 2);
    site.withdraw(Scope::Series(series_uid(0, 0)));
    site.withdraw(Scope::Instance("1.7".into()));
    site.close();
    assert_eq!(site.faults(), []);
}

#[test]
fn contradicting_evidence_and_mixed_patients_are_named() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=6, Some(5));
    site.slices(1, 0, 1..=3, Some(5));
    site.slices(1, 0, 5..=6, Some(5));
    site.slice(&Slice { patient: 1, ..Slice::new(2, 0, 1) });
    site.slice(&Slice { patient: 2, ..Slice::new(2, 1, 1) });
    site.slice(&Slice { patient: 3, ..Slice::new(2, 1, 2) });
    site.close();
    let reasons: Vec<String> = site.faults_of("completeness").into_iter().map(|fault| fault.reason).collect();
    assert!(reasons.iter().any(|reason| reason.contains("6 instances where ImagesInAcquisition says 5")));
    assert!(reasons.iter().any(|reason| reason.contains("slices are missing between them")));
    assert!(reasons.iter().any(|reason| reason.contains("names 2 patients")));
    assert_eq!(site.verdict("1.2.1.0"), Some(Verdict::Stalled), "the count is reached, and there is a gap");
    assert_eq!(site.faults_of("series")[0].key, study_uid(2));
}

#[test]
fn a_rule_that_cannot_be_read_is_a_fault_and_applies_to_nothing() {
    let mut site = Site::with_rules();
    let mut broken = rules();
    broken.pipelines[0].when = "Modality ==".into();
    site.event(Event::RulesChanged(broken.clone()));
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    assert_eq!((site.faults_of("matches").len(), site.runs().len()), (1, 0));
    broken.pipelines[0].when = "SeriesDescription > 2".into();
    site.event(Event::RulesChanged(broken));
    site.close();
    assert_eq!((site.faults_of("matches").len(), site.runs().len()), (1, 0));
    site.event(Event::RulesChanged(rules()));
    site.close();
    assert_eq!((site.faults().len(), site.runs().len()), (0, 1));
}
