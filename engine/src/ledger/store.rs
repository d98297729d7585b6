//! Writing the ledger: one transaction is one batch of events, one epoch.
//!
//! Each event's hash is the BLAKE3 of the hash before it, its sequence number, epoch, time and JSON body, so that a
//! changed, removed or inserted event breaks the chain from there on.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use rusqlite::{OptionalExtension, Row, Transaction, params};
use sulcus_operators::{
    digest::Digest,
    rows::{InstanceFacts, Millis, Seq},
};

use super::{
    LedgerError,
    commitments::transaction_uid,
    event::{Arrival, Event, Scope, SpoolPlace},
    merges::MERGES,
    relayed::{Origin, Peer, Told, as_of, body_of, here},
    schema,
    studies::{Noted, note},
};
use crate::spool::{
    Position,
    record::{Label, Standing},
};

/// The writing end of the ledger.
#[derive(Debug)]
pub struct Ledger {
    connection: rusqlite::Connection,
    tip: Tip,
}

/// The last event: what the next one follows.
#[derive(Clone, Copy, Debug, Default)]
struct Tip {
    seq: Seq,
    at: Millis,
    hash: Digest,
}

/// What stands under a SOP Instance UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The event that brought it.
    pub seq: Seq,
    /// Digest of its data set.
    pub digest: Digest,
    /// Where its bytes lie.
    pub place: SpoolPlace,
}

/// Reads `held` columns `seq, digest, segment, offset, length`.
pub(super) fn held_row(row: &Row<'_>) -> rusqlite::Result<Held> {
    let place = SpoolPlace { segment: row.get(2)?, offset: unsigned(row, 3)?, length: unsigned(row, 4)? };
    Ok(Held { seq: unsigned(row, 0)?, digest: Digest(row.get(1)?), place })
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|value| value as u64)
}

/// The hash of an event, given the one before it.
pub(super) fn chain(previous: &Digest, seq: Seq, epoch: u64, at: Millis, body: &str) -> Digest {
    let (seq, epoch, at) = (seq.to_le_bytes(), epoch.to_le_bytes(), at.to_le_bytes());
    Digest::of_parts("sulcus ledger", [&previous.0[..], &seq, &epoch, &at, body.as_bytes()])
}

impl Ledger {
    /// Opens the ledger at this path for writing, or makes a new one.
    pub fn create_or_open(path: &Path) -> Result<Self, LedgerError> {
        let connection = schema::open_or_create(path)?;
        let tip = connection
            .query_row("SELECT seq, at, hash FROM events ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok(Tip { seq: unsigned(row, 0)?, at: row.get(1)?, hash: Digest(row.get(2)?) })
            })
            .optional()?;
        Ok(Ledger { connection, tip: tip.unwrap_or_default() })
    }

    /// The last event's sequence number; 0 where there is none.
    pub fn last_seq(&self) -> Seq {
        self.tip.seq
    }

    /// The spool's position behind the last record that has its event.
    pub fn position(&self) -> Result<Position, LedgerError> {
        Ok(self.connection.query_row("SELECT segment, offset FROM state", [], |row| {
            Ok(Position { segment: row.get(0)?, offset: unsigned(row, 1)? })
        })?)
    }

    /// Appends events as one epoch. `at` is raised to the last event's time where the clock went back.
    pub fn append(&mut self, events: &[Event], at: Millis) -> Result<Vec<Seq>, LedgerError> {
        let mut batch = self.begin(at)?;
        let seqs = events.iter().map(|event| batch.event(event)).collect::<Result<_, _>>()?;
        batch.commit()?;
        Ok(seqs)
    }

    /// Begins a batch; what is not committed never was.
    pub fn begin(&mut self, at: Millis) -> Result<Batch<'_>, LedgerError> {
        let tip = Tip { at: at.max(self.tip.at), ..self.tip };
        let transaction = self.connection.transaction()?;
        Ok(Batch { transaction, epoch: tip.seq + 1, tip, committed: &mut self.tip, noted: None })
    }
}

/// Events on their way into one epoch.
#[derive(Debug)]
pub struct Batch<'a> {
    transaction: Transaction<'a>,
    epoch: u64,
    tip: Tip,
    committed: &'a mut Tip,
    noted: Noted,
}

impl Batch<'_> {
    /// Adds the event of a spool record and moves the spool's position behind it. Whether an instance is new,
    /// repeated or in conflict is decided here, in the ledger's own order.
    pub fn record(&mut self, label: &Label, place: SpoolPlace, end: Position) -> Result<Seq, LedgerError> {
        let seq = match label {
            Label::Received { source, facts, standing } => self.received(source, facts, *standing, place)?,
            Label::Quarantined { source, sop_instance_uid, reason, .. } => self.event(&Event::InstanceQuarantined {
                source: source.clone(),
                place,
                sop_instance_uid: sop_instance_uid.clone(),
                reason: reason.clone(),
            })?,
        };
        let mut update = self.transaction.prepare_cached("UPDATE state SET segment = ?, offset = ?")?;
        update.execute(params![end.segment, end.offset as i64])?;
        Ok(seq)
    }

    fn received(
        &mut self,
        source: &str,
        facts: &Arc<InstanceFacts>,
        standing: Standing,
        place: SpoolPlace,
    ) -> Result<Seq, LedgerError> {
        let uid = &facts.sop_instance_uid;
        let mut held = self.held(uid)?;
        if let (Standing::Replaces, Some(_)) = (standing, held) {
            let reason = "the stored bytes no longer verify; the same object came again".to_owned();
            self.event(&Event::InstanceWithdrawn { scope: Scope::Instance(uid.clone()), reason, because: None })?;
            held = None;
        }
        let stands = match held {
            Some(held) => Some((held.seq, held.digest)),
            None => self.elsewhere(uid)?,
        };
        let arrival = arrival(stands, facts);
        let is_held = held.is_none() && !matches!(arrival, Arrival::Conflict { .. });
        let event = Event::InstanceReceived { source: source.into(), place, facts: Arc::clone(facts), arrival };
        let seq = self.event(&event)?;
        if is_held {
            let mut insert = self.transaction.prepare_cached("INSERT INTO held VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
            let digest = facts.data_set_digest.0;
            let (offset, length) = (place.offset as i64, place.length as i64);
            let row =
                params![uid, facts.series_uid, facts.study_uid, seq as i64, digest, place.segment, offset, length];
            insert.execute(row)?;
        }
        Ok(seq)
    }

    fn held(&self, sop_uid: &str) -> Result<Option<Held>, LedgerError> {
        let query = "SELECT seq, digest, segment, offset, length FROM held WHERE sop_uid = ?";
        Ok(self.transaction.prepare_cached(query)?.query_row([sop_uid], held_row).optional()?)
    }

    /// The instance that stands on another host under a UID: the event that told of it, and its digest.
    fn elsewhere(&self, sop_uid: &str) -> Result<Option<(Seq, Digest)>, LedgerError> {
        let query = "SELECT seq, digest FROM elsewhere WHERE sop_uid = ?";
        let mut statement = self.transaction.prepare_cached(query)?;
        Ok(statement.query_row([sop_uid], |row| Ok((unsigned(row, 0)?, Digest(row.get(1)?)))).optional()?)
    }

    /// True where nothing of a study came to this host, or to any but this other one.
    fn is_alone_at(&self, host: &str, study_uid: &str) -> Result<bool, LedgerError> {
        let query = "SELECT NOT EXISTS (SELECT 1 FROM holders WHERE study_uid = ?1 AND host <> ?2)
                     AND NOT EXISTS (SELECT 1 FROM held WHERE study_uid = ?1)";
        Ok(self.transaction.prepare_cached(query)?.query_row([study_uid, host], |row| row.get(0))?)
    }

    /// Adds what another host told, unless it is here already. `host` is its name, `own` this one's.
    pub fn relayed(&mut self, host: &str, own: &str, told: &Told) -> Result<(), LedgerError> {
        let origin = Origin { host: host.to_owned(), seq: told.seq };
        if here(&self.transaction, host, told.seq)?.is_some() {
            return Ok(());
        }
        let mut event = told.event.clone();
        if let Some(named) = as_of(&mut event) {
            *named = match &told.as_of {
                Some((Some(of), seq)) if of == own => *seq,
                Some((of, seq)) => here(&self.transaction, of.as_deref().unwrap_or(host), *seq)?.unwrap_or(0),
                None => 0,
            };
        }
        match &mut event {
            // It looks after the study, and knows best whether it is at rest; but not what came here of it.
            Event::StudySealed { as_of, study_uid, .. } => {
                *as_of = if self.is_alone_at(host, study_uid)? { self.tip.seq } else { 0 };
            }
            Event::InstanceReceived { facts, arrival: judged, .. } => {
                let held = self.held(&facts.sop_instance_uid)?.map(|held| (held.seq, held.digest));
                let stands = if held.is_some() { held } else { self.elsewhere(&facts.sop_instance_uid)? };
                *judged = arrival(stands, facts);
            }
            _ => {}
        }
        let seq = self.enter(&event, Some(&origin))?;
        let mut relayed = self.transaction.prepare_cached("INSERT INTO relayed VALUES (?, ?, ?)")?;
        relayed.execute(params![host, told.seq as i64, seq as i64])?;
        let Event::InstanceReceived { facts, arrival, .. } = &event else { return Ok(()) };
        let mut holder = self.transaction.prepare_cached("INSERT OR IGNORE INTO holders VALUES (?, ?)")?;
        holder.execute([&facts.study_uid, host])?;
        if *arrival == Arrival::New {
            let mut insert = self.transaction.prepare_cached("INSERT INTO elsewhere VALUES (?, ?, ?, ?, ?, ?)")?;
            let (uid, digest) = (&facts.sop_instance_uid, facts.data_set_digest.0);
            insert.execute(params![uid, facts.series_uid, facts.study_uid, seq as i64, digest, host])?;
        }
        Ok(())
    }

    /// Notes how far another host's ledger was taken in.
    pub fn told_upto(&mut self, host: &str, now: &Peer) -> Result<(), LedgerError> {
        let mut update = self.transaction.prepare_cached("INSERT OR REPLACE INTO peers VALUES (?, ?, ?)")?;
        update.execute(params![host, now.identity.0, now.upto as i64])?;
        Ok(())
    }

    /// Adds one event. An `InstanceReceived` belongs to a spool record: see [`Batch::record`].
    pub fn event(&mut self, event: &Event) -> Result<Seq, LedgerError> {
        self.enter(event, None)
    }

    fn enter(&mut self, event: &Event, origin: Option<&Origin>) -> Result<Seq, LedgerError> {
        let body = body_of(event, origin)?;
        let seq = self.tip.seq + 1;
        let hash = chain(&self.tip.hash, seq, self.epoch, self.tip.at, &body);
        let mut insert = self.transaction.prepare_cached("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)")?;
        insert.execute(params![seq as i64, self.epoch as i64, self.tip.at, event.name(), body, hash.0])?;
        let mut concern = self.transaction.prepare_cached("INSERT INTO concerns VALUES (?, ?)")?;
        for key in concerns(event) {
            concern.execute(params![key, seq as i64])?;
        }
        note(&self.transaction, seq, event, &mut self.noted)?;
        if let Event::InstanceWithdrawn { scope, .. } = event {
            let (deletes, uid) = match scope {
                Scope::Instance(uid) => {
                    (["DELETE FROM held WHERE sop_uid = ?", "DELETE FROM elsewhere WHERE sop_uid = ?"], uid)
                }
                Scope::Series(uid) => {
                    (["DELETE FROM held WHERE series_uid = ?", "DELETE FROM elsewhere WHERE series_uid = ?"], uid)
                }
                Scope::Study(uid) => {
                    (["DELETE FROM held WHERE study_uid = ?", "DELETE FROM elsewhere WHERE study_uid = ?"], uid)
                }
            };
            for delete in deletes {
                self.transaction.prepare_cached(delete)?.execute([uid])?;
            }
        }
        self.tip.seq = seq;
        self.tip.hash = hash;
        Ok(seq)
    }

    /// Makes the batch durable.
    pub fn commit(self) -> Result<(), LedgerError> {
        self.transaction.commit()?;
        *self.committed = self.tip;
        Ok(())
    }
}

/// What becomes of an instance, given the event and the digest of what stands under its UID.
fn arrival(stands: Option<(Seq, Digest)>, facts: &InstanceFacts) -> Arrival {
    match stands {
        None => Arrival::New,
        Some((first, digest)) if digest == facts.data_set_digest => Arrival::Repeated { first },
        Some((first, _)) => Arrival::Conflict { first },
    }
}

/// The UIDs and digests by which an event can be looked up.
fn concerns(event: &Event) -> BTreeSet<String> {
    let keys = match event {
        Event::InstanceReceived { facts, .. } => {
            vec![facts.sop_instance_uid.clone(), facts.series_uid.clone(), facts.study_uid.clone()]
        }
        Event::InstanceQuarantined { sop_instance_uid, .. } => vec![sop_instance_uid.clone()],
        Event::InstanceWithdrawn { scope: Scope::Instance(uid) | Scope::Series(uid) | Scope::Study(uid), .. } => {
            vec![uid.clone()]
        }
        Event::AssociationReleased { series_uids, .. } => series_uids.clone(),
        Event::TimerFired(timer) => vec![timer.series_uid.clone()],
        Event::RulesChanged(_) | Event::SealsReviewed { .. } => Vec::new(),
        Event::RunStarted { run_key, .. } | Event::RunFailed { run_key, .. } | Event::RunCancelled { run_key, .. } => {
            vec![run_key.to_string()]
        }
        Event::RunFinished(outcome) => vec![outcome.run_key.to_string()],
        Event::StudySealed { study_uid, .. } | Event::StudyReopened { study_uid } => vec![study_uid.clone()],
        Event::RevisionIssued { key, .. } | Event::EncodeFailed { key, .. } => vec![key.study_uid.clone()],
        Event::ObjectEncoded { object, key, uid, .. } => {
            vec![object.to_string(), key.study_uid.clone(), uid.clone()]
        }
        Event::DeliveryStarted { object, destination, attempt } => {
            vec![object.to_string(), transaction_uid(object, destination, *attempt)]
        }
        Event::CommitmentReported { transaction_uid, .. } => vec![transaction_uid.clone()],
        Event::DeliveryFailed { object, .. }
        | Event::DeliverySettled { object, .. }
        | Event::ResendAsked { object, .. } => vec![object.to_string()],
        Event::InstancesListed { study_uid, .. } => vec![study_uid.clone()],
        Event::StepReported { study_uid, step_uid, .. } => vec![study_uid.clone(), step_uid.clone()],
        Event::SeriesCounted { study_uid, series_uid, .. } => vec![study_uid.clone(), series_uid.clone()],
        Event::PatientsMerged { .. } => vec![MERGES.to_owned()],
        Event::SeriesDirected { study_uid, series_uid, .. } => vec![study_uid.clone(), series_uid.clone()],
        Event::VerdictGiven { study_uid, tracking_uid, .. } => vec![study_uid.clone(), tracking_uid.clone()],
    };
    keys.into_iter().filter(|key| !key.is_empty()).collect()
}
