//! What became of each object of a study at each destination, as the ledger tells it.

use std::collections::BTreeMap;

use serde::Serialize;
use sulcus_operators::{
    digest::Digest,
    rows::{Millis, Role},
};

use crate::{
    graph::DeliveryToDo,
    ledger::event::{Entry, Event},
    wanted::Rows,
};

/// How far an object is on its way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is to be sent; nothing was tried yet.
    Waiting,
    /// The first attempt is under way.
    Sending,
    /// It was tried, and is tried again.
    Retrying,
    /// The destination has it.
    Delivered,
    /// It was tried as often as the destination says: `sulcus resend` has it tried again.
    GivenUp,
    /// A newer revision took its place, or its destination was removed, after an attempt that may have reached it.
    Overtaken,
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Sending => "sending",
            State::Retrying => "retrying",
            State::Delivered => "delivered",
            State::GivenUp => "given up",
            State::Overtaken => "overtaken",
        }
    }
}

/// One object and one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Revision of the report.
    pub revision: u32,
    /// What the object is.
    pub role: Role,
    /// Its SOPInstanceUID; for other files their `2.25.` identity.
    pub uid: String,
    /// ObjectKey.
    pub object: Digest,
    /// Name of the destination.
    pub destination: String,
    /// How far it is.
    pub state: State,
    /// Attempts since it was encoded, or since somebody asked for it again.
    pub attempts: u32,
    /// When that last changed; 0 where nothing was tried.
    pub at: Millis,
    /// What the destination answered, or why the last attempt failed.
    pub answer: String,
}

/// The outbox of one study. `entries` are the ledger's events of the study, in order; `to_do` the deliveries that
/// stand to be made.
pub fn lines(entries: &[Entry], to_do: &Rows<DeliveryToDo>) -> Vec<Line> {
    let mut objects: BTreeMap<Digest, Line> = BTreeMap::new();
    let mut lines: BTreeMap<(Digest, String), Line> = BTreeMap::new();
    let mut line = |objects: &BTreeMap<Digest, Line>, object: &Digest, to: &String, change: &dyn Fn(&mut Line)| {
        if let Some(of) = objects.get(object) {
            let key = (*object, to.clone());
            change(lines.entry(key).or_insert_with(|| Line { destination: to.clone(), ..of.clone() }));
        }
    };
    for entry in entries {
        let at = entry.at;
        match &entry.event {
            Event::ObjectEncoded { object, key, role, uid, .. } => {
                objects.entry(*object).or_insert_with(|| Line {
                    study_uid: key.study_uid.clone(),
                    pipeline: key.pipeline.clone(),
                    revision: key.revision,
                    role: *role,
                    uid: uid.clone(),
                    object: *object,
                    destination: String::new(),
                    state: State::Waiting,
                    attempts: 0,
                    at: 0,
                    answer: String::new(),
                });
            }
            Event::DeliveryStarted { object, destination, attempt } => {
                line(&objects, object, destination, &|line| {
                    (line.state, line.attempts, line.at) = (State::Overtaken, *attempt, at);
                });
            }
            Event::DeliveryFailed { object, destination, attempt, reason, .. } => {
                line(&objects, object, destination, &|line| {
                    (line.state, line.attempts, line.at) = (State::GivenUp, *attempt, at);
                    line.answer.clone_from(reason);
                });
            }
            Event::DeliverySettled { object, destination, receipt } => {
                line(&objects, object, destination, &|line| {
                    (line.state, line.at) = (State::Delivered, at);
                    line.answer.clone_from(receipt);
                });
            }
            Event::ResendAsked { object, destination } => {
                line(&objects, object, destination, &|line| {
                    (line.state, line.attempts, line.at) = (State::Overtaken, 0, at);
                    line.answer.clear();
                });
            }
            _ => {}
        }
    }
    for delivery in to_do.iter() {
        line(&objects, &delivery.row.object, &delivery.row.destination, &|line| {
            line.state = match (delivery.attempt, line.answer.is_empty()) {
                (..=1, _) => State::Waiting,
                (_, true) => State::Sending,
                (_, false) => State::Retrying,
            };
        });
    }
    let newest = newest(lines.values());
    let mut lines: Vec<Line> = lines.into_values().collect();
    for line in &mut lines {
        let of_newest = newest.get(&(line.study_uid.clone(), line.pipeline.clone())) == Some(&line.revision);
        if line.state == State::GivenUp && !of_newest {
            line.state = State::Overtaken;
        }
    }
    lines.sort_by(|a, b| {
        let key = |line: &Line| (line.pipeline.clone(), line.revision, line.role, line.destination.clone());
        key(a).cmp(&key(b))
    });
    lines
}

/// The newest revision with an object, by study and pipeline.
pub fn newest<'a>(lines: impl Iterator<Item = &'a Line>) -> BTreeMap<(String, String), u32> {
    let mut newest: BTreeMap<(String, String), u32> = BTreeMap::new();
    for line in lines {
        let revision = newest.entry((line.study_uid.clone(), line.pipeline.clone())).or_default();
        *revision = line.revision.max(*revision);
    }
    newest
}

#[cfg(test)]
mod tests {
    use sulcus_operators::rows::DeliveryRow;

    use super::*;
    use crate::ledger::event::RevisionKey;

    const TO: &str = "pacs";

    fn encoded(revision: u32) -> Event {
        let key = RevisionKey { study_uid: "1.2".into(), pipeline: "lesions".into(), revision };
        let object = Digest::of(&revision.to_le_bytes());
        let (role, uid) = (Role::Segmentation, object.uid());
        Event::ObjectEncoded { object, key, role, uid, bytes: object, length: 1 }
    }

    fn object(revision: u32) -> (Digest, String) {
        (Digest::of(&revision.to_le_bytes()), TO.to_owned())
    }

    fn started(revision: u32, attempt: u32) -> Event {
        let (object, destination) = object(revision);
        Event::DeliveryStarted { object, destination, attempt }
    }

    fn failed(revision: u32, attempt: u32) -> Event {
        let (object, destination) = object(revision);
        Event::DeliveryFailed { object, destination, attempt, reason: "refused".into(), retry_at: 0 }
    }

    fn settled(revision: u32) -> Event {
        let (object, destination) = object(revision);
        Event::DeliverySettled { object, destination, receipt: "0x0000".into() }
    }

    fn told(events: Vec<Event>, to_do: Option<(u32, u32)>) -> Vec<(u32, State, u32, String)> {
        let entries: Vec<Entry> = (1..)
            .zip(events)
            .map(|(seq, event)| Entry { seq, epoch: seq, at: seq as i64, host: None, event })
            .collect();
        let mut rows = Rows::default();
        rows.update(to_do.into_iter().map(|(revision, attempt)| (delivery(revision, attempt), 1)).collect());
        lines(&entries, &rows).into_iter().map(|l| (l.revision, l.state, l.attempts, l.answer)).collect()
    }

    fn delivery(revision: u32, attempt: u32) -> DeliveryToDo {
        let (object, destination) = object(revision);
        let (study_uid, pipeline, uid) = ("1.2".into(), "lesions".into(), object.uid());
        let role = Role::Segmentation;
        let row = DeliveryRow { object, destination, study_uid, pipeline, revision, role, uid, bytes: object };
        DeliveryToDo { row, attempt, not_before: 0 }
    }

    #[test]
    fn each_object_has_one_state_at_each_destination() {
        assert_eq!(told(vec![encoded(1)], None), [], "nobody is to have it");
        assert_eq!(told(vec![encoded(1)], Some((1, 1))), [(1, State::Waiting, 0, String::new())]);
        assert_eq!(told(vec![encoded(1), started(1, 1)], Some((1, 2))), [(1, State::Sending, 1, String::new())]);
        let tried = vec![encoded(1), started(1, 1), failed(1, 1)];
        assert_eq!(told(tried.clone(), Some((1, 2))), [(1, State::Retrying, 1, "refused".to_owned())]);
        assert_eq!(told(tried.clone(), None), [(1, State::GivenUp, 1, "refused".to_owned())]);
        let next = [tried.clone(), vec![encoded(2), started(2, 1), settled(2)]].concat();
        let both = [(1, State::Overtaken, 1, "refused".to_owned()), (2, State::Delivered, 1, "0x0000".to_owned())];
        assert_eq!(told(next, None), both);
        let (object, destination) = object(1);
        let asked = [tried, vec![Event::ResendAsked { object, destination }]].concat();
        assert_eq!(told(asked, Some((1, 1))), [(1, State::Waiting, 0, String::new())]);
    }
}
