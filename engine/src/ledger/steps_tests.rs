//! Promises of which messages on a step are worth events.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::super::{store::Ledger, tests::Place};
use super::*;

fn message(begins: bool, state: Option<inbox::StepState>, made: Option<usize>) -> StepMessage {
    let instances = |count: usize| (0..count).map(|number| format!("1.2.3.{number}")).collect::<BTreeSet<_>>();
    StepMessage {
        step_uid: "2.25.9".to_owned(),
        begins,
        state,
        study_uids: if begins { vec!["1.2".to_owned(), "1.3".to_owned()] } else { Vec::new() },
        series: made.map(|count| BTreeMap::from([("1.2.3".to_owned(), instances(count))])),
    }
}

/// Says it, and records what is new: how many events, or how it is answered.
fn say(place: &Place, ledger: &mut Ledger, message: &StepMessage) -> Result<usize, Stepped> {
    match Reader::open(&place.ledger()).unwrap().stepped("scanner", message).unwrap() {
        Step::Known(stepped) => Err(stepped),
        Step::New(events) => {
            let mut batch = ledger.begin(1).unwrap();
            events.iter().for_each(|event| assert!(batch.event(event).unwrap() > 0));
            batch.commit().unwrap();
            Ok(events.len())
        }
    }
}

#[test]
fn a_step_is_begun_once_and_ends_once_in_each_of_its_studies() {
    use inbox::StepState::{Completed, Discontinued, InProgress};
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let mut say = |message: StepMessage| say(&place, &mut ledger, &message);
    assert_eq!(say(message(false, Some(Completed), Some(3))), Err(Stepped::Unknown));
    assert_eq!(say(message(true, Some(InProgress), None)), Ok(2));
    assert_eq!(say(message(true, Some(InProgress), None)), Err(Stepped::Begun));
    assert_eq!(say(message(false, None, Some(2))), Ok(2));
    assert_eq!(say(message(false, None, None)), Err(Stepped::Recorded), "nothing new");
    // The end says nothing of what was made: that is as it was.
    assert_eq!(say(message(false, Some(Completed), None)), Ok(2));
    assert_eq!(say(message(false, Some(Completed), Some(2))), Err(Stepped::Recorded));
    assert_eq!(say(message(false, Some(Discontinued), None)), Err(Stepped::Ended));
    assert_eq!(say(message(false, None, Some(3))), Err(Stepped::Ended));
    let entries = Reader::open(&place.ledger()).unwrap().entries_about("2.25.9", usize::MAX).unwrap();
    let Event::StepReported { state, series, .. } = &entries.last().unwrap().event else { panic!("a step") };
    assert_eq!((*state, series["1.2.3"].len()), (StepState::Completed, 2));
}

#[test]
fn a_step_that_is_reported_without_end_is_refused_and_may_still_end() {
    let place = Place::new();
    let mut ledger = Ledger::create_or_open(&place.ledger()).unwrap();
    let mut say = |message: StepMessage| say(&place, &mut ledger, &message);
    assert_eq!(say(message(true, Some(inbox::StepState::InProgress), None)), Ok(2));
    for count in 1..MOST_MESSAGES {
        assert_eq!(say(message(false, None, Some(count % 7 + 1))), Ok(2));
    }
    assert_eq!(say(message(false, None, Some(9))), Err(Stepped::TooMany));
    assert_eq!(say(message(false, Some(inbox::StepState::Completed), Some(9))), Ok(2));
}
