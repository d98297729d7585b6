//! Performed procedure steps in the ledger: which messages of a scanner are worth events.
//!
//! A step is known by the events of its beginning, which are found under its UID. Each event says all of the step, so
//! that the newest one is enough.

use std::collections::BTreeMap;

use sulcus_connectors::inbox::{self, StepMessage, Stepped};

use super::{
    LedgerError,
    event::{Event, StepState},
    read::Reader,
};

/// Messages that a step may have while it is under way: a scanner reports after each series. Its end is always taken.
pub const MOST_MESSAGES: usize = 256;

/// What a message is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Events, one a study.
    New(Vec<Event>),
    /// Nothing new: how to answer it.
    Known(Stepped),
}

impl From<inbox::StepState> for StepState {
    fn from(state: inbox::StepState) -> Self {
        match state {
            inbox::StepState::InProgress => StepState::InProgress,
            inbox::StepState::Completed => StepState::Completed,
            inbox::StepState::Discontinued => StepState::Discontinued,
        }
    }
}

impl Reader {
    /// Whether a message belongs to a step that it may speak of, and says something new.
    pub fn stepped(&self, source: &str, message: &StepMessage) -> Result<Step, LedgerError> {
        let (mut newest, mut messages) = (BTreeMap::new(), 0);
        for entry in self.entries_about(&message.step_uid, usize::MAX)? {
            if let Event::StepReported { study_uid, step_uid, state, series, .. } = entry.event
                && step_uid == message.step_uid
            {
                messages += 1;
                newest.insert(study_uid, (state, series));
            }
        }
        let event = |study_uid: &String, state, series| Event::StepReported {
            source: source.to_owned(),
            study_uid: study_uid.clone(),
            step_uid: message.step_uid.clone(),
            state,
            series,
        };
        if message.begins {
            let series = || message.series.clone().unwrap_or_default();
            let begun = message.study_uids.iter().map(|study| event(study, StepState::InProgress, series()));
            return Ok(if newest.is_empty() { Step::New(begun.collect()) } else { Step::Known(Stepped::Begun) });
        }
        if newest.is_empty() {
            return Ok(Step::Known(Stepped::Unknown));
        }
        let mut events = Vec::new();
        for (study_uid, (before, made)) in &newest {
            let state = message.state.map_or(*before, StepState::from);
            let series = message.series.as_ref().unwrap_or(made);
            if (state, series) == (*before, made) {
                continue;
            }
            if *before != StepState::InProgress {
                return Ok(Step::Known(Stepped::Ended));
            }
            if state == StepState::InProgress && messages >= MOST_MESSAGES * newest.len() {
                return Ok(Step::Known(Stepped::TooMany));
            }
            events.push(event(study_uid, state, series.clone()));
        }
        Ok(if events.is_empty() { Step::Known(Stepped::Recorded) } else { Step::New(events) })
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
