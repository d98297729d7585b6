//! Which studies are of one patient: what a run asks to find the visits before its own.
//!
//! A study stands under every patient that its instances were ever received for. Whether it still is this patient's is
//! for those to check who read it: an id may have been corrected since. Whoever has more studies than [`MOST_STUDIES`] is
//! a phantom or a test, not a patient: the first so many are his visits, and each later one stands alone for good. So what
//! is told of visits follows from the order of the events, whatever is sealed.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use sulcus_operators::rows::{InstanceFacts, PatientKey, Seq};

use super::{
    LedgerError,
    event::{Event, ReportedRun, RevisionKey},
    read::Reader,
    relayed::event_of,
    store::unsigned,
};

/// The studies of one patient whose visits are compared and told of together.
pub const MOST_STUDIES: usize = 64;

/// The same from the events, for who has no ledger to ask.
#[derive(Default)]
pub struct Visitors(BTreeMap<PatientKey, BTreeSet<String>>);

impl Visitors {
    /// Notes the patient of an instance that came in, and gives him where his study is one too many, the first time.
    pub fn note(&mut self, facts: &InstanceFacts) -> Option<PatientKey> {
        if facts.patient.id.is_empty() {
            return None;
        }
        let (study_uid, patient) = (&facts.study_uid, &facts.patient);
        let studies = match self.0.get_mut(patient) {
            Some(studies) => studies,
            None => self.0.entry(patient.clone()).or_default(),
        };
        let is_new = !studies.contains(study_uid) && studies.insert(study_uid.clone());
        (is_new && studies.len() > MOST_STUDIES).then(|| patient.clone())
    }
}

/// A study of a patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientStudy {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// StudyDate as in the file; empty where missing.
    pub study_date: String,
}

/// Notes the patient of an instance that came in. Without an id nobody can tell which studies are of one person.
pub(super) fn note_patient(connection: &Connection, facts: &InstanceFacts) -> Result<(), LedgerError> {
    if !facts.patient.id.is_empty() {
        let query = "INSERT OR IGNORE INTO patients SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS
                     (SELECT 1 FROM patients WHERE issuer = ?1 AND id = ?2 LIMIT 1 OFFSET ?5)";
        let mut insert = connection.prepare_cached(query)?;
        let date = facts.keywords.get("StudyDate").map_or("", String::as_str);
        let last = MOST_STUDIES as i64 - 1;
        insert.execute(params![facts.patient.issuer, facts.patient.id, facts.study_uid, date, last])?;
    }
    Ok(())
}

/// Notes the patients of all instances anew.
pub(super) fn note_all(connection: &Connection) -> Result<(), LedgerError> {
    connection.execute("DELETE FROM patients", [])?;
    let query = "SELECT seq, body FROM events WHERE name = 'InstanceReceived' ORDER BY seq";
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, body) = (unsigned(row, 0)?, row.get::<_, String>(1)?);
        let event = event_of(seq, &body)?;
        if let Event::InstanceReceived { facts, .. } = event {
            note_patient(connection, &facts)?;
        }
    }
    Ok(())
}

/// A revision of a study's report: what it reports on, or none where it is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// Which revision.
    pub key: RevisionKey,
    /// The run.
    pub run: Option<ReportedRun>,
}

/// The revisions that were issued on a study, in order.
pub(super) fn reported_on(connection: &Connection, study_uid: &str) -> Result<Vec<Reported>, LedgerError> {
    let query = "SELECT e.seq, body FROM concerns c JOIN events e ON e.seq = c.seq
                 WHERE c.key = ? AND name = 'RevisionIssued' ORDER BY c.seq";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query([study_uid])?;
    let mut reported = Vec::new();
    while let Some(row) = rows.next()? {
        let (seq, body) = (unsigned(row, 0)?, row.get::<_, String>(1)?);
        let event = event_of(seq, &body)?;
        if let Event::RevisionIssued { key, run, .. } = event {
            reported.push(Reported { key, run });
        }
    }
    Ok(reported)
}

/// The studies under one id, by UID.
pub(super) fn studies_of_patient(
    connection: &Connection,
    patient: &PatientKey,
) -> Result<Vec<PatientStudy>, LedgerError> {
    let query = "SELECT study_uid, study_date FROM patients WHERE issuer = ? AND id = ? AND id <> ''";
    let mut statement = connection.prepare_cached(query)?;
    let studies = statement.query_map([&patient.issuer, &patient.id], |row| {
        Ok(PatientStudy { study_uid: row.get(0)?, study_date: row.get(1)? })
    })?;
    Ok(studies.collect::<Result<_, _>>()?)
}

impl Reader {
    /// The studies of a patient whose visits are told of together, by UID, under any of his ids; none without an id.
    pub fn studies_of(&self, patient: &PatientKey) -> Result<Vec<PatientStudy>, LedgerError> {
        let mut studies = BTreeMap::new();
        for id in self.merges()?.ids(patient) {
            let under_id = studies_of_patient(&self.connection, &id)?;
            studies.extend(under_id.into_iter().map(|study| (study.study_uid.clone(), study)));
        }
        Ok(studies.into_values().collect())
    }

    /// The issuers under which something of an id was received.
    pub fn issuers_of(&self, id: &str) -> Result<Vec<String>, LedgerError> {
        let mut statement = self.connection.prepare_cached("SELECT DISTINCT issuer FROM patients WHERE id = ?")?;
        let issuers = statement.query_map([id], |row| row.get(0))?;
        Ok(issuers.collect::<Result<_, _>>()?)
    }

    /// True where a study was received under several ids, or something of it was withdrawn for a reason of a kind.
    pub fn is_disputed(&self, study_uid: &str) -> Result<bool, LedgerError> {
        let query = "SELECT (SELECT count(*) FROM patients WHERE study_uid = ?1) > 1 OR EXISTS
                     (SELECT 1 FROM concerns c JOIN events e ON e.seq = c.seq WHERE c.key = ?1
                      AND name = 'InstanceWithdrawn' AND (json_extract(body, '$.InstanceWithdrawn.because') IS NOT NULL
                      OR json_extract(body, '$.Relayed.event.InstanceWithdrawn.because') IS NOT NULL))";
        Ok(self.connection.prepare_cached(query)?.query_row([study_uid], |row| row.get(0))?)
    }

    /// The revisions that were issued on a study, in order.
    pub fn reported_on(&self, study_uid: &str) -> Result<Vec<Reported>, LedgerError> {
        reported_on(&self.connection, study_uid)
    }

    /// The events that brought the instances of a series which still stand, ascending.
    pub fn standing_in(&self, series_uid: &str) -> Result<Vec<Seq>, LedgerError> {
        let query = "SELECT seq FROM held WHERE series_uid = ?1 UNION SELECT seq FROM elsewhere e
                     WHERE series_uid = ?1 AND NOT EXISTS (SELECT 1 FROM held h WHERE h.sop_uid = e.sop_uid) ORDER BY seq";
        let mut statement = self.connection.prepare_cached(query)?;
        let seqs = statement.query_map([series_uid], |row| unsigned(row, 0))?;
        Ok(seqs.collect::<Result<_, _>>()?)
    }
}
