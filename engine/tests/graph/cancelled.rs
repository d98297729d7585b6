//! What nobody wants any more while a lane has it in hand: a run that is cancelled, an object that is being sent.

use std::collections::BTreeSet;

use sulcus_engine::{
    graph::{DeliveryToDo, MOST_ATTEMPTS, Output, RunToDo},
    ledger::event::{Entry, Event, Scope},
};
use sulcus_operators::rows::{LesionVerdict, Role};

use crate::{
    outcomes::outcome_of,
    site::{End, Site, series_uid},
};

#[test]
fn a_cancelled_attempt_counts_for_nothing_and_its_number_is_not_given_again() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    for (attempt, end) in (1..).zip([End::Cancelled, End::Died, End::Cancelled, End::Failed, End::Cancelled, End::Died])
    {
        site.close();
        let run = site.runs().remove(0);
        assert_eq!(run.attempt, attempt);
        site.run(&run, end);
    }
    site.close();
    assert!(site.runs().is_empty());
    let [fault] = &site.faults_of("runs")[..] else { panic!("{:?}", site.faults()) };
    assert_eq!(fault.reason, format!("run was begun {MOST_ATTEMPTS} times, and attempt 6 has not ended"));
}

#[test]
fn a_run_that_was_cancelled_for_a_late_slice_has_a_clean_count_when_it_is_wanted_again() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    let run = site.runs().remove(0);
    let (run_key, attempt) = (run.order.run_key, run.attempt);
    site.event(Event::RunStarted { run_key, attempt });
    site.slices(0, 0, 6..=6, Some(6));
    site.close();
    assert!(site.runs().iter().all(|run| run.order.run_key != run_key), "nobody wants it any more");
    site.event(Event::RunCancelled { run_key, attempt });
    site.withdraw(Scope::Instance(format!("{}.6", series_uid(0, 0))));
    site.close();
    let again = site.runs().into_iter().find(|run| run.order.run_key == run_key).unwrap();
    assert_eq!(again.attempt, 2);
    site.run(&again, End::Died);
    site.close();
    assert_eq!((site.runs()[0].attempt, site.faults_of("runs").len()), (3, 0), "two attempts are left");
    site.work();
    assert_eq!(site.issued().len(), 1);
}

#[test]
fn a_run_that_was_begun_for_the_last_time_is_known_as_wanted_until_it_ends_or_nobody_wants_it() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    let unended = |site: &Site| {
        let attempt = |output: &Output| if let Output::Unended(run) = output { Some(run.attempt) } else { None };
        site.now.keys().filter_map(attempt).collect::<Vec<u32>>()
    };
    for _ in 0..MOST_ATTEMPTS {
        site.close();
        assert!(unended(&site).is_empty());
        let run = site.runs().remove(0);
        site.run(&run, End::Died);
    }
    site.close();
    assert_eq!((site.runs().len(), unended(&site)), (0, vec![MOST_ATTEMPTS]));
    site.slices(0, 0, 6..=6, Some(6));
    site.close();
    assert!(unended(&site).is_empty(), "a late slice, and nobody wants it");
    site.withdraw(Scope::Instance(format!("{}.6", series_uid(0, 0))));
    site.close();
    assert_eq!(unended(&site), [MOST_ATTEMPTS]);
    let began = |entry: &Entry| if let Event::RunStarted { run_key, .. } = entry.event { Some(run_key) } else { None };
    let run_key = site.log.iter().find_map(began).unwrap();
    site.event(Event::RunCancelled { run_key, attempt: MOST_ATTEMPTS });
    site.close();
    assert_eq!((site.runs()[0].attempt, unended(&site)), (MOST_ATTEMPTS + 1, vec![]), "cancelled, it is to do again");
    let run = site.runs().remove(0);
    site.run(&run, End::Failed);
    site.close();
    assert_eq!((site.runs().len(), unended(&site), site.faults_of("runs").len()), (0, vec![], 1), "it has ended");
}

#[test]
fn a_run_that_ended_while_it_was_cancelled_counts_as_it_ended() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    let run = site.runs().remove(0);
    site.run(&run, End::Done);
    site.event(Event::RunCancelled { run_key: run.order.run_key, attempt: 1 });
    site.work();
    assert_eq!((site.runs().len(), site.issued().len(), site.faults().len()), (0, 1, 0));

    // And the other way round: what it gave all the same is used once it is wanted again.
    site.slices(1, 0, 1..=5, Some(5));
    site.close();
    let run = site.runs().remove(0);
    site.run(&run, End::Cancelled);
    site.event(Event::RunFinished(outcome_of(run.order.run_key, 2)));
    site.work();
    assert_eq!((site.runs().len(), site.issued().len(), site.faults().len()), (0, 2, 0));
}

/// A site whose node is being sent the segmentation of the first revision, when a verdict makes a second.
fn overtaken() -> (Site, DeliveryToDo) {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    let RunToDo { order, attempt, .. } = site.runs().remove(0);
    site.event(Event::RunStarted { run_key: order.run_key, attempt });
    site.event(Event::RunFinished(outcome_of(order.run_key, 2)));
    site.close();
    site.issue();
    site.close();
    site.objects().iter().filter(|object| object.role == Role::Segmentation).for_each(|object| {
        site.encode(object, End::Done);
    });
    site.close();
    let sending = site.deliveries().into_iter().find(|delivery| delivery.row.destination == "pacs").unwrap();
    site.deliver(&sending, End::Died);
    site.judge(0, 1, LesionVerdict::Rejected, "reader");
    site.close();
    site.issue();
    site.close();
    let wanted = |site: &Site| site.deliveries().iter().any(|delivery| delivery.row.object == sending.row.object);
    assert!(!wanted(&site), "the first revision's object is wanted no more");
    (site, sending)
}

fn settle(site: &mut Site, sending: &DeliveryToDo) {
    let (object, destination) = (sending.row.object, sending.row.destination.clone());
    site.event(Event::DeliverySettled { object, destination, receipt: "0000".into() });
}

#[test]
fn an_object_that_is_wanted_no_more_while_it_is_being_sent_counts_as_delivered_and_the_newest_follows() {
    let (mut site, sending) = overtaken();
    settle(&mut site, &sending);
    site.work();
    let settled = site
        .log
        .iter()
        .filter(|entry| matches!(&entry.event, Event::DeliverySettled { destination, .. } if destination == "pacs"));
    assert_eq!((settled.count(), site.deliveries().len(), site.faults().len()), (2, 0, 0));
    site.withdraw(Scope::Series(series_uid(0, 0)));
    site.work();
    let left: BTreeSet<String> = site.faults_of("deliveries").into_iter().map(|fault| fault.reason).collect();
    let holds = |revision| format!("pacs holds the segmentation of revision {revision}, whose report was withdrawn");
    assert_eq!(left, [1, 2].map(holds).into());
}

#[test]
fn an_object_that_is_wanted_no_more_and_could_not_be_sent_is_not_tried_again() {
    let (mut site, sending) = overtaken();
    let (object, destination, attempt) = (sending.row.object, sending.row.destination.clone(), sending.attempt);
    let (reason, retry_at) = ("no answer".to_owned(), 0);
    site.event(Event::DeliveryFailed { object, destination, attempt, reason, retry_at });
    site.close();
    assert!(site.faults_of("deliveries").is_empty(), "nothing is owed of it");
    site.work();
    let began = site
        .log
        .iter()
        .filter(|entry| matches!(&entry.event, Event::DeliveryStarted { object: of, .. } if *of == object));
    assert_eq!((began.count(), site.faults().len()), (1, 0));
}

#[test]
fn a_destination_that_is_removed_while_it_is_being_sent_something_is_owed_nothing() {
    let mut site = Site::with_rules();
    site.issued_once();
    site.close();
    let first = site.objects().remove(0);
    site.encode(&first, End::Done);
    site.close();
    let sending = site.deliveries().into_iter().find(|delivery| delivery.row.destination == "pacs").unwrap();
    site.deliver(&sending, End::Died);
    let mut rules = crate::site::rules();
    rules.destinations.truncate(1);
    site.event(Event::RulesChanged(rules));
    site.close();
    assert!(site.deliveries().iter().all(|delivery| delivery.row.destination != "pacs"));
    settle(&mut site, &sending);
    site.work();
    assert_eq!((site.deliveries().len(), site.faults().len()), (0, 0));
    site.event(Event::RulesChanged(crate::site::rules()));
    site.close();
    assert!(site.deliveries().is_empty(), "what was sent is not sent again when it is back");
}
