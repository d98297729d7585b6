//! Which studies an event belongs to, and which studies are open work.
//!
//! A study is open from the first event that touches it until it is sealed; any event that touches it later opens it
//! again. So a start reads the open studies and the site's own events, and not the history.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use sulcus_operators::rows::{PatientKey, Seq};

use super::{
    LedgerError, cohort,
    event::{Arrival, Event, Scope, StepState},
    merges::merges,
    patients::{note_patient, studies_of_patient},
    relayed::event_of,
    store::unsigned,
};

/// Under this key of `concerns` lie the events that belong to no study: rules, and bytes in quarantine.
pub const SITE: &str = "*";

/// True where an event may change what follows from its studies. What repeats, the end of an association, a step under
/// way and a timer say nothing new of a study at rest. Runs belong to no study: they are found by their RunKey.
pub fn touches(event: &Event) -> bool {
    match event {
        Event::InstanceReceived { arrival, .. } => !matches!(arrival, Arrival::Repeated { .. }),
        Event::AssociationReleased { .. }
        | Event::TimerFired(_)
        | Event::CommitmentReported { .. }
        | Event::StepReported { state: StepState::InProgress, .. }
        | Event::StudySealed { .. }
        | Event::RulesChanged(_)
        | Event::SealsReviewed { .. } => false,
        _ => true,
    }
}

/// To whom an event belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Studies, by UID.
    pub studies: BTreeSet<String>,
    /// True where it belongs to the site: rules, bytes in quarantine, and what takes such bytes back.
    pub site: bool,
}

/// To whom an event belongs.
pub(super) fn owners(connection: &Connection, event: &Event) -> Result<Owners, LedgerError> {
    let studies = studies_of(connection, event)?;
    let site = match event {
        Event::RulesChanged(_)
        | Event::SealsReviewed { .. }
        | Event::InstanceQuarantined { .. }
        | Event::PatientsMerged { .. } => true,
        Event::InstanceWithdrawn { scope: Scope::Instance(uid), .. } => {
            let query = "SELECT EXISTS (SELECT 1 FROM concerns c JOIN events e ON e.seq = c.seq
                         WHERE c.key = ? AND name = 'InstanceQuarantined')";
            studies.is_empty() || connection.prepare_cached(query)?.query_row([uid], |row| row.get(0))?
        }
        Event::InstanceWithdrawn { .. } => studies.is_empty(),
        _ => false,
    };
    Ok(Owners { studies, site })
}

/// The studies that an event belongs to, in order.
fn studies_of(connection: &Connection, event: &Event) -> Result<BTreeSet<String>, LedgerError> {
    let one = |uid: &String| Ok(BTreeSet::from([uid.clone()]));
    match event {
        Event::InstanceReceived { facts, .. } => {
            let mut studies = of_series(connection, &facts.series_uid)?;
            studies.insert(facts.study_uid.clone());
            Ok(studies)
        }
        Event::InstanceWithdrawn { scope: Scope::Study(uid), .. } => one(uid),
        Event::InstanceWithdrawn { scope: Scope::Series(uid), .. } => of_series(connection, uid),
        Event::InstanceWithdrawn { scope: Scope::Instance(uid), .. } => brought(connection, uid, |event| match event {
            Event::InstanceReceived { facts, .. } if facts.sop_instance_uid == *uid => Some(facts.study_uid.clone()),
            _ => None,
        }),
        Event::AssociationReleased { series_uids, .. } => {
            let mut studies = BTreeSet::new();
            for uid in series_uids {
                studies.append(&mut of_series(connection, uid)?);
            }
            Ok(studies)
        }
        Event::TimerFired(timer) => of_series(connection, &timer.series_uid),
        Event::RevisionIssued { key, .. } | Event::ObjectEncoded { key, .. } | Event::EncodeFailed { key, .. } => {
            one(&key.study_uid)
        }
        Event::DeliveryStarted { object, .. }
        | Event::DeliveryFailed { object, .. }
        | Event::DeliverySettled { object, .. }
        | Event::ResendAsked { object, .. } => brought(connection, &object.to_string(), |event| match event {
            Event::ObjectEncoded { key, .. } => Some(key.study_uid),
            _ => None,
        }),
        Event::StudySealed { study_uid, .. }
        | Event::StudyReopened { study_uid }
        | Event::VerdictGiven { study_uid, .. }
        | Event::InstancesListed { study_uid, .. }
        | Event::SeriesCounted { study_uid, .. }
        | Event::SeriesDirected { study_uid, .. } => one(study_uid),
        // What a scanner says before anything came opens no study: it is read once something does.
        Event::StepReported { study_uid, .. } => {
            let query = "SELECT EXISTS (SELECT 1 FROM concerns c JOIN events e ON e.seq = c.seq
                         WHERE c.key = ? AND name = 'InstanceReceived')";
            let is_known = connection.prepare_cached(query)?.query_row([study_uid], |row| row.get(0))?;
            if is_known { one(study_uid) } else { Ok(BTreeSet::new()) }
        }
        Event::PatientsMerged { from, into, .. } => of_persons(connection, from, into.as_ref()),
        Event::InstanceQuarantined { .. }
        | Event::SealsReviewed { .. }
        | Event::RulesChanged(_)
        | Event::CommitmentReported { .. }
        | Event::RunStarted { .. }
        | Event::RunFinished(_)
        | Event::RunFailed { .. }
        | Event::RunCancelled { .. } => Ok(BTreeSet::new()),
    }
}

/// The studies of whoever is merged, and of whom he is merged with or was until now.
fn of_persons(
    connection: &Connection,
    from: &PatientKey,
    into: Option<&PatientKey>,
) -> Result<BTreeSet<String>, LedgerError> {
    let merges = merges(connection)?;
    let before = merges.undone().iter().filter(|undone| undone.from == *from).map(|undone| &undone.into);
    let mut studies = BTreeSet::new();
    for patient in before.chain([from]).chain(into).flat_map(|patient| merges.ids(patient)) {
        studies.extend(studies_of_patient(connection, &patient)?.into_iter().map(|study| study.study_uid));
    }
    Ok(studies)
}

/// The studies that a series was received in: one, unless two scans share its UID.
fn of_series(connection: &Connection, series_uid: &str) -> Result<BTreeSet<String>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT study_uid FROM series WHERE series_uid = ?")?;
    let studies = statement.query_map([series_uid], |row| row.get(0))?;
    Ok(studies.collect::<Result<_, _>>()?)
}

/// What `study` makes of the events that concern `key`.
fn brought(
    connection: &Connection,
    key: &str,
    study: impl Fn(Event) -> Option<String>,
) -> Result<BTreeSet<String>, LedgerError> {
    let query = "SELECT e.seq, body FROM concerns c JOIN events e ON e.seq = c.seq WHERE c.key = ?
                 AND name IN ('InstanceReceived', 'ObjectEncoded')";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query([key])?;
    let mut studies = BTreeSet::new();
    while let Some(row) = rows.next()? {
        studies.extend(study(event_of(unsigned(row, 0)?, &row.get::<_, String>(1)?)?));
    }
    Ok(studies)
}

/// The series that was noted last, its study and its patient: its next slice changes nothing here.
pub(super) type Noted = Option<(String, String, PatientKey)>;

/// Notes what an event says of its studies. `noted` is of the same transaction.
pub(super) fn note(connection: &Connection, seq: Seq, event: &Event, noted: &mut Noted) -> Result<(), LedgerError> {
    if let Event::InstanceReceived { facts, .. } = event {
        let is_noted = |(series, study, patient): &(String, String, PatientKey)| {
            *series == facts.series_uid && *study == facts.study_uid && *patient == facts.patient
        };
        if noted.as_ref().is_some_and(is_noted) && touches(event) {
            return Ok(());
        }
        let mut series = connection.prepare_cached("INSERT OR IGNORE INTO series VALUES (?, ?)")?;
        series.execute([&facts.series_uid, &facts.study_uid])?;
        note_patient(connection, facts)?;
    }
    cohort::note(connection, seq, event)?;
    let Owners { studies, site } = owners(connection, event)?;
    let mut concern = connection.prepare_cached("INSERT OR IGNORE INTO concerns VALUES (?, ?)")?;
    for study_uid in &studies {
        concern.execute(params![study_uid, seq as i64])?;
        match event {
            Event::StudySealed { as_of, .. } => seal(connection, study_uid, seq, *as_of)?,
            event if touches(event) => open(connection, study_uid)?,
            _ => {}
        }
    }
    if site {
        concern.execute(params![SITE, seq as i64])?;
    }
    match event {
        // A UID that two studies share is looked up each time.
        Event::InstanceReceived { facts, .. } if touches(event) && studies.len() == 1 => {
            *noted = Some((facts.series_uid.clone(), facts.study_uid.clone(), facts.patient.clone()));
        }
        Event::StudySealed { .. } => *noted = None,
        _ => {}
    }
    Ok(())
}

fn open(connection: &Connection, study_uid: &str) -> Result<(), LedgerError> {
    connection.prepare_cached("INSERT OR IGNORE INTO open_studies VALUES (?)")?.execute([study_uid])?;
    connection.prepare_cached("DELETE FROM sealed WHERE study_uid = ?")?.execute([study_uid])?;
    Ok(())
}

/// A seal holds unless something touched the study after what it saw.
fn seal(connection: &Connection, study_uid: &str, seq: Seq, as_of: Seq) -> Result<(), LedgerError> {
    let query = "SELECT e.seq, body FROM concerns c JOIN events e ON e.seq = c.seq WHERE c.key = ? AND c.seq > ?";
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(params![study_uid, as_of as i64])?;
    while let Some(row) = rows.next()? {
        if touches(&event_of(unsigned(row, 0)?, &row.get::<_, String>(1)?)?) {
            return Ok(());
        }
    }
    connection.prepare_cached("DELETE FROM open_studies WHERE study_uid = ?")?.execute([study_uid])?;
    let mut sealed = connection.prepare_cached("INSERT OR REPLACE INTO sealed VALUES (?, ?)")?;
    sealed.execute(params![study_uid, seq as i64])?;
    Ok(())
}

/// Notes all events of a ledger that knew no studies yet.
pub(super) fn note_all(connection: &Connection) -> Result<(), LedgerError> {
    let mut statement = connection.prepare("SELECT seq, body FROM events ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut noted = None;
    while let Some(row) = rows.next()? {
        let seq = unsigned(row, 0)?;
        note(connection, seq, &event_of(seq, &row.get::<_, String>(1)?)?, &mut noted)?;
    }
    Ok(())
}
