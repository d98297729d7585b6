//! Where events enter the graph: each event becomes a change of one input collection. An event that replaces what an
//! earlier one said (an instance that is withdrawn, the rules, the last release of a series, the last attempt of a
//! delivery) retracts it here, so that the graph holds the newest only.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use sulcus_operators::{
    digest::Digest,
    rows::{Finding, PatientKey, Seq},
};
use timely::dataflow::Scope as Dataflow;

pub use super::facts::{Issued, ObjectFact, RunFact, Tried};
use super::{
    collections::Collections,
    completeness::Directed,
    group::{Epoch, Key, Row},
    instances::{Arrivals, Arrived},
    listings::Listings,
    newest::{Newest, delivery},
    persons::{Persons, Stated},
    sessions::{Input, Owner, Sessions},
    taken_back::{self, Gone},
};
use crate::ledger::{
    event::{Arrival, Because, Entry, Event, RevisionKey, Scope, Timer},
    patients::Visitors,
};

/// One study and one pipeline: what a report is about.
pub type ReportKey = (String, String);

/// One object and one destination.
pub type DeliveryKey = (Digest, String);

/// One study and one tracking UID: what a verdict is about.
pub type LesionKey = (String, String);

/// Where events enter. One worker of the graph feeds it; the others hold theirs and only advance it.
pub struct Inputs {
    sessions: Sessions,
    arrivals: Arrivals,
    newest: Newest,
    visitors: Visitors,
    persons: Persons,
    /// What is put of persons and lists, by study; of none under an empty UID.
    stated: HashMap<String, Stated>,
    gone: Gone,
    listings: Listings,
}

impl Inputs {
    /// Makes the input collections of a dataflow.
    pub fn new<'scope>(scope: Dataflow<'scope, Epoch>) -> (Self, Collections<'scope>) {
        let (sessions, rows) = Sessions::new(scope);
        let (arrivals, newest, visitors, persons, stated, gone, listings) = Default::default();
        (Inputs { sessions, arrivals, newest, visitors, persons, stated, gone, listings }, Collections::of(&rows))
    }

    /// Feeds one event into the epoch that is open, as part of what belongs to `owner`.
    pub fn apply_of(&mut self, owner: Owner, entry: &Entry) {
        self.sessions.belongs_to(Some(owner));
        self.apply(entry);
        self.sessions.belongs_to(None);
    }

    /// Says that a study is not told of among the patient's visits. What is fed without an owner says so by itself, as it
    /// is all that ever came.
    pub fn stands_alone(&mut self, study_uid: &str, patient: &PatientKey) {
        self.sessions.belongs_to(Some(Owner::Study(study_uid.to_owned())));
        self.persons.alone(study_uid, patient);
        self.state(study_uid);
        self.sessions.belongs_to(None);
    }

    /// Takes out all that was fed as part of what belongs to `owner`.
    pub fn forget(&mut self, owner: &Owner) {
        if let Owner::Study(study_uid) = owner {
            self.arrivals.forget(study_uid);
            self.persons.forget(study_uid);
            self.stated.remove(study_uid);
            self.gone.forget(study_uid);
            self.listings.forget(study_uid);
        }
        for (_, key, row) in self.sessions.forget(owner) {
            match (key, row) {
                (_, Row::Arrived(arrived)) => {
                    self.newest.names.remove(&arrived.series_uid);
                }
                (Key::Series(series_uid), Row::Released(_)) => {
                    self.newest.released.remove(series_uid.as_ref());
                }
                (Key::Series(series_uid), Row::Directed(_)) => {
                    self.newest.directed.remove(series_uid.as_ref());
                }
                (Key::Delivery(object, destination), Row::Tried(_)) => {
                    self.newest.tried.remove(&(object, destination));
                }
                (Key::Delivery(object, destination), Row::Settled) => {
                    self.newest.settled.remove(&(object, destination));
                }
                (Key::Lesion(study_uid, tracking_uid), Row::Finding(_)) => {
                    self.newest.verdicts.remove(&(study_uid, tracking_uid));
                }
                _ => {}
            }
        }
    }

    /// Feeds one event into the epoch that is open.
    pub fn apply(&mut self, entry: &Entry) {
        if let Some(mut arrived) = Arrived::of(entry, |series_uid| self.newest.name(series_uid)) {
            arrived.know(self.persons.merges());
            let arrived = Arc::new(arrived);
            self.arrivals.add(&arrived);
            let is_listed = self.listings.count(&arrived, true);
            let study_uid = is_listed.then(|| arrived.study_uid().to_owned());
            self.sessions.put(place(&arrived), arrived.key(), Row::Arrived(arrived));
            study_uid.iter().for_each(|study_uid| self.state(study_uid));
        }
        match &entry.event {
            Event::InstanceReceived { facts, arrival, .. } => {
                if *arrival == Arrival::New && self.persons.came(entry.seq, facts) {
                    self.state(&facts.study_uid);
                }
                if self.sessions.owner().is_none()
                    && let Some(patient) = self.visitors.note(facts)
                {
                    self.persons.alone(&facts.study_uid, &patient);
                    self.state(&facts.study_uid);
                }
            }
            Event::InstanceQuarantined { .. }
            | Event::CommitmentReported { .. }
            | Event::StudySealed { .. }
            | Event::StudyReopened { .. }
            | Event::SealsReviewed { .. } => {}
            Event::InstanceWithdrawn { scope, because, .. } => self.withdraw(entry.seq, scope, *because),
            Event::AssociationReleased { series_uids, orderly, .. } => {
                if *orderly {
                    series_uids
                        .iter()
                        .for_each(|series_uid| self.newest.release(&mut self.sessions, series_uid, entry.seq));
                }
            }
            Event::TimerFired(Timer { series_uid, kind, as_of, .. }) => {
                self.sessions.put(Input::Fired, Key::Series(series_uid.as_str().into()), Row::Fired(*kind, *as_of));
            }
            Event::RulesChanged(rules) => {
                let rules = Arc::new(rules.clone());
                if let Some(before) = self.newest.rules.replace(Arc::clone(&rules)) {
                    self.sessions.take(Input::Rules, Key::All, Row::Rules(before));
                }
                self.newest.versions.read(entry.seq, &rules);
                self.sessions.put(Input::Rules, Key::All, Row::Rules(rules));
                self.newest.rule_anew(&mut self.sessions);
            }
            Event::RunStarted { .. } | Event::RunFailed { .. } | Event::RunCancelled { .. } | Event::RunFinished(_) => {
                if let Some((run_key, fact)) = RunFact::of(entry) {
                    self.sessions.put(Input::Runs, Key::Run(run_key), Row::RunFact(Arc::new(fact)));
                }
            }
            Event::RevisionIssued { .. } => {
                if let Some((report, issued)) = Issued::of(entry) {
                    self.sessions.put(Input::Issued, Key::Report(report), Row::Issued(issued));
                }
            }
            Event::ObjectEncoded { object, key, role, uid, bytes, .. } => {
                let (revision, uid) = (key.revision, uid.clone());
                let encoded = ObjectFact::Encoded { revision, role: *role, object: *object, uid, bytes: *bytes };
                self.sessions.put(Input::Objects, Key::Report(report_key(key)), Row::Object(Arc::new(encoded)));
            }
            Event::EncodeFailed { key, role, attempt, permanent, reason, hint } => {
                let failed = ObjectFact::Failed {
                    revision: key.revision,
                    role: *role,
                    attempt: *attempt,
                    permanent: *permanent,
                    reason: reason.clone(),
                    hint: hint.clone(),
                };
                self.sessions.put(Input::Objects, Key::Report(report_key(key)), Row::Object(Arc::new(failed)));
            }
            Event::DeliveryStarted { object, destination, attempt } => {
                self.newest
                    .attempted(&mut self.sessions, (*object, destination.clone()), |tried| tried.attempt = *attempt);
            }
            Event::DeliveryFailed { object, destination, attempt, reason, retry_at } => {
                let tried = Tried { attempt: *attempt, not_before: *retry_at, reason: reason.clone() };
                self.newest.attempted(&mut self.sessions, (*object, destination.clone()), |before| *before = tried);
            }
            Event::DeliverySettled { object, destination, .. } => {
                let key = (*object, destination.clone());
                if let Some(before) = self.newest.tried.remove(&key) {
                    self.sessions.take(Input::Tried, delivery(&key), Row::Tried(before));
                }
                if self.newest.settled.insert(key.clone()) {
                    self.sessions.put(Input::Settled, delivery(&key), Row::Settled);
                }
            }
            Event::ResendAsked { object, destination } => {
                self.newest.resend(&mut self.sessions, (*object, destination.clone()))
            }
            Event::SeriesDirected { series_uid, directive, reason, by, .. } => {
                let directed = Directed { directive: *directive, reason: reason.clone(), by: by.clone() };
                self.newest.direct(&mut self.sessions, series_uid, directed);
            }
            Event::InstancesListed { study_uid, instances, absent, .. } => {
                let standing = self.arrivals.of_study(study_uid);
                self.listings.list(study_uid, instances.iter().chain(absent), standing);
                self.state(study_uid);
            }
            Event::StepReported { study_uid, step_uid, state, series, .. } => {
                let standing = self.arrivals.of_study(study_uid);
                self.listings.step(study_uid, step_uid, *state, series, standing);
                self.state(study_uid);
            }
            Event::SeriesCounted { study_uid, series_uid, instances, .. } => {
                self.listings.archived(study_uid, series_uid, *instances);
                self.state(study_uid);
            }
            Event::PatientsMerged { from, into, .. } => self.merge(entry.seq, from, into.as_ref()),
            Event::VerdictGiven { study_uid, .. } => {
                if let Some(finding) = finding(&entry.event) {
                    self.newest.judged(&mut self.sessions, (study_uid.clone(), finding.tracking_uid.clone()), finding);
                }
            }
        }
    }

    /// Closes the open epoch: what is fed from here on belongs to `epoch`.
    pub fn advance_to(&mut self, epoch: Epoch) {
        self.sessions.advance_to(epoch);
    }

    fn withdraw(&mut self, seq: Seq, scope: &Scope, because: Option<Because>) {
        let covered = self.arrivals.withdraw(scope, self.sessions.study());
        let of = || covered.iter().map(AsRef::as_ref);
        let studies = self.gone.note(scope, self.sessions.study(), of());
        if let Some(because) = because {
            for (study_uid, row) in taken_back::rows(seq, because, &studies, of()) {
                self.sessions.put(Input::TakenBack, Key::Study(study_uid), row);
            }
            for study_uid in studies.keys().filter(|_| because.disowns()) {
                self.persons.left(seq, study_uid);
                self.state(study_uid);
            }
        }
        let mut listed = BTreeSet::new();
        for arrived in covered {
            if self.listings.count(&arrived, false) {
                listed.insert(arrived.study_uid().to_owned());
            }
            self.sessions.take(place(&arrived), arrived.key(), Row::Arrived(arrived));
        }
        listed.iter().for_each(|study_uid| self.state(study_uid));
    }

    /// Puts what is said of a study's persons and by its lists in place of what was; of no study, where its UID is empty.
    fn state(&mut self, study_uid: &str) {
        let mut now = if study_uid.is_empty() { self.persons.of_site() } else { self.persons.of_study(study_uid) };
        let listed = self.listings.of(study_uid).into_iter();
        now.extend(listed.map(|(series, listed)| (Input::Listed, Key::Series(series.into()), Row::Listed(listed))));
        let before = self.stated.insert(study_uid.to_owned(), now.clone()).unwrap_or_default();
        for (input, key, row) in before.difference(&now) {
            self.sessions.take(*input, key.clone(), row.clone());
        }
        for (input, key, row) in now.difference(&before) {
            self.sessions.put(*input, key.clone(), row.clone());
        }
    }

    /// Gives all persons the ids by which they are known now.
    fn merge(&mut self, seq: Seq, from: &PatientKey, into: Option<&PatientKey>) {
        let owner = self.sessions.owner().cloned();
        // Each study's part of it is fed with the site's.
        if matches!(owner, Some(Owner::Study(_) | Owner::Run(_))) {
            return;
        }
        self.persons.merge(seq, from, into);
        self.state("");
        let of_study = |study_uid: &str| owner.is_some().then(|| Owner::Study(study_uid.to_owned()));
        for [before, after] in self.arrivals.know(seq, self.persons.merges()) {
            self.sessions.belongs_to(of_study(after.study_uid()));
            self.sessions.take(place(&before), before.key(), Row::Arrived(before));
            self.sessions.put(place(&after), after.key(), Row::Arrived(after));
        }
        let studies: Vec<String> = self.persons.studies().cloned().collect();
        for study_uid in studies {
            self.sessions.belongs_to(of_study(&study_uid));
            self.state(&study_uid);
        }
        self.sessions.belongs_to(owner);
    }
}

/// The collection of an arrival.
fn place(arrived: &Arrived) -> Input {
    if arrived.is_refused() { Input::Refused } else { Input::Arrived }
}

/// What the event of a verdict says of its lesion.
pub fn finding(event: &Event) -> Option<Finding> {
    let Event::VerdictGiven { tracking_uid, verdict, reader, comment, .. } = event else { return None };
    let (tracking_uid, verdict) = (tracking_uid.clone(), verdict.clone());
    Some(Finding { tracking_uid, verdict, reader: reader.clone(), comment: comment.clone() })
}

/// The study and pipeline of a revision.
pub(super) fn report_key(key: &RevisionKey) -> ReportKey {
    (key.study_uid.clone(), key.pipeline.clone())
}
