//! Bringing ledger and spool to agree at start-up, before anything is accepted.
//!
//! - A record without event is ingested again: its bytes were durable, the process ended before its commit.
//! - An event without bytes is a fault: no order of a crash leads there, only a disk that lied or was changed. The
//!   tail is checked by digest and every segment by its length; `sulcus ledger verify` checks everything.

use std::{fs, path::Path};

use sulcus_operators::rows::{Fault, Millis};

use super::{LedgerError, read::Reader, store::Ledger, verify::Report};
use crate::spool::{
    read::{Found, SpoolReader, scan},
    segment_path,
};

/// How many events at the ledger's end are checked against their bytes.
const TAIL: u32 = 256;
/// How many records are ingested again in one transaction.
const BATCH: usize = 256;

/// What reconciling did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Records that had no event and have one now.
    pub ingested: u64,
    /// Events whose bytes are missing or damaged.
    pub faults: Vec<Fault>,
}

/// Reconciles the ledger at `path` with the spool folder.
pub fn reconcile(ledger: &mut Ledger, path: &Path, spool: &Path, at: Millis) -> Result<Reconciled, LedgerError> {
    let mut done = Reconciled { faults: missing_bytes(path, spool)?, ..Reconciled::default() };
    let mut waiting = Vec::with_capacity(BATCH);
    scan(spool, ledger.position()?, |found| {
        waiting.push(found);
        if waiting.len() < BATCH {
            return Ok(());
        }
        done.ingested += ingest(ledger, &mut waiting, at)?;
        Ok::<(), LedgerError>(())
    })?;
    done.ingested += ingest(ledger, &mut waiting, at)?;
    Ok(done)
}

fn ingest(ledger: &mut Ledger, waiting: &mut Vec<Found>, at: Millis) -> Result<u64, LedgerError> {
    if waiting.is_empty() {
        return Ok(0);
    }
    let mut batch = ledger.begin(at)?;
    for found in waiting.iter() {
        batch.record(&found.label, found.place, found.end)?;
    }
    batch.commit()?;
    let count = waiting.len() as u64;
    waiting.clear();
    Ok(count)
}

fn missing_bytes(path: &Path, spool: &Path) -> Result<Vec<Fault>, LedgerError> {
    let reader = Reader::open(path)?;
    let mut report = Report::default();
    for (segment, needed) in reader.needed_of_segments()? {
        let length = fs::metadata(segment_path(spool, segment)).map_or(0, |metadata| metadata.len());
        if length < needed {
            report.faults.push(Fault {
                stage: "spool".into(),
                key: format!("segment {segment}"),
                reason: format!("it has {length} bytes, the ledger names {needed}"),
                hint: "restore the segment from a copy, or have the objects sent again".into(),
            });
        }
    }
    let mut spool = SpoolReader::new(spool);
    for (seq, event) in reader.last_with_bytes(TAIL)? {
        report.check_bytes(seq, &event, &mut spool);
    }
    Ok(report.faults)
}
