//! Stage `instances`: what came in, minus what was withdrawn. Conflicts and quarantined bytes are faults until
//! somebody withdraws their UID, series or study.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    rows::{Fault, Seq},
    series::InstanceRow,
};

use super::{
    group::{Key, Row, Rows},
    keyed::each,
    rows::Output,
};
use crate::ledger::{
    event::{Arrival, Entry, Event, Scope},
    merges::Merges,
};

/// What an arrival brought.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Brought {
    /// A member of its series.
    Member(InstanceRow),
    /// Bytes that are kept and not used, of a study (none where they could not be understood); what is wrong with them is
    /// told under their SOPInstanceUID.
    Refused(String, Fault),
}

/// One arrival. Told by its sequence number, which no other has, and by since when its patient is known by this id, so that
/// none is compared field by field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arrived {
    /// The event that recorded it.
    pub seq: Seq,
    /// SeriesInstanceUID; empty where the bytes could not be understood.
    pub series_uid: Arc<str>,
    /// What it brought.
    pub brought: Brought,
    /// The event that merged ids since, where that changed by which one its patient is known.
    pub known_since: Seq,
}

impl PartialEq for Arrived {
    fn eq(&self, other: &Self) -> bool {
        (self.seq, self.known_since) == (other.seq, other.known_since)
    }
}

impl Eq for Arrived {}

impl PartialOrd for Arrived {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arrived {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.seq, self.known_since).cmp(&(other.seq, other.known_since))
    }
}

impl Hash for Arrived {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.seq, self.known_since).hash(state);
    }
}

impl Arrived {
    /// What an event brings; none where it brings nothing that was not there. `name` gives the UID of a series.
    pub fn of(entry: &Entry, name: impl FnOnce(&str) -> Arc<str>) -> Option<Self> {
        let seq = entry.seq;
        let (series_uid, brought) = match &entry.event {
            Event::InstanceReceived { source, facts, arrival, .. } => {
                let brought = match arrival {
                    Arrival::New => {
                        let (source, facts) = (Arc::clone(source), Arc::clone(facts));
                        Brought::Member(InstanceRow { seq, received: entry.at, source, known_as: None, facts })
                    }
                    Arrival::Repeated { .. } => return None,
                    Arrival::Conflict { first } => {
                        let reason =
                            format!("instance came again from {source} with other bytes; event {first}'s are kept");
                        let hint = "withdraw the instance and send the right one again".to_owned();
                        refused(&facts.study_uid, &facts.sop_instance_uid, reason, hint)
                    }
                };
                (name(&facts.series_uid), brought)
            }
            Event::InstanceQuarantined { source, sop_instance_uid, reason, .. } => {
                let reason = format!("object from {source} cannot be used: {reason}");
                let hint = "the bytes are kept; correct the object at its source and send it again, then withdraw this";
                (Arc::default(), refused("", sop_instance_uid, reason, hint.to_owned()))
            }
            _ => return None,
        };
        Some(Arrived { seq, series_uid, brought, known_since: 0 })
    }

    /// SOPInstanceUID.
    pub fn instance_uid(&self) -> &str {
        match &self.brought {
            Brought::Member(row) => &row.facts.sop_instance_uid,
            Brought::Refused(_, fault) => &fault.key,
        }
    }

    /// StudyInstanceUID; empty where the bytes could not be understood.
    pub fn study_uid(&self) -> &str {
        match &self.brought {
            Brought::Member(row) => &row.facts.study_uid,
            Brought::Refused(study_uid, _) => study_uid,
        }
    }

    /// Gives its patient the id by which he is known. True where that is another than before.
    pub fn know(&mut self, merges: &Merges) -> bool {
        let Brought::Member(row) = &mut self.brought else { return false };
        let known = merges.of(&row.facts.patient);
        let is_new = row.patient() != known;
        if is_new {
            row.known_as = (*known != row.facts.patient).then(|| known.clone());
        }
        is_new
    }

    /// What a withdrawal must name to cover this.
    fn scopes(&self) -> impl Iterator<Item = Scope> {
        let named = |uid: &str, scope: fn(String) -> Scope| (!uid.is_empty()).then(|| scope(uid.to_owned()));
        [
            named(self.instance_uid(), Scope::Instance),
            named(&self.series_uid, Scope::Series),
            named(self.study_uid(), Scope::Study),
        ]
        .into_iter()
        .flatten()
    }

    /// Where it enters the graph.
    pub(super) fn key(&self) -> Key {
        Key::Series(Arc::clone(&self.series_uid))
    }

    /// True where the bytes are kept and not used.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.brought, Brought::Refused(..))
    }

    fn fault(&self) -> Option<Fault> {
        match &self.brought {
            Brought::Member(_) => None,
            Brought::Refused(_, fault) => Some(fault.clone()),
        }
    }
}

fn refused(study_uid: &str, sop_instance_uid: &str, reason: String, hint: String) -> Brought {
    let (stage, key) = ("instances".to_owned(), sop_instance_uid.to_owned());
    Brought::Refused(study_uid.to_owned(), Fault { stage, key, reason, hint })
}

/// What stands of the arrivals, so that a withdrawal finds what it covers: it covers what came before it, and what
/// comes after counts again.
#[derive(Default)]
pub(super) struct Arrivals(HashMap<String, Vec<Arc<Arrived>>>);

impl Arrivals {
    /// Notes an arrival.
    pub fn add(&mut self, arrived: &Arc<Arrived>) {
        match self.0.get_mut(arrived.study_uid()) {
            Some(of_study) => of_study.push(Arc::clone(arrived)),
            None => {
                self.0.insert(arrived.study_uid().to_owned(), vec![Arc::clone(arrived)]);
            }
        }
    }

    /// What stands of a study.
    pub fn of_study(&self, study_uid: &str) -> impl Iterator<Item = &Arrived> {
        self.0.get(study_uid).into_iter().flatten().map(AsRef::as_ref)
    }

    /// Takes out what a withdrawal covers: of one study, by its UID (bytes in quarantine lie under an empty one), or of
    /// all where none is named.
    pub fn withdraw(&mut self, scope: &Scope, study_uid: Option<&str>) -> Vec<Arc<Arrived>> {
        let mut covered = Vec::new();
        let mut take = |arrivals: &mut Vec<Arc<Arrived>>| {
            covered.extend(arrivals.extract_if(.., |arrived| arrived.scopes().any(|named| named == *scope)));
        };
        match study_uid {
            Some(study_uid) => self.0.get_mut(study_uid).into_iter().for_each(take),
            None => self.0.values_mut().for_each(&mut take),
        }
        covered
    }

    /// Gives all patients the ids by which they are known since the event `seq`. Gives what changed, before and after.
    pub fn know(&mut self, seq: Seq, merges: &Merges) -> Vec<[Arc<Arrived>; 2]> {
        let mut changed = Vec::new();
        for arrived in self.0.values_mut().flatten() {
            let is_known = |row: &InstanceRow| row.patient() == merges.of(&row.facts.patient);
            if matches!(&arrived.brought, Brought::Member(row) if !is_known(row)) {
                let mut after = arrived.as_ref().clone();
                after.know(merges);
                after.known_since = seq;
                let before = std::mem::replace(arrived, Arc::new(after));
                changed.push([before, Arc::clone(arrived)]);
            }
        }
        changed
    }

    /// Forgets a study.
    pub fn forget(&mut self, study_uid: &str) {
        self.0.remove(study_uid);
    }
}

/// The faults of what was refused.
pub fn stage(refused: Rows<'_>) -> Rows<'_> {
    each(refused, |key, row, out| {
        if let Row::Arrived(arrived) = row {
            out.extend(arrived.fault().map(|fault| (key, Output::Fault(fault).into())));
        }
    })
}

/// What stands, from the whole log.
fn standing<'a>(arrived: &'a [Arc<Arrived>], withdrawn: &[(Scope, Seq)]) -> impl Iterator<Item = &'a Arc<Arrived>> {
    let mut last: BTreeMap<Scope, Seq> = BTreeMap::new();
    for (scope, seq) in withdrawn {
        let last = last.entry(scope.clone()).or_default();
        *last = (*last).max(*seq);
    }
    let stands =
        move |arrived: &&Arc<Arrived>| !arrived.scopes().any(|s| last.get(&s).is_some_and(|l| *l > arrived.seq));
    arrived.iter().filter(stands)
}

/// What a withdrawal covers that is the next event of this log.
pub(super) fn covered<'a>(arrived: &'a [Arc<Arrived>], withdrawn: &[(Scope, Seq)], scope: &Scope) -> Vec<&'a Arrived> {
    let covers = |arrived: &&Arc<Arrived>| arrived.scopes().any(|named| named == *scope);
    standing(arrived, withdrawn).filter(covers).map(AsRef::as_ref).collect()
}

/// The same from the whole log.
pub fn batch(arrived: &[Arc<Arrived>], withdrawn: &[(Scope, Seq)]) -> (Vec<Arc<Arrived>>, Vec<Fault>) {
    let standing: Vec<_> = standing(arrived, withdrawn).cloned().collect();
    let faults = standing.iter().filter_map(|arrived| arrived.fault()).collect();
    (standing, faults)
}
