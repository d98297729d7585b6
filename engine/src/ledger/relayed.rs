//! Events that other hosts' ledgers told: each stands here once, in its ledger's order, as what it was there.
//!
//! A relayed event lies in `events` like an own one, its body wrapped with the host and the sequence number that it has
//! there. So it is found, opened and sealed with its study as if it were this host's. Three things are this ledger's
//! own: its sequence number, whether an instance is new (the same may have come here), and what a seal saw.
//!
//! Not told is what concerns one host alone: its rules, which all hosts of a cluster share, its reviews of seals, bytes
//! in quarantine, and the reports of archives.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use sulcus_operators::{digest::Digest, rows::Seq};

use super::{
    LedgerError,
    event::{Directive, Event, Timer},
    read::{Reader, as_column},
    store::unsigned,
};

/// An event as it travels from host to host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its sequence number in the ledger of the host that tells it.
    pub seq: Seq,
    /// What happened.
    pub event: Event,
    /// The instance's event that a timer or a directive speaks of: the host that received it, none for the one that
    /// tells, and the sequence number there.
    pub as_of: Option<(Option<String>, Seq)>,
}

/// Where a relayed event comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the host.
    pub host: String,
    /// Its sequence number there.
    pub seq: Seq,
}

/// What stands in `events.body` of a relayed event.
#[derive(Serialize, Deserialize)]
struct Wrapped<E> {
    #[serde(rename = "Relayed")]
    relayed: Relayed<E>,
}

#[derive(Serialize, Deserialize)]
struct Relayed<E> {
    #[serde(flatten)]
    origin: Origin,
    event: E,
}

/// How a wrapped body begins.
const BEGINS: &str = "{\"Relayed\":";

/// The body of an event, wrapped where another host told it.
pub(super) fn body_of(event: &Event, origin: Option<&Origin>) -> Result<String, LedgerError> {
    match origin {
        None => serde_json::to_string(event),
        Some(origin) => serde_json::to_string(&Wrapped { relayed: Relayed { origin: origin.clone(), event } }),
    }
    .map_err(LedgerError::Encode)
}

/// The event of a body, and where it comes from; nowhere where it is this host's own.
pub(super) fn read_body(body: &str) -> Result<(Event, Option<Origin>), serde_json::Error> {
    if body.starts_with(BEGINS) {
        let Wrapped { relayed } = serde_json::from_str::<Wrapped<Event>>(body)?;
        return Ok((relayed.event, Some(relayed.origin)));
    }
    Ok((serde_json::from_str(body)?, None))
}

/// The event of a body.
pub(super) fn event_of(seq: Seq, body: &str) -> Result<Event, LedgerError> {
    read_body(body).map(|(event, _)| event).map_err(|source| LedgerError::Event { seq, source })
}

/// True where other hosts are told of an event.
fn is_told(event: &Event) -> bool {
    !matches!(
        event,
        Event::RulesChanged(_)
            | Event::SealsReviewed { .. }
            | Event::InstanceQuarantined { .. }
            | Event::CommitmentReported { .. }
    )
}

/// The instance's event that an event speaks of, as it lies in the event.
pub(super) fn as_of(event: &mut Event) -> Option<&mut Seq> {
    match event {
        Event::TimerFired(Timer { as_of, .. })
        | Event::SeriesDirected { directive: Directive::Close { as_of }, .. } => Some(as_of),
        _ => None,
    }
}

/// What is known of another host's ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its identity: the hash of its first event; zero before anything came.
    pub identity: Digest,
    /// The last of its events that has been taken in or passed over.
    pub upto: Seq,
}

/// This ledger's number of an event of another host's; none where that has not come.
pub(super) fn here(connection: &Connection, host: &str, seq: Seq) -> Result<Option<Seq>, LedgerError> {
    let query = "SELECT seq FROM relayed WHERE host = ? AND host_seq = ?";
    let found = connection.prepare_cached(query)?.query_row(params![host, as_column(seq)], |row| unsigned(row, 0));
    Ok(found.optional()?)
}

impl Reader {
    /// This ledger's identity: the hash of its first event; none while it is empty.
    pub fn identity(&self) -> Result<Option<Digest>, LedgerError> {
        let query = "SELECT hash FROM events WHERE seq = 1";
        Ok(self.connection.query_row(query, [], |row| Ok(Digest(row.get(0)?))).optional()?)
    }

    /// What is known of another host's ledger.
    pub fn peer(&self, host: &str) -> Result<Peer, LedgerError> {
        let query = "SELECT identity, upto FROM peers WHERE host = ?";
        let read = |row: &rusqlite::Row<'_>| Ok(Peer { identity: Digest(row.get(0)?), upto: unsigned(row, 1)? });
        Ok(self.connection.prepare_cached(query)?.query_row([host], read).optional()?.unwrap_or_default())
    }

    /// What other hosts are told of the events behind `seq`, of about `limit` that are looked at, and the last of those.
    pub fn told_after(&self, seq: Seq, limit: usize) -> Result<(Vec<Told>, Seq), LedgerError> {
        let entries = self.entries_after(seq, limit)?;
        let upto = entries.last().map_or(seq, |last| last.seq);
        let mut told = Vec::with_capacity(entries.len());
        for entry in entries.into_iter().filter(|entry| entry.host.is_none() && is_told(&entry.event)) {
            let (seq, mut event) = (entry.seq, entry.event);
            let named = as_of(&mut event).map(|as_of| *as_of);
            let as_of = named.map(|seq| self.origin(seq)).transpose()?.flatten();
            told.push(Told { seq, event, as_of });
        }
        Ok((told, upto))
    }

    /// Where an event was first recorded; nowhere where there is none of this number.
    fn origin(&self, seq: Seq) -> Result<Option<(Option<String>, Seq)>, LedgerError> {
        let query = "SELECT body FROM events WHERE seq = ?";
        let mut statement = self.connection.prepare_cached(query)?;
        let body = statement.query_row([as_column(seq)], |row| row.get::<_, String>(0)).optional()?;
        let Some(body) = body else { return Ok(None) };
        let (_, origin) = read_body(&body).map_err(|source| LedgerError::Event { seq, source })?;
        Ok(Some(origin.map_or((None, seq), |origin| (Some(origin.host), origin.seq))))
    }

    /// Another host that a study came to, where nothing of it is held here: what is said of it is said there.
    pub fn elsewhere(&self, study_uid: &str) -> Result<Option<String>, LedgerError> {
        let query = "SELECT host FROM holders WHERE study_uid = ?1
                     AND NOT EXISTS (SELECT 1 FROM held WHERE study_uid = ?1) ORDER BY host LIMIT 1";
        Ok(self.connection.prepare_cached(query)?.query_row([study_uid], |row| row.get(0)).optional()?)
    }
}
