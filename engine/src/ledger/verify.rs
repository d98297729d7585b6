//! Proving a ledger and its spool: the hash chain, the sequence, and every record's digest.
//!
//! What neither can see: a tail that is missing from both, cut exactly between two commits. The destinations'
//! receipts are the witness then.

use std::path::Path;

use rusqlite::OptionalExtension;
use sulcus_operators::{
    digest::Digest,
    rows::{Fault, Seq},
};

use super::{
    LedgerError,
    event::{Arrival, Event},
    read::Reader,
    relayed::{event_of, read_body},
    store::{chain, unsigned},
};
use crate::spool::read::SpoolReader;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events walked.
    pub events: u64,
    /// Spool records whose digests were checked.
    pub records: u64,
    /// Hash of the last event: kept elsewhere, it tells later that nothing before it was changed.
    pub tip: Digest,
    /// What is wrong; at most 100, then the walk stops.
    pub faults: Vec<Fault>,
}

const MOST_FAULTS: usize = 100;

impl Reader {
    /// Walks all events and all spool records that they name.
    pub fn verify(&self, spool: &Path) -> Result<Report, LedgerError> {
        let mut report = Report::default();
        let mut reader = SpoolReader::new(spool);
        let mut statement =
            self.connection.prepare("SELECT seq, epoch, at, name, body, hash FROM events ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let mut epoch = 0;
        while let Some(row) = rows.next()? {
            let (seq, this_epoch, at) = (unsigned(row, 0)?, unsigned(row, 1)?, row.get(2)?);
            let (name, body) = (row.get::<_, String>(3)?, row.get::<_, String>(4)?);
            let stored = row.get::<_, Vec<u8>>(5)?;
            let computed = chain(&report.tip, seq, this_epoch, at, &body);
            report.events += 1;
            if seq != report.events {
                report.fault(seq, format!("event {} is missing", report.events));
                break;
            }
            if this_epoch != seq && this_epoch != epoch {
                report.fault(seq, format!("epoch {this_epoch} does not follow {epoch}"));
            }
            if stored != computed.0 {
                report.fault(seq, "its hash does not follow from the one before it".to_owned());
            }
            match read_body(&body) {
                Ok((event, _)) if event.name() != name => report.fault(seq, format!("it is listed as {name}")),
                Ok((event, None)) => report.check_bytes(seq, &event, &mut reader),
                // Its bytes lie on the host that told it.
                Ok((_, Some(_))) => {}
                Err(error) => report.fault(seq, format!("it does not read: {error}")),
            }
            epoch = this_epoch;
            // The chain goes on from what is stored, so that one changed event is one fault.
            report.tip = stored.try_into().map(Digest).unwrap_or(computed);
            if report.faults.len() >= MOST_FAULTS {
                break;
            }
        }
        Ok(report)
    }

    /// The last events that brought bytes to this host, newest first: `(seq, event)`, at most `limit`.
    pub(super) fn last_with_bytes(&self, limit: u32) -> Result<Vec<(Seq, Event)>, LedgerError> {
        let query = "SELECT seq, body FROM events WHERE name IN ('InstanceReceived', 'InstanceQuarantined')
                     AND NOT EXISTS (SELECT 1 FROM relayed WHERE relayed.seq = events.seq)
                     AND seq > (SELECT ifnull(max(seq), 0) FROM events) - ? ORDER BY seq DESC";
        let mut statement = self.connection.prepare(query)?;
        let rows = statement.query_map([limit], |row| Ok((unsigned(row, 0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (seq, body) = row?;
            let event = event_of(seq, &body)?;
            Ok((seq, event))
        })
        .collect()
    }

    /// The furthest byte that held instances need of each segment.
    pub(super) fn needed_of_segments(&self) -> Result<Vec<(u32, u64)>, LedgerError> {
        let query = "SELECT segment, max(offset + length) FROM held GROUP BY segment";
        let mut statement = self.connection.prepare(query)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The database's own check of its pages; `None` where it finds nothing.
    pub fn page_fault(&self) -> Result<Option<String>, LedgerError> {
        let query = "PRAGMA quick_check(1)";
        let answer = self.connection.query_row(query, [], |row| row.get::<_, String>(0)).optional()?;
        Ok(answer.filter(|answer| answer != "ok"))
    }
}

impl Report {
    fn fault(&mut self, seq: Seq, reason: String) {
        let hint = "restore ledger and spool from a copy taken before the change; a ledger made anew from the spool lacks withdrawals and what was delivered";
        self.faults.push(Fault { stage: "ledger".into(), key: format!("event {seq}"), reason, hint: hint.into() });
    }

    /// Checks the record that an event names, where it names one of its own.
    pub(super) fn check_bytes(&mut self, seq: Seq, event: &Event, reader: &mut SpoolReader) {
        let (place, digest) = match event {
            Event::InstanceReceived { place, facts, arrival, .. } if !matches!(arrival, Arrival::Repeated { .. }) => {
                (place, Some(facts.data_set_digest))
            }
            Event::InstanceQuarantined { place, .. } => (place, None),
            _ => return,
        };
        self.records += 1;
        match reader.verify(place) {
            Ok(head) if digest.is_none_or(|digest| digest == head.digest) => {}
            Ok(_) => self.fault(seq, format!("the record at {place:?} holds another object")),
            Err(error) => self.fault(seq, error.to_string()),
        }
    }
}
