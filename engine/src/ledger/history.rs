//! What a reader asks of the history: all about one study or one run, and which studies are open.

use rusqlite::{OptionalExtension, params};
use sulcus_operators::{
    digest::Digest,
    rows::{PatientKey, Seq},
};

use super::{
    LedgerError,
    event::{Entry, Event, RevisionKey, Rules, StudySummary},
    patients::studies_of_patient,
    read::{Reader, Stored, as_column},
    relayed::{event_of, read_body},
    store::unsigned,
    studies::{Owners, SITE, owners},
};

/// Whoever can look back into the log. The ledger's reader does; tests look into a list.
pub trait History {
    /// To whom an event belongs.
    fn owners(&self, event: &Event) -> Result<Owners, LedgerError>;
    /// The entries before `before` that belong to a study, in order.
    fn about_study(&self, study_uid: &str, before: Seq) -> Result<Vec<Entry>, LedgerError>;
    /// The entries before `before` that speak of a run, in order.
    fn about_run(&self, run_key: &Digest, before: Seq) -> Result<Vec<Entry>, LedgerError>;
    /// The studies under one id whose visits are told of together.
    fn visits_of(&self, patient: &PatientKey) -> Result<Vec<String>, LedgerError>;
}

impl History for Reader {
    fn owners(&self, event: &Event) -> Result<Owners, LedgerError> {
        owners(&self.connection, event)
    }

    fn about_study(&self, study_uid: &str, before: Seq) -> Result<Vec<Entry>, LedgerError> {
        self.about(study_uid, before)
    }

    fn about_run(&self, run_key: &Digest, before: Seq) -> Result<Vec<Entry>, LedgerError> {
        self.about(&run_key.to_string(), before)
    }

    fn visits_of(&self, patient: &PatientKey) -> Result<Vec<String>, LedgerError> {
        let studies = studies_of_patient(&self.connection, patient)?;
        Ok(studies.into_iter().map(|study| study.study_uid).collect())
    }
}

/// What a start reads.
pub struct OpenAt {
    /// The last event that is covered.
    pub upto: Seq,
    /// Events that belong to no study, in order.
    pub site: Vec<Entry>,
    /// Studies that are not sealed.
    pub studies: Vec<String>,
}

impl Reader {
    fn about(&self, key: &str, before: Seq) -> Result<Vec<Entry>, LedgerError> {
        let query = "SELECT e.seq, epoch, at, body FROM concerns c JOIN events e ON e.seq = c.seq
                     WHERE c.key = ? AND c.seq < ? ORDER BY c.seq";
        let mut statement = self.connection.prepare_cached(query)?;
        let rows = statement.query_map(params![key, as_column(before)], Stored::of)?;
        rows.map(|row| row?.read()).collect()
    }

    /// The site's own events and the open studies, all as of one event.
    pub fn open_work(&self) -> Result<OpenAt, LedgerError> {
        // One transaction: what is committed meanwhile is not seen.
        let transaction = self.connection.unchecked_transaction()?;
        let upto = self.last_seq()?;
        let site = self.about(SITE, Seq::MAX)?;
        let mut statement = transaction.prepare("SELECT study_uid FROM open_studies")?;
        let studies = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(OpenAt { upto, site, studies })
    }

    /// Sealed studies in the order of their seals, behind the seal `seq`: each with its seal, at most `limit`; without
    /// what stands of those that another host sealed, which looks after them.
    pub fn sealed_after(&self, seq: Seq, limit: usize) -> Result<Vec<(Seq, Option<StudySummary>)>, LedgerError> {
        let query = "SELECT e.seq, body FROM sealed s JOIN events e ON e.seq = s.seq WHERE s.seq > ?
                     ORDER BY s.seq LIMIT ?";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query(params![as_column(seq), limit as i64])?;
        let mut sealed = Vec::new();
        while let Some(row) = rows.next()? {
            let (seq, body) = (unsigned(row, 0)?, row.get::<_, String>(1)?);
            let (event, origin) = read_body(&body).map_err(|source| LedgerError::Event { seq, source })?;
            if let Event::StudySealed { summary, .. } = event {
                sealed.push((seq, origin.is_none().then_some(summary)));
            }
        }
        Ok(sealed)
    }

    /// The revisions that were issued on these studies.
    pub fn revisions<'a>(&self, studies: impl Iterator<Item = &'a String>) -> Result<Vec<RevisionKey>, LedgerError> {
        let mut revisions = Vec::new();
        for study_uid in studies {
            revisions.extend(self.reported_on(study_uid)?.into_iter().map(|reported| reported.key));
        }
        Ok(revisions)
    }

    /// The rules in force, as last recorded.
    pub fn rules(&self) -> Result<Option<Rules>, LedgerError> {
        let query = "SELECT e.seq, body FROM concerns c JOIN events e ON e.seq = c.seq
                     WHERE c.key = ? AND name = 'RulesChanged' ORDER BY c.seq DESC LIMIT 1";
        let mut statement = self.connection.prepare_cached(query)?;
        let stored = statement.query_row([SITE], |row| Ok((unsigned(row, 0)?, row.get::<_, String>(1)?))).optional()?;
        let Some((seq, body)) = stored else { return Ok(None) };
        match event_of(seq, &body)? {
            Event::RulesChanged(rules) => Ok(Some(rules)),
            _ => Ok(None),
        }
    }

    /// How many studies are sealed.
    pub fn sealed_count(&self) -> Result<u64, LedgerError> {
        let query = "SELECT count(*) FROM sealed";
        Ok(self.connection.prepare_cached(query)?.query_row([], |row| unsigned(row, 0))?)
    }
}
