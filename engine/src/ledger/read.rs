//! Reading the ledger, beside the receiver that writes it: for the engine, `status` and `ledger show`.
//!
//! A reader sees whole epochs only. Opening a ledger for reading needs write permission on its folder (SQLite keeps
//! its shared memory file there), but changes nothing.

use std::{path::Path, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, params};
use sulcus_operators::rows::{InstanceFacts, Seq};

use super::{
    LedgerError,
    event::{Entry, Event, SpoolPlace},
    relayed::read_body,
    schema,
    store::{Held, held_row, unsigned},
};

/// A reader of one ledger.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
}

/// An instance, and its place in the spool or the name of the host that has it.
pub type Anywhere = (InstanceFacts, Result<SpoolPlace, String>);

/// Columns of an entry as they lie in the database, its body not yet read.
pub(super) struct Stored {
    seq: Seq,
    epoch: u64,
    at: i64,
    body: String,
}

impl Stored {
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Stored { seq: unsigned(row, 0)?, epoch: unsigned(row, 1)?, at: row.get(2)?, body: row.get(3)? })
    }

    pub(super) fn read(self) -> Result<Entry, LedgerError> {
        let read = read_body(&self.body).map_err(|source| LedgerError::Event { seq: self.seq, source });
        let (event, origin) = read?;
        let host = origin.map(|origin| origin.host);
        Ok(Entry { seq: self.seq, epoch: self.epoch, at: self.at, host, event })
    }
}

impl Reader {
    /// Opens the ledger at this path for reading only.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Reader { connection: schema::open_read_only(path)? })
    }

    /// The last event's sequence number; 0 where there is none.
    pub fn last_seq(&self) -> Result<Seq, LedgerError> {
        let query = "SELECT ifnull(max(seq), 0) FROM events";
        Ok(self.connection.prepare_cached(query)?.query_row([], |row| unsigned(row, 0))?)
    }

    /// Entries behind `seq`, in order: `limit` of them, and then as many as complete the last one's epoch.
    pub fn entries_after(&self, seq: Seq, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let query = "SELECT seq, epoch, at, body FROM events WHERE seq > ? ORDER BY seq";
        let mut statement = self.connection.prepare_cached(query)?;
        let rows = statement.query_map([as_column(seq)], Stored::of)?;
        let mut entries: Vec<Entry> = Vec::new();
        for row in rows {
            let row = row?;
            if entries.len() >= limit && entries.last().is_none_or(|last| last.epoch != row.epoch) {
                break;
            }
            entries.push(row.read()?);
        }
        Ok(entries)
    }

    /// Entries that speak of this UID or digest (SOP instance, series, study, run, object), in order, at most `limit`.
    pub fn entries_about(&self, key: &str, limit: usize) -> Result<Vec<Entry>, LedgerError> {
        let query = "SELECT e.seq, epoch, at, body FROM concerns c JOIN events e ON e.seq = c.seq
                     WHERE c.key = ? ORDER BY c.seq LIMIT ?";
        let mut statement = self.connection.prepare_cached(query)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![key, limit], Stored::of)?;
        rows.map(|row| row?.read()).collect()
    }

    /// Facts and place of the instances that these events brought, in the order asked for. An event that is not
    /// there, or brought no instance, or one that lies on another host alone, is left out.
    pub fn instances(&self, members: &[Seq]) -> Result<Vec<(InstanceFacts, SpoolPlace)>, LedgerError> {
        let all = self.instances_anywhere(members)?.into_iter();
        Ok(all.filter_map(|(facts, lies)| Some((facts, lies.ok()?))).collect())
    }

    /// The same of all hosts: the place in the spool, or the name of the host that has it.
    pub fn instances_anywhere(&self, members: &[Seq]) -> Result<Vec<Anywhere>, LedgerError> {
        let query = "SELECT seq, epoch, at, body FROM events WHERE seq = ?";
        let mut statement = self.connection.prepare_cached(query)?;
        let mut found = Vec::with_capacity(members.len());
        for &seq in members {
            let Some(stored) = statement.query_row([as_column(seq)], Stored::of).optional()? else { continue };
            let entry = stored.read()?;
            if let Event::InstanceReceived { facts, place, .. } = entry.event {
                let facts = Arc::unwrap_or_clone(facts);
                let Some(host) = entry.host else {
                    found.push((facts, Ok(place)));
                    continue;
                };
                // What came to another host first lies here where the same came here as well.
                let held = self.held(&facts.sop_instance_uid)?;
                let same = held.filter(|held| held.digest == facts.data_set_digest);
                found.push((facts, same.map(|held| held.place).ok_or(host)));
            }
        }
        Ok(found)
    }

    /// What stands under a SOP Instance UID.
    pub fn held(&self, sop_uid: &str) -> Result<Option<Held>, LedgerError> {
        let query = "SELECT seq, digest, segment, offset, length FROM held WHERE sop_uid = ?";
        Ok(self.connection.prepare_cached(query)?.query_row([sop_uid], held_row).optional()?)
    }
}

/// Sequence numbers are SQLite integers; none exceeds `i64::MAX`.
pub(super) fn as_column(seq: Seq) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
