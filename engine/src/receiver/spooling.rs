//! The spool thread: takes what arrived, tells new from repeated, makes it durable in batches, answers.

use std::{collections::HashSet, path::Path, path::PathBuf, sync::Arc};

use crossbeam::channel::{Receiver, Sender};
use sulcus_connectors::inbox::Stored;
use sulcus_operators::digest::Digest;

use super::{
    Limits,
    committing::{Committed, Entering, Job},
    ledger_path, spool_path,
};
use crate::{
    ledger::{LedgerError, read::Reader},
    spool::{
        Record, Spool,
        read::{ReadError, SpoolReader},
        record::{Label, Standing},
    },
};

/// Most objects that one sync covers.
const MOST: usize = 256;

/// One object on its way from an association thread.
pub(super) struct Arriving {
    pub label: Label,
    pub data_set: Vec<u8>,
    pub digest: Digest,
    pub reply: Sender<Stored>,
}

impl Arriving {
    fn sop_uid(&self) -> Option<&str> {
        match &self.label {
            Label::Received { facts, .. } => Some(&facts.sop_instance_uid),
            Label::Quarantined { .. } => None,
        }
    }
}

/// The spool thread's state.
pub(super) struct Desk {
    spool: Spool,
    stored: SpoolReader,
    ledger: Reader,
    folder: PathBuf,
    limits: Limits,
    jobs: Sender<Job>,
    committed: Arc<Committed>,
}

impl Desk {
    pub fn new(
        spool: Spool,
        folder: &Path,
        limits: Limits,
        jobs: Sender<Job>,
        committed: Arc<Committed>,
    ) -> Result<Self, LedgerError> {
        let ledger = Reader::open(&ledger_path(folder))?;
        let stored = SpoolReader::new(&spool_path(folder));
        Ok(Desk { spool, stored, ledger, folder: folder.to_owned(), limits, jobs, committed })
    }

    /// Works until every sender is gone.
    pub fn run(mut self, arrivals: &Receiver<Arriving>) {
        let mut next = None;
        while let Some(first) = next.take().or_else(|| arrivals.recv().ok()) {
            let mut bytes = first.data_set.len();
            let mut uids: HashSet<String> = first.sop_uid().map(str::to_owned).into_iter().collect();
            let mut batch = vec![first];
            while batch.len() < MOST && bytes < self.limits.batch_bytes {
                let Ok(arriving) = arrivals.try_recv() else { break };
                // Two objects under one UID never share a batch: the second is judged by where the first lies.
                if arriving.sop_uid().is_some_and(|uid| !uids.insert(uid.to_owned())) {
                    next = Some(arriving);
                    break;
                }
                bytes += arriving.data_set.len();
                batch.push(arriving);
            }
            self.keep(batch);
        }
    }

    fn keep(&mut self, batch: Vec<Arriving>) {
        if let Some(reason) = self.exhausted() {
            for arriving in batch {
                let _ = arriving.reply.send(Stored::OutOfResources { reason: reason.clone() });
            }
            return;
        }
        let mut judged = Vec::with_capacity(batch.len());
        for mut arriving in batch {
            match self.judge(&mut arriving) {
                Ok(answer) => judged.push((arriving, answer)),
                Err(error) => {
                    let _ = arriving.reply.send(Stored::Failed { reason: error.to_string() });
                }
            }
        }
        let records: Vec<Record<'_>> = judged
            .iter()
            .map(|(arriving, _)| Record {
                label: &arriving.label,
                data_set: &arriving.data_set,
                digest: arriving.digest,
            })
            .collect();
        match self.spool.append(&records) {
            Ok(places) => {
                let mut answers = Vec::with_capacity(judged.len());
                let mut entries = Vec::with_capacity(judged.len());
                for ((arriving, answer), (place, end)) in judged.into_iter().zip(places) {
                    let place = match &arriving.label {
                        Label::Received { standing: Standing::Repeats(first), .. } => *first,
                        _ => place,
                    };
                    answers.push((arriving.reply, answer));
                    entries.push(Entering::Record { label: arriving.label, place, end });
                }
                // Into the ledger's queue before the answer: what an association says next comes behind its objects.
                self.committed.expect(&entries);
                if self.jobs.send(Job::records(entries)).is_err() {
                    tracing::error!("the ledger thread has ended; what the spool holds is ingested at the next start");
                }
                for (reply, answer) in answers {
                    let _ = reply.send(answer);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the spool could not be written");
                let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
                let reason = format!("the spool could not be written: {error}");
                for (arriving, _) in judged {
                    let reason = reason.clone();
                    let answer = if full { Stored::OutOfResources { reason } } else { Stored::Failed { reason } };
                    let _ = arriving.reply.send(answer);
                }
            }
        }
    }

    /// Why nothing can be taken now, if so.
    fn exhausted(&self) -> Option<String> {
        if let Some(reason) = self.committed.trouble() {
            return Some(reason);
        }
        let free = free_bytes(&self.folder)?;
        let needed = self.limits.minimum_free;
        (free < needed).then(|| format!("the data folder has {free} bytes free, {needed} are kept in reserve"))
    }

    /// Tells how an object stands to what is held under its UID, and what its sender is told.
    fn judge(&mut self, arriving: &mut Arriving) -> Result<Stored, LedgerError> {
        let (facts, standing) = match &mut arriving.label {
            Label::Quarantined { reason, .. } => return Ok(Stored::Quarantined { reason: reason.clone() }),
            Label::Received { facts, standing, .. } => (facts, standing),
        };
        let series_uid = facts.series_uid.clone();
        let held = match self.committed.expected(&facts.sop_instance_uid) {
            Some(expected) => Some(expected),
            None => self.ledger.held(&facts.sop_instance_uid)?.map(|held| (held.digest, held.place)),
        };
        match held {
            None => Ok(Stored::Kept { series_uid }),
            Some((digest, _)) if digest != arriving.digest => Ok(Stored::Conflict),
            Some((_, place)) => match self.stored.verify(&place) {
                Ok(_) => {
                    *standing = Standing::Repeats(place);
                    arriving.data_set = Vec::new();
                    arriving.digest = Digest::of(&[]);
                    Ok(Stored::Repeated { series_uid })
                }
                Err(ReadError::Damaged { .. }) => {
                    *standing = Standing::Replaces;
                    Ok(Stored::Kept { series_uid })
                }
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// Free space for this user on the file system of a folder; `None` where it cannot be told.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    rustix::fs::statvfs(folder).ok().map(|stats| stats.f_bavail.saturating_mul(stats.f_frsize))
}
