//! One row a report that was ever issued: what its newest revision adds to the counts over all patients. A row carries the
//! event that last changed it, so whoever follows the counts reads what changed after the last event that he has seen.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sulcus_operators::{results::derivatives::subject, rows::Seq};

use super::{
    LedgerError,
    event::{Event, RevisionKey, StudySummary},
    patients::reported_on,
    read::{Reader, as_column},
    relayed::event_of,
    store::unsigned,
};
use crate::cohort::told;

/// What one report adds to the counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Counted {
    /// The patient's pseudonym, as in BIDS derivatives.
    pub subject: String,
    /// 1 for the first visit that the report knows of, at most 12; none in what was sealed before reports were counted.
    pub visit: Option<u32>,
    /// Lesions, without those that readers rejected.
    pub lesions: u32,
    /// Their volume, nanolitres.
    pub volume_nl: u64,
    /// What it can be counted by, by DICOM keyword.
    pub keywords: BTreeMap<String, String>,
}

/// A report with what it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CohortRow {
    /// The event that last changed it.
    pub seq: Seq,
    /// The newest revision.
    pub key: RevisionKey,
    /// What it adds; none where the report is withdrawn.
    pub counted: Option<Counted>,
}

/// Notes what an event says of reports.
pub(super) fn note(connection: &Connection, seq: Seq, event: &Event) -> Result<(), LedgerError> {
    match event {
        // What was issued before reports were counted is counted at its seal.
        Event::RevisionIssued { run: Some(_), counted: None, .. } => Ok(()),
        Event::RevisionIssued { key, counted, .. } => put(connection, seq, key, counted.as_ref()),
        Event::StudySealed { summary, .. } => sealed(connection, seq, summary),
        _ => Ok(()),
    }
}

fn put(connection: &Connection, seq: Seq, key: &RevisionKey, counted: Option<&Counted>) -> Result<(), LedgerError> {
    let counted = counted.map(serde_json::to_string).transpose().map_err(LedgerError::Encode)?;
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO cohort VALUES (?, ?, ?, ?, ?)")?;
    insert.execute(params![key.study_uid, key.pipeline, key.revision, seq as i64, counted])?;
    Ok(())
}

/// Counts the standing reports of a study that nobody counted when they were issued; the newest seal counts.
fn sealed(connection: &Connection, seq: Seq, summary: &StudySummary) -> Result<(), LedgerError> {
    let known = "SELECT counted FROM cohort WHERE study_uid = ? AND pipeline = ? AND counted IS NOT NULL";
    for report in &summary.reports {
        let Some(series) = summary.series.iter().find(|series| Some(&series.series_uid) == report.series_uid.as_ref())
        else {
            continue;
        };
        let counted = Counted {
            subject: subject(&summary.patient.issuer, &summary.patient.id),
            visit: None,
            lesions: report.lesions,
            volume_nl: report.volume_nl,
            keywords: told(&series.keywords),
        };
        let mut known = connection.prepare_cached(known)?;
        let known: Option<String> =
            known.query_row([&summary.study_uid, &report.pipeline], |row| row.get(0)).optional()?;
        let known: Option<Counted> = known.and_then(|body| serde_json::from_str(&body).ok());
        if known.is_some_and(|known| known.visit.is_some() || known == counted) {
            continue;
        }
        let issued = reported_on(connection, &summary.study_uid)?;
        if let Some(newest) = issued.iter().rfind(|reported| reported.key.pipeline == report.pipeline) {
            put(connection, seq, &newest.key, Some(&counted))?;
        }
    }
    Ok(())
}

/// Counts what a ledger that counted nothing yet has sealed.
pub(super) fn note_all(connection: &Connection) -> Result<(), LedgerError> {
    let query = "SELECT seq, body FROM events WHERE name IN ('StudySealed', 'RevisionIssued') ORDER BY seq";
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, body) = (unsigned(row, 0)?, row.get::<_, String>(1)?);
        let event = event_of(seq, &body)?;
        note(connection, seq, &event)?;
    }
    Ok(())
}

impl Reader {
    /// The reports that changed after the event `seq`, in the order of their last change: some thousand at most, and of
    /// one event all or none. Nothing of the ledger is held open when they are handed over.
    pub fn cohort_after(&self, seq: Seq) -> Result<Vec<CohortRow>, LedgerError> {
        let query = "SELECT seq, study_uid, pipeline, revision, counted FROM cohort WHERE seq > ?1 AND seq <= coalesce(
                     (SELECT seq FROM cohort WHERE seq > ?1 ORDER BY seq LIMIT 1 OFFSET 999), ?2) ORDER BY seq";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut rows = statement.query([as_column(seq), i64::MAX])?;
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            let seq = unsigned(row, 0)?;
            let key = RevisionKey { study_uid: row.get(1)?, pipeline: row.get(2)?, revision: row.get(3)? };
            let counted: Option<String> = row.get(4)?;
            let counted = counted.map(|body| serde_json::from_str(&body)).transpose();
            let counted = counted.map_err(|source| LedgerError::Event { seq, source })?;
            page.push(CohortRow { seq, key, counted });
        }
        Ok(page)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sulcus_operators::{digest::Digest, rows::PatientKey};

    use super::*;
    use crate::ledger::{
        FILE,
        event::{ReportSummary, ReportedRun, SeriesSummary},
        store::Ledger,
    };

    fn counted(lesions: u32) -> Counted {
        let keywords = BTreeMap::from([("MagneticFieldStrength".to_owned(), "7".to_owned())]);
        let volume_nl = u64::from(lesions) * 1000;
        Counted { subject: subject("", "P1"), visit: Some(1), lesions, volume_nl, keywords }
    }

    fn issued(study: &str, revision: u32, stands: bool, counted: Option<Counted>) -> Event {
        let key = RevisionKey { study_uid: study.into(), pipeline: "lesions".into(), revision };
        let run =
            stands.then(|| ReportedRun { run_key: Digest::default(), series_uid: "1.5.1".into(), inputs: Vec::new() });
        Event::RevisionIssued { key, content: Digest::default(), at: 1, run, counted }
    }

    fn sealed(study: &str, lesions: u32) -> Event {
        let (model, taken, routes) = (Some(Digest::default()), Vec::new(), Vec::new());
        let Counted { keywords, volume_nl, .. } = counted(lesions);
        let series_uid = "1.5.1".to_owned();
        let report = ReportSummary {
            pipeline: "lesions".into(),
            series_uid: Some(series_uid.clone()),
            model,
            lesions,
            volume_nl,
            routes,
            named: true,
        };
        let series =
            SeriesSummary { series_uid, instances: 1, first_member: 1, received: 1, keywords: keywords.into(), taken };
        let patient = PatientKey { issuer: String::new(), id: "P1".into() };
        let (series, reports, study_uid) = (vec![series], vec![report], study.to_owned());
        let summary = StudySummary { study_uid: study_uid.clone(), patient, series, reports };
        Event::StudySealed { study_uid, as_of: 99, summary }
    }

    fn rows(reader: &Reader, after: Seq) -> Vec<(Seq, String, u32, Option<Counted>)> {
        let page = reader.cohort_after(after).unwrap().into_iter();
        page.map(|row| (row.seq, row.key.study_uid, row.key.revision, row.counted)).collect()
    }

    #[test]
    fn whoever_follows_sees_each_report_that_changed_once_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let mut ledger = Ledger::create_or_open(&file).unwrap();
        let first = [issued("1.1", 1, true, Some(counted(3))), issued("1.2", 1, true, Some(counted(5)))];
        ledger.append(&first, 1).unwrap();
        let reader = Reader::open(&file).unwrap();
        let (a, b) = (("1.1".to_owned(), counted(3)), ("1.2".to_owned(), counted(5)));
        assert_eq!(rows(&reader, 0), [(1, a.0.clone(), 1, Some(a.1)), (2, b.0.clone(), 1, Some(b.1.clone()))]);
        ledger.append(&[issued("1.1", 2, true, Some(counted(2))), issued("1.1", 3, false, None)], 2).unwrap();
        assert_eq!(rows(&reader, 2), [(4, a.0.clone(), 3, None)]);
        assert_eq!(rows(&reader, 0), [(2, b.0, 1, Some(b.1)), (4, a.0, 3, None)]);
        assert_eq!(rows(&reader, 4), []);
    }

    #[test]
    fn what_was_issued_before_reports_were_counted_is_counted_at_its_seal() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let mut ledger = Ledger::create_or_open(&file).unwrap();
        ledger.append(&[issued("1.1", 1, true, None), issued("1.1", 2, true, None)], 1).unwrap();
        let reader = Reader::open(&file).unwrap();
        assert_eq!(rows(&reader, 0), []);
        ledger.append(&[sealed("1.1", 4)], 2).unwrap();
        let expected = [(3, "1.1".to_owned(), 2, Some(Counted { visit: None, ..counted(4) }))];
        assert_eq!(rows(&reader, 0), expected);
        // A later seal says nothing new.
        ledger.append(&[sealed("1.1", 4)], 3).unwrap();
        assert_eq!(rows(&reader, 0), expected);
        // Before counts were recorded, a verdict made a revision; the seal after it counts.
        ledger.append(&[issued("1.1", 3, true, None), sealed("1.1", 3)], 4).unwrap();
        let expected = [(6, "1.1".to_owned(), 3, Some(Counted { visit: None, ..counted(3) }))];
        assert_eq!(rows(&reader, 0), expected);
        drop((reader, ledger));
        let database = rusqlite::Connection::open(&file).unwrap();
        database.execute_batch("DROP TABLE cohort; DROP INDEX patients_study; PRAGMA user_version = 3; DROP TABLE peers; DROP TABLE relayed; DROP TABLE elsewhere; DROP TABLE holders").unwrap();
        drop(database);
        drop(Ledger::create_or_open(&file).unwrap());
        assert_eq!(rows(&Reader::open(&file).unwrap(), 0), expected);
    }
}
