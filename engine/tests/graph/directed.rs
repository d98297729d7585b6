//! What the graph promises an operator who closes a series or lets it wait.

use sulcus_engine::{
    graph::Output,
    ledger::event::{Directive, Event, Scope, TimerKind},
};
use sulcus_operators::rows::{Completeness, Seq, Verdict};

use crate::site::{Site, Slice, series_uid, study_uid};

impl Site {
    /// The event that brought a series' last member; 0 where none stands.
    pub fn last_member(&self, series_uid: &str) -> Seq {
        let last = |output: &Output| match output {
            Output::Series(state) if state.series_uid == series_uid => Some(state.last_member()),
            _ => None,
        };
        self.now.keys().find_map(last).unwrap_or(0)
    }

    pub fn direct(&mut self, study: u8, series: u8, directive: Directive) {
        let (reason, by) = (format!("event {}", self.seq() + 1), "an operator".to_owned());
        let (study_uid, series_uid) = (study_uid(study), series_uid(study, series));
        self.event(Event::SeriesDirected { study_uid, series_uid, directive, reason, by });
    }

    fn close_now(&mut self, study: u8, series: u8) {
        let as_of = self.last_member(&series_uid(study, series));
        self.direct(study, series, Directive::Close { as_of });
        self.close();
    }

    pub fn reasons(&self, series_uid: &str) -> String {
        let row = |output: &Output| match output {
            Output::Completeness(Completeness { series_uid: uid, reasons, .. }) if uid == series_uid => {
                Some(reasons.join("; "))
            }
            _ => None,
        };
        self.now.keys().find_map(row).unwrap_or_default()
    }
}

fn series() -> String {
    series_uid(0, 0)
}

#[test]
fn a_series_that_is_closed_now_is_run_and_doubtful() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(9));
    site.close();
    site.close_now(0, 0);
    assert_eq!(site.verdict(&series()), Some(Verdict::Complete), "though its count was not reached");
    assert!(site.timers().is_empty() && site.reasons(&series()).contains("closed as it stands by an operator"));
    site.work();
    let doubts = site.reports()[0].doubts.concat();
    assert!(doubts.contains("An operator closed the series") && doubts.contains("(event 7)"), "{doubts}");
    assert!(doubts.contains("5 instances came of 9 that ImagesInAcquisition promises"), "{doubts}");
    assert_eq!(site.faults(), []);
}

#[test]
fn a_late_slice_voids_the_close_and_stronger_evidence_takes_its_doubt() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, Some(6));
    site.close();
    site.close_now(0, 0);
    site.work();
    site.slices(0, 0, 5..=5, Some(6));
    site.close();
    assert_eq!(site.verdict(&series()), Some(Verdict::Waiting));
    assert!(site.reasons(&series()).contains("other instances came or went since"), "{}", site.reasons(&series()));
    assert_eq!(site.timers().len(), 1, "the idle timer is wanted again");
    assert!(site.revisions().is_empty() && site.issued().len() == 1, "what was issued stands");
    site.close_now(0, 0);
    site.slices(0, 0, 6..=6, Some(6));
    site.work();
    let report = site.reports().remove(0);
    assert_eq!(report.doubts, Vec::<String>::new(), "all that was promised is here");
    assert_eq!(site.issued().len(), 2);
}

#[test]
fn geometry_that_cannot_be_used_is_refused_however_it_is_closed() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=2, None);
    site.slices(0, 0, 4..=5, None);
    site.close();
    site.close_now(0, 0);
    assert_eq!((site.verdict(&series()), site.runs().len()), (Some(Verdict::Stalled), 0));
    assert_eq!(site.faults_of("matches").len(), 1);
}

#[test]
fn a_held_series_waits_whatever_the_evidence_says() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, Some(5));
    site.direct(0, 0, Directive::Hold);
    site.slices(0, 0, 5..=5, Some(5));
    site.close();
    assert_eq!((site.verdict(&series()), site.timers()), (Some(Verdict::Waiting), vec![]));
    assert!(site.reasons(&series()).contains("held by an operator: event 6"), "{}", site.reasons(&series()));
    assert!(site.runs().is_empty());
    site.direct(0, 0, Directive::Release);
    site.work();
    assert_eq!(site.verdict(&series()), Some(Verdict::Complete));
    assert_eq!(site.reports()[0].doubts, Vec::<String>::new());

    site.direct(0, 0, Directive::Hold);
    site.slice(&Slice { expected: Some(6), ..Slice::new(0, 0, 6) });
    site.work();
    assert_eq!((site.issued().len(), site.verdict(&series())), (1, Some(Verdict::Waiting)), "what was issued stands");
    assert!(site.open.seals().is_empty(), "and a study that waits is not sealed");
    site.direct(0, 0, Directive::Release);
    site.work();
    assert_eq!(site.issued().len(), 2);
}

#[test]
fn the_newest_word_counts() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, None);
    site.close();
    site.close_now(0, 0);
    assert_eq!(site.runs().len(), 1);
    site.direct(0, 0, Directive::Hold);
    site.close();
    assert_eq!((site.verdict(&series()), site.runs().len()), (Some(Verdict::Waiting), 0));
    site.close_now(0, 0);
    assert_eq!((site.verdict(&series()), site.runs().len()), (Some(Verdict::Complete), 1));
    site.direct(0, 0, Directive::Release);
    site.close();
    assert_eq!(site.verdict(&series()), Some(Verdict::Waiting), "the evidence counts again");
    site.fire(&series(), TimerKind::Idle);
    site.close();
    let idle = site.reasons(&series());
    site.close_now(0, 0);
    assert!(idle.contains("only the idle timer") && site.reasons(&series()).contains("closed as it stands"));
}

#[test]
fn a_hold_outlives_the_instances_of_its_series() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.direct(0, 0, Directive::Hold);
    site.close();
    site.withdraw(Scope::Series(series()));
    site.close();
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    assert_eq!(site.verdict(&series()), Some(Verdict::Waiting));
}

#[test]
fn a_sealed_study_comes_back_when_it_is_held() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    site.open.seals().into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    site.direct(0, 0, Directive::Hold);
    site.close();
    assert_eq!(site.verdict(&series()), Some(Verdict::Waiting));
    assert!(!site.open.is_empty());
}
