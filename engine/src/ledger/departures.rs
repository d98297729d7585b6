//! When a study turned out not to be of the patient under whose id it was received: somebody said so as he withdrew
//! instances of it, or it came again under another id. Whatever was compared with it until then may have taken over what
//! is another person's.

use std::collections::{BTreeMap, HashMap};

use sulcus_operators::rows::{InstanceFacts, PatientKey, Seq};

use super::{
    LedgerError,
    event::{Arrival, Because, Entry, Event},
    history::History,
    read::Reader,
};

impl Because {
    /// True where the instances are of another patient than they say: whom a wrong worklist entry names is not who lay in
    /// the scanner.
    pub fn disowns(self) -> bool {
        matches!(self, Because::WrongPatient | Because::WrongWorklistEntry)
    }
}

/// The patients of studies, fed in the order of events.
#[derive(Default)]
pub struct Departures(HashMap<String, Vec<PatientKey>>);

impl Departures {
    /// Notes an instance that came in; gives the patient whom its study leaves by that.
    pub fn came(&mut self, facts: &InstanceFacts) -> Option<PatientKey> {
        let patient = &facts.patient;
        let patients = match self.0.get_mut(&facts.study_uid) {
            Some(patients) => patients,
            None => self.0.entry(facts.study_uid.clone()).or_default(),
        };
        if patients.last() == Some(patient) {
            return None;
        }
        let before = patients.last().filter(|before| PatientKey::count([*before, patient]) > 1).cloned();
        patients.retain(|known| known != patient);
        patients.push(patient.clone());
        before
    }

    /// The patients whom a study leaves of which something is said to be another's.
    pub fn left(&self, study_uid: &str) -> &[PatientKey] {
        self.0.get(study_uid).map_or(&[], Vec::as_slice)
    }

    /// Forgets a study.
    pub fn forget(&mut self, study_uid: &str) {
        self.0.remove(study_uid);
    }
}

impl Reader {
    /// The last departure of each study that is not this patient's any more or was not once, among the visits that are told
    /// of together.
    pub fn departures(&self, patient: &PatientKey) -> Result<BTreeMap<String, Seq>, LedgerError> {
        let mut departed = BTreeMap::new();
        for study in self.studies_of(patient)? {
            if !self.is_disputed(&study.study_uid)? {
                continue;
            }
            let mut departures = Departures::default();
            for Entry { seq, event, .. } in self.about_study(&study.study_uid, Seq::MAX)? {
                let left = match &event {
                    Event::InstanceReceived { facts, arrival: Arrival::New, .. }
                        if facts.study_uid == study.study_uid =>
                    {
                        departures.came(facts).as_ref() == Some(patient)
                    }
                    Event::InstanceWithdrawn { because: Some(because), .. } => {
                        because.disowns() && departures.left(&study.study_uid).contains(patient)
                    }
                    _ => false,
                };
                if left {
                    departed.insert(study.study_uid.clone(), seq);
                }
            }
        }
        Ok(departed)
    }

    /// True where a study was received under several patients, or something of it was withdrawn for a reason of a kind.
    fn is_disputed(&self, study_uid: &str) -> Result<bool, LedgerError> {
        let query = "SELECT (SELECT count(*) FROM patients WHERE study_uid = ?1) > 1 OR EXISTS
                     (SELECT 1 FROM concerns c JOIN events e ON e.seq = c.seq
                      WHERE c.key = ?1 AND name = 'InstanceWithdrawn' AND json_extract(body, '$.InstanceWithdrawn.because') IS NOT NULL)";
        Ok(self.connection.prepare_cached(query)?.query_row([study_uid], |row| row.get(0))?)
    }
}
