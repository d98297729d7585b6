//! What a scanner says that it made, and what an archive says that it holds, is evidence that a series is whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use sulcus_engine::ledger::event::{Event, StepState, TimerKind};
use sulcus_operators::rows::Verdict;

use crate::site::{Site, rules, series_uid, study_uid};

/// A step of a study, by a number, that is as far as this and made these slices of these series.
pub fn made(study: u8, step: u8, state: StepState, series: &[(u8, RangeInclusive<i64>)]) -> Event {
    let mut instances: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (series, numbers) in series {
        let uid = series_uid(study, *series);
        let made = numbers.clone().map(|number| format!("{uid}.{number}"));
        instances.entry(uid.clone()).or_default().extend(made);
    }
    let (study_uid, step_uid) = (study_uid(study), format!("2.25.{step}"));
    Event::StepReported { source: "scanner".into(), study_uid, step_uid, state, series: instances }
}

impl Site {
    pub fn made(&mut self, study: u8, step: u8, state: StepState, series: &[(u8, RangeInclusive<i64>)]) {
        self.event(made(study, step, state, series));
    }

    /// An archive holds so many of a series.
    pub fn counted(&mut self, study: u8, series: u8, instances: u32) {
        let (study_uid, series_uid) = (study_uid(study), series_uid(study, series));
        self.event(Event::SeriesCounted { source: "scanner".into(), study_uid, series_uid, instances });
    }

    fn stands(&self) -> (Option<Verdict>, String) {
        (self.verdict(&series_uid(0, 0)), self.reasons(&series_uid(0, 0)))
    }

    fn expect(&self, verdict: Verdict, words: &str) {
        let (is, reasons) = self.stands();
        assert_eq!(is, Some(verdict), "{reasons}");
        assert!(reasons.contains(words), "{reasons}");
    }

    fn contradiction(&self) -> String {
        let [fault] = &self.faults_of("completeness")[..] else { panic!("one contradiction") };
        fault.reason.clone()
    }
}

#[test]
fn a_series_is_complete_once_all_is_here_that_a_completed_step_made() {
    let mut site = Site::with_rules();
    // Before anything came, and while the scanner is at it, a step says nothing.
    site.made(0, 0, StepState::InProgress, &[(0, 1..=2)]);
    site.slices(0, 0, 1..=2, None);
    site.close();
    site.expect(Verdict::Waiting, "waits for more instances");
    site.made(0, 0, StepState::Completed, &[(0, 1..=4), (1, 1..=9)]);
    site.close();
    site.expect(Verdict::Waiting, "2 of 4 instances are here that its scanner says it made (MPPS COMPLETED)");
    site.slices(0, 0, 3..=4, None);
    site.close();
    site.expect(Verdict::Complete, "all 4 instances are here that its scanner says it made (MPPS COMPLETED)");
    assert_eq!(site.timers(), []);
    // One that it does not say it made proves that the word is not the whole truth.
    site.slices(0, 0, 5..=5, None);
    site.close();
    site.expect(Verdict::Waiting, "made 4 of its 5 instances (MPPS COMPLETED): that proves nothing");
}

#[test]
fn a_step_that_made_more_than_came_takes_back_what_the_idle_timer_closed() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, None);
    site.close();
    site.fire(&series_uid(0, 0), TimerKind::Idle);
    site.work();
    site.expect(Verdict::Complete, "only the idle timer says so");
    site.open.seals().into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    // Long after: the study comes back, and its report is withdrawn until the rest comes.
    site.made(0, 0, StepState::Completed, &[(0, 1..=6)]);
    site.work();
    site.expect(Verdict::Stalled, "4 of 6 instances are here");
    assert!(crate::site::is_withdrawn(&site.reports()[0]));
    site.slices(0, 0, 5..=6, None);
    site.work();
    site.expect(Verdict::Complete, "all 6 instances are here");
    assert!(!crate::site::is_withdrawn(&site.reports()[0]));
}

#[test]
fn a_series_of_a_step_that_was_broken_off_is_worked_on_and_its_reader_told() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, None);
    site.made(0, 0, StepState::Discontinued, &[(0, 1..=4)]);
    site.work();
    site.expect(Verdict::Complete, "the scan was broken off, and all 4 instances are here");
    let doubts = &site.reports()[0].doubts;
    assert!(doubts.iter().any(|doubt| doubt.starts_with("The scan was broken off")), "{doubts:?}");
    // Where headers promise more, it is not whole.
    let mut short = Site::with_rules();
    short.slices(0, 0, 1..=4, Some(6));
    short.made(0, 0, StepState::Discontinued, &[(0, 1..=4)]);
    short.close();
    short.expect(Verdict::Waiting, "4 of 6 instances (ImagesInAcquisition)");
    short.fire(&series_uid(0, 0), TimerKind::Idle);
    short.close();
    short.expect(Verdict::Stalled, "the promised count was not reached");
    // And where all came that they promise, another series of the step was broken off.
    let mut whole = Site::with_rules();
    whole.slices(0, 0, 1..=4, Some(4));
    whole.made(0, 0, StepState::Discontinued, &[(0, 1..=4)]);
    whole.work();
    whole.expect(Verdict::Complete, "all 4 instances are here (ImagesInAcquisition)");
    assert_eq!(whole.reports()[0].doubts, Vec::<String>::new());
}

#[test]
fn what_a_step_made_against_what_headers_promise_or_positions_show_is_a_fault() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, Some(6));
    site.made(0, 0, StepState::Completed, &[(0, 1..=4)]);
    site.close();
    assert_eq!(site.verdict(&series_uid(0, 0)), Some(Verdict::Waiting));
    assert!(site.contradiction().contains("more are promised"));
    let mut more = Site::with_rules();
    more.slices(0, 0, 1..=4, Some(4));
    more.made(0, 0, StepState::Completed, &[(0, 1..=6)]);
    more.close();
    more.expect(Verdict::Waiting, "4 of 6 instances are here");
    assert!(more.contradiction().contains("more are listed or held elsewhere"));
    let mut gap = Site::with_rules();
    gap.slices(0, 0, 1..=2, None);
    gap.slices(0, 0, 4..=5, None);
    gap.made(0, 0, StepState::Completed, &[(0, 1..=2), (0, 4..=5)]);
    gap.close();
    assert!(gap.contradiction().contains("slices are missing between them"));
}

#[test]
fn a_withdrawn_slice_is_missed_where_a_step_made_it() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, None);
    site.made(0, 0, StepState::Completed, &[(0, 1..=4)]);
    site.close();
    site.expect(Verdict::Complete, "all 4 instances");
    site.withdraw(sulcus_engine::ledger::event::Scope::Instance(format!("{}.4", series_uid(0, 0))));
    site.close();
    site.expect(Verdict::Waiting, "3 of 4 instances");
}

#[test]
fn an_archive_is_asked_where_its_source_has_one_and_its_count_closes_a_series() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, None);
    site.close();
    let asks = |site: &Site| site.timers().iter().filter(|timer| timer.kind == TimerKind::Count).count();
    assert_eq!(asks(&site), 0, "no archive is known");
    let mut counting = rules();
    counting.sources[0].counts = true;
    site.event(Event::RulesChanged(counting));
    site.close();
    assert_eq!(asks(&site), 1);
    // It is behind, then ahead, then level.
    site.counted(0, 0, 2);
    site.close();
    site.expect(Verdict::Waiting, "its archive holds 2 of its 4 instances (C-FIND): that proves nothing");
    site.counted(0, 0, 6);
    site.close();
    site.expect(Verdict::Waiting, "4 of 6 instances that its archive holds (C-FIND)");
    assert_eq!(asks(&site), 1, "it is asked again");
    // A router gives its archive each slice as it gives it to us: being level says nothing before the series rests.
    site.slices(0, 0, 5..=6, None);
    site.close();
    site.expect(Verdict::Waiting, "its archive may be given more just now; waits for the settle window");
    site.fire(&series_uid(0, 0), TimerKind::Settle);
    site.close();
    site.expect(Verdict::Complete, "all 6 instances are here that its archive holds (C-FIND)");
    assert_eq!(site.timers(), []);
    // It may be given more after that.
    site.counted(0, 0, 7);
    site.close();
    site.expect(Verdict::Waiting, "6 of 7 instances that its archive holds (C-FIND)");
}

#[test]
fn what_an_archive_holds_and_never_comes_stalls_the_series() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, None);
    site.counted(0, 0, 6);
    site.release(vec![series_uid(0, 0)], true);
    site.close();
    // It looks whole, and is not.
    assert!(!site.timers().iter().any(|timer| timer.kind == TimerKind::Settle));
    site.fire(&series_uid(0, 0), TimerKind::Idle);
    site.close();
    site.expect(Verdict::Stalled, "4 of 6 instances that its archive holds (C-FIND)");
    assert_eq!(site.runs(), []);
}
