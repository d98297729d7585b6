//! Promises of what goes first.

use proptest::prelude::*;
use sulcus_operators::{
    digest::Digest,
    rows::{LesionVerdict, PatientKey},
};

use super::*;
use crate::ledger::event::{Directive, RevisionKey, Scope};

const MINUTE: Millis = 60_000;

fn place(urgency: Urgency, since: Millis) -> Place {
    Place { urgency, since }
}

fn urgency() -> impl Strategy<Value = Urgency> {
    prop_oneof![Just(Urgency::Urgent), Just(Urgency::Normal), Just(Urgency::Background)]
}

#[test]
fn the_urgent_go_first_then_the_older_and_the_background_last() {
    use Urgency::{Background, Normal, Urgent};
    let mut places = [
        place(Background, 0),
        place(Normal, 20 * MINUTE),
        place(Urgent, 30 * MINUTE),
        place(Normal, 10 * MINUTE),
        place(Urgent, 25 * MINUTE),
    ];
    places.sort_by_key(Place::rank);
    let order = places.map(|place| (place.urgency, place.since / MINUTE));
    assert_eq!(order, [(Urgent, 25), (Urgent, 30), (Normal, 10), (Normal, 20), (Background, 0)]);
    let before = |first: Place, second: Place| first.rank() < second.rank();
    assert!(
        before(place(Normal, 0), place(Urgent, 24 * HOUR + 1)),
        "a normal one waits a day for urgent ones, no longer"
    );
    assert!(before(place(Background, 0), place(Normal, 7 * 24 * HOUR + 1)));
}

proptest! {
    /// One job is done in each step, and in each an urgent one comes: all that is there at first is done all the same.
    #[test]
    fn no_job_waits_for_ever_under_a_steady_stream_of_urgent_ones(
        jobs in prop::collection::vec(urgency(), 1..20),
        step in HOUR..4 * HOUR,
    ) {
        let mut waiting: Vec<(Place, bool)> = jobs.iter().map(|urgency| (place(*urgency, 0), true)).collect();
        let most = (head_start(Urgency::Urgent) - head_start(Urgency::Background)) / step + jobs.len() as Millis + 1;
        let mut now = 0;
        while waiting.iter().any(|(_, is_of_first)| *is_of_first) {
            prop_assert!(now / step <= most, "{} of the first wait after {} steps", waiting.len(), now / step);
            now += step;
            waiting.push((place(Urgency::Urgent, now), false));
            waiting.sort_by_key(|(place, _)| place.rank());
            waiting.remove(0);
        }
    }
}

fn withdrawn() -> Event {
    Event::InstanceWithdrawn { scope: Scope::Study("1".into()), reason: String::new(), because: None }
}

fn reported() -> Event {
    let key = RevisionKey { study_uid: "1".into(), pipeline: "lesions".into(), revision: 1 };
    Event::RevisionIssued { key, content: Digest::default(), at: 0, run: None, counted: None }
}

fn reopened() -> Event {
    Event::StudyReopened { study_uid: "1".into() }
}

fn merged() -> Event {
    Event::PatientsMerged {
        from: PatientKey { issuer: String::new(), id: String::new() },
        into: None,
        reason: String::new(),
        by: String::new(),
    }
}

fn listed() -> Event {
    Event::InstancesListed { source: String::new(), study_uid: "1".into(), instances: Vec::new(), absent: Vec::new() }
}

/// The place of a normal pipeline's work on a study whose events came at these minutes, where the rules are of another.
fn after(events: &[(u64, Event)], rules: u64) -> (Urgency, Millis) {
    let mut waits = Waits::default();
    for (seq, event) in events {
        waits.note(&Entry { seq: *seq, epoch: *seq, at: *seq as Millis * MINUTE, host: None, event: event.clone() });
    }
    let place = waits.place(Urgency::Normal, (rules, rules as Millis * MINUTE));
    (place.urgency, place.since / MINUTE)
}

#[test]
fn what_only_changed_rules_or_merged_ids_want_anew_is_of_the_background() {
    use Urgency::{Background, Normal};
    let new = || (5, withdrawn());
    assert_eq!(after(&[new()], 1), (Normal, 5), "a new study");
    assert_eq!(after(&[new()], 9), (Normal, 5), "it waits for its first report while the rules change");
    assert_eq!(after(&[new(), (10, reported())], 9), (Normal, 5), "and its objects, once it has that");
    assert_eq!(after(&[new(), (7, reported())], 1), (Normal, 5));
    assert_eq!(after(&[new(), (7, reported())], 9), (Background, 9), "reported, and then the rules changed");
    assert_eq!(after(&[new(), (7, reported()), (10, reported())], 9), (Background, 9), "and what that gives");
    assert_eq!(
        after(&[new(), (11, reopened())], 9),
        (Background, 11),
        "sealed without a report, and opened by the review"
    );
    assert_eq!(after(&[new(), (7, reported()), (12, merged())], 1), (Background, 12));
    assert_eq!(after(&[new(), (12, merged())], 1), (Normal, 5), "a merge does not put off a first report");
    let again = [new(), (7, reported()), (11, reopened()), (12, withdrawn())];
    assert_eq!(after(&again, 9), (Normal, 12), "something came of it since");
}

#[test]
fn news_are_what_came_of_the_study_or_was_said_of_it_and_no_list_of_what_was_held_anyway() {
    let verdict = Event::VerdictGiven {
        study_uid: "1".into(),
        tracking_uid: "2".into(),
        verdict: LesionVerdict::Rejected,
        reader: String::new(),
        comment: String::new(),
    };
    let directed = Event::SeriesDirected {
        study_uid: "1".into(),
        series_uid: "1.1".into(),
        directive: Directive::Hold,
        reason: String::new(),
        by: String::new(),
    };
    let resend = Event::ResendAsked { object: Digest::default(), destination: "pacs".into() };
    for news in [withdrawn(), verdict, directed, resend] {
        assert_eq!(after(&[(5, withdrawn()), (7, reported()), (20, news)], 9), (Urgency::Normal, 20));
    }
    assert_eq!(after(&[(5, withdrawn()), (7, reported()), (20, listed())], 9), (Urgency::Background, 9));
    assert_eq!(after(&[(5, withdrawn()), (7, reported()), (20, listed())], 1), (Urgency::Normal, 5));
}
