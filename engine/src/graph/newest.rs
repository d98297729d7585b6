//! What the replacing events said last, so that the next one takes it out of the graph again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sulcus_operators::rows::{Finding, LesionVerdict, Seq};

use super::{
    completeness::Directed,
    facts::Tried,
    group::{Key, Row},
    inputs::{DeliveryKey, LesionKey},
    sessions::{Input, Sessions},
    versions::{Ruling, Rulings},
};
use crate::ledger::event::{Directive, Rules};

/// What the replacing events said last.
#[derive(Default)]
pub(super) struct Newest {
    pub names: HashSet<Arc<str>>,
    pub released: HashMap<String, Seq>,
    pub directed: HashMap<String, Arc<Directed>>,
    pub rules: Option<Arc<Rules>>,
    pub versions: Rulings,
    pub rulings: Vec<Arc<Ruling>>,
    pub tried: HashMap<DeliveryKey, Arc<Tried>>,
    pub settled: HashSet<DeliveryKey>,
    pub verdicts: HashMap<LesionKey, Arc<Finding>>,
}

impl Newest {
    /// The UID of a series, which is kept once and not once a slice.
    pub fn name(&mut self, series_uid: &str) -> Arc<str> {
        if let Some(name) = self.names.get(series_uid) {
            return Arc::clone(name);
        }
        let name: Arc<str> = series_uid.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// Replaces the versions that are no longer in force.
    pub fn rule_anew(&mut self, sessions: &mut Sessions) {
        let rulings: Vec<Arc<Ruling>> = self.versions.in_force().cloned().collect();
        for before in std::mem::replace(&mut self.rulings, rulings.clone()) {
            sessions.take(Input::Rulings, Key::All, Row::Ruling(before));
        }
        for ruling in rulings {
            sessions.put(Input::Rulings, Key::All, Row::Ruling(ruling));
        }
    }

    pub fn release(&mut self, sessions: &mut Sessions, series_uid: &str, seq: Seq) {
        let key = || Key::Series(series_uid.into());
        if let Some(before) = self.released.insert(series_uid.to_owned(), seq) {
            sessions.take(Input::Released, key(), Row::Released(before));
        }
        sessions.put(Input::Released, key(), Row::Released(seq));
    }

    pub fn direct(&mut self, sessions: &mut Sessions, series_uid: &str, directed: Directed) {
        let key = || Key::Series(series_uid.into());
        if let Some(before) = self.directed.remove(series_uid) {
            sessions.take(Input::Directed, key(), Row::Directed(before));
        }
        if directed.directive != Directive::Release {
            let directed = Arc::new(directed);
            sessions.put(Input::Directed, key(), Row::Directed(Arc::clone(&directed)));
            self.directed.insert(series_uid.to_owned(), directed);
        }
    }

    pub fn judged(&mut self, sessions: &mut Sessions, key: LesionKey, finding: Finding) {
        if let Some(before) = self.verdicts.remove(&key) {
            sessions.take(Input::Verdicts, lesion(&key), Row::Finding(before));
        }
        if finding.verdict != LesionVerdict::Open {
            let finding = Arc::new(finding);
            sessions.put(Input::Verdicts, lesion(&key), Row::Finding(Arc::clone(&finding)));
            self.verdicts.insert(key, finding);
        }
    }

    /// Forgets what was tried, and that it was settled.
    pub fn resend(&mut self, sessions: &mut Sessions, key: DeliveryKey) {
        if let Some(before) = self.tried.remove(&key) {
            sessions.take(Input::Tried, delivery(&key), Row::Tried(before));
        }
        if self.settled.remove(&key) {
            sessions.take(Input::Settled, delivery(&key), Row::Settled);
        }
    }

    pub fn attempted(&mut self, sessions: &mut Sessions, key: DeliveryKey, change: impl FnOnce(&mut Tried)) {
        let before = self.tried.get(&key).cloned();
        let mut tried = before.as_deref().cloned().unwrap_or_default();
        change(&mut tried);
        let tried = Arc::new(tried);
        if let Some(before) = before {
            sessions.take(Input::Tried, delivery(&key), Row::Tried(before));
        }
        sessions.put(Input::Tried, delivery(&key), Row::Tried(Arc::clone(&tried)));
        self.tried.insert(key, tried);
    }
}

pub(super) fn delivery((object, destination): &DeliveryKey) -> Key {
    Key::Delivery(*object, destination.clone())
}

fn lesion((study_uid, tracking_uid): &LesionKey) -> Key {
    Key::Lesion(study_uid.clone(), tracking_uid.clone())
}
