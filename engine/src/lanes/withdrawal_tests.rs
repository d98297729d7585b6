//! Promises of why a report is withdrawn.

use sulcus_operators::digest::Digest;

use super::*;
use crate::{
    ledger::event::{Arrival, ReportedRun, SpoolPlace},
    testing::facts,
};

fn received(series: u32) -> Event {
    let place = SpoolPlace { segment: 1, offset: 0, length: 4 };
    Event::InstanceReceived {
        source: "test".into(),
        place,
        facts: facts(series, 1, b"x").into(),
        arrival: Arrival::New,
    }
}

fn issued(pipeline: &str, revision: u32, series: Option<u32>) -> Event {
    let key = RevisionKey { study_uid: "1.2.3".into(), pipeline: pipeline.into(), revision };
    let run =
        series.map(|n| ReportedRun { run_key: Digest([1; 32]), series_uid: format!("1.2.3.{n}"), inputs: Vec::new() });
    Event::RevisionIssued { key, content: Digest([2; 32]), at: 0, run, counted: None }
}

fn withdrawn(scope: Scope, because: Option<Because>) -> Event {
    Event::InstanceWithdrawn { scope, reason: "Mr Miller's, not hers".into(), because }
}

fn series(n: u32) -> Scope {
    Scope::Series(format!("1.2.3.{n}"))
}

/// Of the last revision that `events` issue.
fn told(events: Vec<Event>) -> (String, Option<Because>) {
    let entries: Vec<Entry> =
        (1..).zip(events).map(|(seq, event)| Entry { seq, epoch: seq, at: 0, host: None, event }).collect();
    let last = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::RevisionIssued { key, .. } => Some((key, entry.seq)),
        _ => None,
    });
    let withdrawal = last.map(|(key, seq)| Withdrawal::of(&entries, key, seq)).unwrap_or_default();
    (withdrawal.words(), withdrawal.because)
}

#[test]
fn a_withdrawn_series_and_a_changed_rule_are_told_apart() {
    let made = vec![received(1), received(2), issued("a", 1, Some(1))];
    let after = |events: Vec<Event>| told([made.clone(), events].concat());
    assert_eq!(after(vec![issued("a", 2, None)]).0, "the rule does not take its series any more");
    let taken = |scope, because| after(vec![withdrawn(scope, because), issued("a", 2, None)]);
    assert_eq!(taken(series(1), None), ("its series was withdrawn".into(), None));
    let wrong = Some(Because::WrongPatient);
    let expected = ("its series was withdrawn: it is of another patient".to_owned(), wrong);
    assert_eq!(taken(series(1), wrong), expected);
    assert_eq!(taken(Scope::Study("1.2.3".into()), wrong), expected);
    assert_eq!(taken(Scope::Instance("1.2.3.1.1".into()), wrong), expected);
    assert_eq!(taken(series(2), wrong), ("the rule does not take its series any more".into(), None));
    assert_eq!(told(vec![received(1), issued("a", 1, None)]).0, ABSENT, "events of before runs were recorded");
}

#[test]
fn what_was_withdrawn_before_it_was_reported_or_after_the_revision_counts_for_nothing() {
    let wrong = || withdrawn(series(1), Some(Because::WrongPatient));
    let before = vec![received(1), wrong(), received(1), issued("a", 1, Some(1)), issued("a", 2, None)];
    assert_eq!(told(before), ("the rule does not take its series any more".into(), None));
    let later = vec![received(1), issued("a", 1, Some(1)), issued("a", 2, None), wrong()];
    assert_eq!(told(later).1, None);
    let other = vec![received(1), issued("b", 1, Some(1)), wrong(), issued("a", 1, None)];
    assert_eq!(told(other).1, None, "another pipeline reported it");
}

#[test]
fn the_weightiest_reason_counts_for_all_that_was_made_and_the_newest_is_said() {
    let quality = withdrawn(series(1), Some(Because::Quality));
    let wrong = withdrawn(series(1), Some(Because::WrongPatient));
    let events = vec![received(1), issued("a", 1, Some(1)), wrong, issued("a", 2, None), received(1)];
    let again = [events, vec![issued("a", 3, Some(1)), quality, issued("a", 4, None)]].concat();
    assert_eq!(
        told(again),
        ("its series was withdrawn: it is too poor to be used".into(), Some(Because::WrongPatient))
    );
}

#[test]
fn what_is_withdrawn_while_its_run_is_under_way_is_told_with_its_kind() {
    let wrong = withdrawn(series(1), Some(Because::WrongPatient));
    let events = vec![received(1), wrong, issued("a", 1, Some(1)), issued("a", 2, None)];
    let expected = ("its series was withdrawn: it is of another patient".to_owned(), Some(Because::WrongPatient));
    assert_eq!(told(events), expected);
}

#[test]
fn a_kind_that_is_said_once_the_instances_are_gone_counts() {
    let gone = vec![received(1), issued("a", 1, Some(1)), withdrawn(series(1), None), issued("a", 2, None)];
    let later = |scope, because| told([gone.clone(), vec![withdrawn(scope, because), issued("a", 3, None)]].concat());
    let wrong = Some(Because::WrongPatient);
    let expected = ("its series was withdrawn: it is of another patient".to_owned(), wrong);
    assert_eq!(later(Scope::Study("1.2.3".into()), wrong), expected);
    assert_eq!(later(series(1), wrong), expected);
    assert_eq!(later(series(2), wrong), ("its series was withdrawn".into(), None));
    assert_eq!(later(series(1), None), ("its series was withdrawn".into(), None));
}

#[test]
fn a_further_series_that_was_read_counts_as_the_first_does() {
    let mut made = issued("a", 1, Some(1));
    if let Event::RevisionIssued { run: Some(run), .. } = &mut made {
        run.inputs.push("1.2.3.2".into());
    }
    let wrong = Some(Because::WrongPatient);
    let events = |series_number| {
        let taken = withdrawn(series(series_number), wrong);
        vec![received(1), received(2), received(3), made.clone(), taken, issued("a", 2, None)]
    };
    assert_eq!((told(events(2)).1, told(events(3)).1), (wrong, None));
}
