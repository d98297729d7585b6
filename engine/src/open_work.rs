//! What of the history is in the graph: the studies that are open work, and no others.
//!
//! A study that is sealed leaves the graph, and memory with it. An event that touches it brings all of it back from the
//! ledger before it is fed itself, so the graph holds of every open study what it would hold had none ever left. What
//! happened to a run is read when the run is wanted.
//!
//! A report tells of the patient's earlier visits, so the other studies of a patient come and go together: they are in
//! the graph while one of them is open. A study that is one too many to be a visit comes and goes alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sulcus_operators::{
    digest::Digest,
    rows::{Millis, PatientKey, Seq},
};

use crate::{
    graph::{Changes, Graph, Owner},
    hosts::places::Places,
    ledger::{
        LedgerError,
        event::{Arrival, Entry, Event},
        history::{History, OpenAt},
        merges::Merges,
        studies::{Owners, touches},
    },
    queue::Waits,
};

/// The graph over the open studies.
#[derive(Default)]
pub struct OpenWork {
    graph: Graph,
    studies: BTreeMap<String, Study>,
    patients: BTreeMap<PatientKey, BTreeSet<String>>,
    runs: HashMap<Digest, BTreeSet<String>>,
    merges: Merges,
    upto: Seq,
}

/// A study that is in the graph.
#[derive(Debug, Default)]
pub struct Study {
    /// True where it is sealed, and in the graph only for another study of its patient.
    pub sealed: bool,
    /// The last event that touched it.
    pub touched: Seq,
    /// When that was committed.
    pub at: Millis,
    /// What its jobs wait for.
    pub waits: Waits,
    /// What a fault of this study may name: the UIDs of the study, its series, its objects, its lesions
    /// that were judged, and of what it refused.
    pub names: BTreeSet<String>,
    /// Pipelines that issued a revision on it.
    pub reported: BTreeSet<String>,
    /// True where one of its series was received in another study as well: it is never sealed.
    pub shared: bool,
    /// Which hosts its parts came to and were made on.
    pub places: Places,
    patients: BTreeSet<PatientKey>,
    series: BTreeSet<String>,
    runs: BTreeSet<Digest>,
}

impl OpenWork {
    /// The last event that was fed or passed over.
    pub fn upto(&self) -> Seq {
        self.upto
    }

    /// The studies in the graph, by UID.
    pub fn studies(&self) -> &BTreeMap<String, Study> {
        &self.studies
    }

    /// Takes in what a start reads, epoch by epoch of some thousand entries.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn start(
        &mut self,
        at: OpenAt,
        history: &impl History,
        told: &mut impl FnMut(Changes),
    ) -> Result<(), LedgerError> {
        /// Studies that enter in one epoch.
        const TOGETHER: usize = 16;
        at.site.iter().for_each(|entry| self.of_site(entry));
        self.upto = at.upto;
        for studies in at.studies.chunks(TOGETHER) {
            for study_uid in studies {
                match self.studies.get_mut(study_uid) {
                    // It came with another study of its patient.
                    Some(study) => study.sealed = false,
                    None => self.open(study_uid, at.upto + 1, history)?,
                }
            }
            self.close_epoch(history, told)?;
        }
        self.close_epoch(history, told)
    }

    /// Feeds the next event of the ledger.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn apply(&mut self, entry: &Entry, history: &impl History) -> Result<(), LedgerError> {
        self.upto = entry.seq;
        match &entry.event {
            Event::RunStarted { run_key, .. }
            | Event::RunFailed { run_key, .. }
            | Event::RunCancelled { run_key, .. } => self.ran(*run_key, entry),
            Event::RunFinished(outcome) => self.ran(outcome.run_key, entry),
            Event::StudySealed { study_uid, as_of, .. } => self.seal(study_uid, *as_of),
            event => {
                let Owners { mut studies, site } = self.owners(event, history)?;
                // What is said of a study before anything of it came is read once it opens; this one is open already.
                if let Event::StepReported { study_uid, .. } = event
                    && self.studies.contains_key(study_uid)
                {
                    studies.insert(study_uid.clone());
                }
                if site {
                    self.of_site(entry);
                }
                let linked = studies.len() > 1 && matches!(event, Event::InstanceReceived { .. });
                for study_uid in &studies {
                    if touches(event) && !self.studies.contains_key(study_uid) {
                        self.open(study_uid, entry.seq, history)?;
                    }
                    if let Some(study) = self.studies.get_mut(study_uid) {
                        study.shared |= linked;
                        study.sealed &= !touches(event);
                    }
                    self.feed(study_uid, entry);
                    self.bring_visits(study_uid, event, entry.seq, history)?;
                }
            }
        }
        Ok(())
    }

    /// Closes the epoch and tells what changed, in one part or in several: what happened to runs that are wanted now is
    /// read from the ledger, and may change more.
    ///
    /// # Errors
    /// Where the ledger cannot be read.
    pub fn close_epoch(&mut self, history: &impl History, told: &mut impl FnMut(Changes)) -> Result<(), LedgerError> {
        loop {
            let changes = self.graph.close_epoch();
            let wanted = changes.runs.iter().filter(|(_, diff)| *diff > 0);
            let wanted: Vec<(Digest, String)> =
                wanted.map(|(run, _)| (run.order.run_key, run.order.study_uid.clone())).collect();
            told(changes);
            let mut read = false;
            for (run_key, study_uid) in wanted {
                if let Some(study) = self.studies.get_mut(&study_uid) {
                    study.runs.insert(run_key);
                }
                if let Some(studies) = self.runs.get_mut(&run_key) {
                    studies.insert(study_uid);
                    continue;
                }
                self.runs.insert(run_key, BTreeSet::from([study_uid]));
                for entry in history.about_run(&run_key, self.upto + 1)? {
                    self.graph.apply_of(Owner::Run(run_key), &entry);
                    read = true;
                }
            }
            if !read {
                return Ok(());
            }
        }
    }

    fn of_site(&mut self, entry: &Entry) {
        if let Event::PatientsMerged { from, into, .. } = &entry.event {
            self.merges.read(entry.seq, from, into.as_ref());
        }
        self.graph.apply_of(Owner::Site, entry);
    }

    fn ran(&mut self, run_key: Digest, entry: &Entry) {
        // What no open study wants is read once one does.
        if self.runs.contains_key(&run_key) {
            self.graph.apply_of(Owner::Run(run_key), entry);
        }
    }

    /// To whom an event belongs. A slice of a series that is open already needs no look into the ledger.
    fn owners(&self, event: &Event, history: &impl History) -> Result<Owners, LedgerError> {
        if let Event::InstanceReceived { facts, .. } = event
            && let Some(study) = self.studies.get(&facts.study_uid)
            && !study.shared
            && study.series.contains(&facts.series_uid)
        {
            return Ok(Owners { studies: BTreeSet::from([facts.study_uid.clone()]), site: false });
        }
        history.owners(event)
    }

    /// Brings all of a study back that lies before an event.
    fn open(&mut self, study_uid: &str, before: Seq, history: &impl History) -> Result<(), LedgerError> {
        let study = Study { names: BTreeSet::from([study_uid.to_owned()]), ..Study::default() };
        self.studies.insert(study_uid.to_owned(), study);
        let entries = history.about_study(study_uid, before)?;
        for entry in &entries {
            if let Event::InstanceReceived { facts, .. } = &entry.event
                && facts.study_uid != study_uid
            {
                if let Some(study) = self.studies.get_mut(study_uid) {
                    study.shared = true;
                }
                if !self.studies.contains_key(&facts.study_uid) {
                    self.open(&facts.study_uid, before, history)?;
                }
            }
            self.feed(study_uid, entry);
        }
        for entry in &entries {
            self.bring_visits(study_uid, &entry.event, before, history)?;
        }
        Ok(())
    }

    /// Notes whose study an instance makes it. Brings the patient's other studies, where he is new to this one.
    fn bring_visits(
        &mut self,
        study_uid: &str,
        event: &Event,
        before: Seq,
        history: &impl History,
    ) -> Result<(), LedgerError> {
        let Event::InstanceReceived { facts, .. } = event else { return Ok(()) };
        let Some(study) = self.studies.get_mut(study_uid) else { return Ok(()) };
        let patient = &facts.patient;
        if facts.study_uid != study_uid || patient.id.is_empty() || study.patients.contains(patient) {
            return Ok(());
        }
        study.patients.insert(patient.clone());
        let mut visits = history.visits_of(patient)?;
        if !visits.iter().any(|visit| visit == study_uid) {
            self.graph.stands_alone(study_uid, patient);
            return Ok(());
        }
        self.patients.entry(patient.clone()).or_default().insert(study_uid.to_owned());
        for id in self.merges.ids(patient).iter().filter(|id| *id != patient) {
            visits.extend(history.visits_of(id)?);
        }
        for other in visits {
            // What is open is in the graph already, but at a start, which opens it later.
            if !self.studies.contains_key(&other) {
                self.open(&other, before, history)?;
                if let Some(study) = self.studies.get_mut(&other) {
                    study.sealed = true;
                }
            }
        }
        Ok(())
    }

    /// The studies that come and go with this one, itself included.
    pub fn together(&self, study_uid: &str) -> BTreeSet<String> {
        let (mut together, mut open) = (BTreeSet::new(), vec![study_uid.to_owned()]);
        while let Some(study_uid) = open.pop() {
            if let Some(study) = self.studies.get(&study_uid)
                && together.insert(study_uid.clone())
            {
                let is_visit = |id: &&PatientKey| self.patients.get(id).is_some_and(|of| of.contains(&study_uid));
                let ids = study.patients.iter().filter(is_visit).flat_map(|id| self.merges.ids(id));
                open.extend(ids.filter_map(|id| self.patients.get(&id)).flatten().cloned());
            }
        }
        together
    }

    /// Feeds the part of an event that is of an open study.
    fn feed(&mut self, study_uid: &str, entry: &Entry) {
        let Some(study) = self.studies.get_mut(study_uid) else { return };
        if touches(&entry.event) {
            (study.touched, study.at) = (entry.seq, entry.at);
            study.waits.note(entry);
        }
        study.places.note(entry);
        let owner = || Owner::Study(study_uid.to_owned());
        match &entry.event {
            Event::InstanceReceived { facts, arrival, .. } => {
                if facts.study_uid != study_uid {
                    return;
                }
                if study.series.insert(facts.series_uid.clone()) {
                    study.names.insert(facts.series_uid.clone());
                }
                if matches!(arrival, Arrival::Conflict { .. }) {
                    study.names.insert(facts.sop_instance_uid.clone());
                }
                self.graph.apply_of(owner(), entry);
            }
            Event::AssociationReleased { source, series_uids, orderly } => {
                let of_study = series_uids.iter().filter(|uid| study.series.contains(*uid));
                let series_uids = of_study.cloned().collect();
                let event = Event::AssociationReleased { source: source.clone(), series_uids, orderly: *orderly };
                self.graph.apply_of(owner(), &Entry { event, ..entry.clone() });
            }
            Event::RevisionIssued { key, .. } => {
                study.reported.insert(key.pipeline.clone());
                self.graph.apply_of(owner(), entry);
            }
            Event::ObjectEncoded { uid, .. } => {
                study.names.insert(uid.clone());
                self.graph.apply_of(owner(), entry);
            }
            Event::VerdictGiven { tracking_uid, .. } => {
                study.names.insert(tracking_uid.clone());
                self.graph.apply_of(owner(), entry);
            }
            _ => self.graph.apply_of(owner(), entry),
        }
    }

    /// Lets a study leave the graph once all of its patient are sealed, unless something touched it after what its seal
    /// saw.
    fn seal(&mut self, study_uid: &str, as_of: Seq) {
        let Some(study) = self.studies.get_mut(study_uid) else { return };
        if study.touched > as_of {
            return;
        }
        study.sealed = true;
        let together = self.together(study_uid);
        if together.iter().filter_map(|uid| self.studies.get(uid)).all(|study| study.sealed) {
            together.iter().for_each(|study_uid| self.leave(study_uid));
        }
    }

    fn leave(&mut self, study_uid: &str) {
        let Some(study) = self.studies.remove(study_uid) else { return };
        self.graph.forget(&Owner::Study(study_uid.to_owned()));
        for patient in &study.patients {
            if let Some(studies) = self.patients.get_mut(patient) {
                studies.remove(study_uid);
                if studies.is_empty() {
                    self.patients.remove(patient);
                }
            }
        }
        for run_key in study.runs {
            if let Some(studies) = self.runs.get_mut(&run_key) {
                studies.remove(study_uid);
                if studies.is_empty() {
                    self.runs.remove(&run_key);
                    self.graph.forget(&Owner::Run(run_key));
                }
            }
        }
    }
}
