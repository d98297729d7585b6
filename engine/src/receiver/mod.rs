//! The receiver: the only writer of spool and ledger, and what connectors hand objects to.
//!
//! Three kinds of threads, joined by bounded channels:
//!
//! ```text
//! associations --(facts, digest)--> spool thread --(records)--> ledger thread --> SQLite
//!       ^                               |  one sync a batch          ^
//!       +---------- Success ------------+                            +-- events of the engine (socket)
//! ```
//!
//! **Why Success after one sync keeps "durable bytes, durable event, then Success".** A spool record is its own
//! event: its label states source and facts, its place in the file states the order. Once the spool is synced, both
//! bytes and event are durable. The SQLite row follows within milliseconds; should the process end before, the
//! record lies behind the position that the ledger knows, and [`crate::ledger::reconcile`] ingests it at the next
//! start, before anything else is accepted and before the socket opens. So no reader ever acts on a ledger that
//! lacks an acknowledged instance of an earlier life.
//!
//! A process that outlives its ledger (disk full under SQLite) keeps trying its records, refuses new objects with
//! OutOfResources meanwhile, and goes on when there is room.
//!
//! What crosses process boundaries is in [`protocol`]; [`client`] is the other end.

pub mod client;
mod committing;
pub mod protocol;
mod socket;
mod spooling;

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crossbeam::channel::{Sender, bounded};
use sulcus_connectors::inbox::{
    Asked, CommitmentReport, CommitmentRequest, Inbox, Incoming, Reported, StepMessage, Stepped, Stored,
};
use sulcus_operators::{
    digest::Digest,
    rows::{InstanceFacts, Millis, Seq},
};

use self::{
    committing::{Committed, Job, Relayed},
    spooling::Arriving,
};
use crate::{
    hosts::links::Links,
    ledger::{
        self, LedgerError,
        commitments::Judged,
        event::Event,
        read::Reader,
        reconcile::{Reconciled, reconcile},
        relayed::{Peer, Told},
        steps::Step,
        store::Ledger,
    },
    spool::{
        Spool,
        record::{Label, Standing},
        sync_folder,
    },
};

/// How long the end of an association waits for its event: a full disk must not hold its sender.
const FAREWELL: Duration = Duration::from_secs(1);

/// Reads the facts of one object, or says why it cannot be used. Called from association threads.
pub type ReadFacts = dyn Fn(&Incoming) -> Result<InstanceFacts, String> + Send + Sync;

/// What a receiver may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Length that segments of the spool are given in advance; a longer record gets a segment of its own.
    pub segment_bytes: u64,
    /// Objects that wait for the spool at once; a further `store` blocks.
    pub queue: usize,
    /// Bytes of objects that one sync covers at most (one object may exceed it).
    pub batch_bytes: usize,
    /// Below this much free space on the data folder's file system, objects are refused with OutOfResources.
    pub minimum_free: u64,
    /// Longest line on the socket, in bytes.
    pub line_bytes: usize,
    /// Connections to the socket at once.
    pub clients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            segment_bytes: 256 << 20,
            queue: 64,
            batch_bytes: 32 << 20,
            minimum_free: 1 << 30,
            line_bytes: 64 << 20,
            clients: 64,
        }
    }
}

/// Why a receiver could not start.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Another one runs.
    #[error("another receiver works on {folder}: stop it, or choose another data folder")]
    Locked {
        /// The data folder.
        folder: PathBuf,
    },
    /// The file system failed.
    #[error("the data folder {folder} cannot be used: check that it is on a local disk and writable")]
    Io {
        /// The data folder.
        folder: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The ledger's database in a data folder.
pub fn ledger_path(folder: &Path) -> PathBuf {
    folder.join(ledger::FILE)
}

/// The spool in a data folder.
pub fn spool_path(folder: &Path) -> PathBuf {
    folder.join("spool")
}

/// The receiver's socket in a data folder.
pub fn socket_path(folder: &Path) -> PathBuf {
    folder.join("receiver.sock")
}

/// Now, in milliseconds since 1970-01-01 UTC.
fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as Millis)
}

/// A running receiver. Dropping it answers what waits, commits it, and ends its threads.
pub struct Receiver {
    arriving: Option<Sender<Arriving>>,
    jobs: Option<Sender<Job>>,
    facts: Box<ReadFacts>,
    committed: Arc<Committed>,
    links: Arc<Links>,
    reconciled: Reconciled,
    /// The ledger, for those who only look.
    ledger: PathBuf,
    threads: Vec<JoinHandle<()>>,
    socket: Option<socket::Server>,
    _lock: File,
}

impl Receiver {
    /// Locks the data folder (made where missing, for its owner alone), opens and reconciles spool and ledger, and
    /// starts the threads and the socket.
    pub fn open(folder: &Path, limits: Limits, facts: Box<ReadFacts>) -> Result<Self, ReceiverError> {
        let failed = |source| ReceiverError::Io { folder: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let lock = File::options().create(true).append(true).open(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(ReceiverError::Locked { folder: folder.to_owned() }),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let (spool_folder, path) = (spool_path(folder), ledger_path(folder));
        fs::create_dir_all(&spool_folder).map_err(failed)?;
        let mut ledger = Ledger::create_or_open(&path)?;
        sync_folder(folder).map_err(failed)?;
        // The folders above may be new as well, and with their names all would be gone. One that may not be read was
        // not made here.
        std::path::absolute(folder).map_err(failed)?.ancestors().skip(1).for_each(|above| drop(sync_folder(above)));
        let reconciled = reconcile(&mut ledger, &path, &spool_folder, now())?;
        for fault in &reconciled.faults {
            tracing::error!(key = fault.key, reason = fault.reason, hint = fault.hint, "event without its bytes");
        }
        let spool = Spool::open(&spool_folder, limits.segment_bytes, ledger.position()?).map_err(failed)?;
        let committed = Arc::new(Committed::new(ledger.last_seq()));
        let (jobs, job_queue) = bounded(limits.queue);
        let (arriving, arrivals) = bounded(limits.queue);
        let desk = spooling::Desk::new(spool, folder, limits, jobs.clone(), committed.clone())?;
        let mut threads = Vec::new();
        let for_ledger = committed.clone();
        threads.push(spawn("ledger", move || committing::run(ledger, &job_queue, &for_ledger)).map_err(failed)?);
        threads.push(spawn("spool", move || desk.run(&arrivals)).map_err(failed)?);
        let links = Arc::new(Links::default());
        let server =
            socket::Server::start(folder, limits, jobs.clone(), committed.clone(), (&reconciled, links.clone()));
        let socket = Some(server.map_err(failed)?);
        let (arriving, jobs) = (Some(arriving), Some(jobs));
        Ok(Receiver { arriving, jobs, facts, committed, links, reconciled, ledger: path, threads, socket, _lock: lock })
    }

    /// What start-up found: records that were ingested again, and events whose bytes are gone.
    pub fn reconciled(&self) -> &Reconciled {
        &self.reconciled
    }

    /// The last committed event.
    pub fn last_seq(&self) -> Seq {
        self.committed.last()
    }

    /// Appends events in this process, as one epoch, and returns when they are durable.
    pub fn append(&self, events: Vec<Event>) -> Result<Vec<Seq>, String> {
        let jobs = self.jobs.as_ref().ok_or("the receiver has ended")?;
        committing::append(jobs, events)
    }

    /// Records what another host told, which is known up to `now` with it, and returns when it is durable. `own` is this
    /// host's name.
    pub fn relay(&self, host: &str, own: &str, told: Vec<Told>, now: Peer) -> Result<(), String> {
        let jobs = self.jobs.as_ref().ok_or("the receiver has ended")?;
        committing::relay(jobs, Relayed { host: host.to_owned(), own: own.to_owned(), told, now })
    }

    /// Waits for events behind `seen`, at most so long: the last one, or none where the receiver is ending.
    pub fn wait_beyond(&self, seen: Seq, silence: Duration) -> Option<Seq> {
        self.committed.wait_beyond(seen, silence)
    }

    /// How the other hosts are followed.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The facts of one object, if it is what its sender says.
    fn facts(&self, incoming: &Incoming) -> Result<InstanceFacts, String> {
        let facts = (self.facts)(incoming)?;
        let differs = |name: &str, command: &str, data_set: &str| {
            let reason = format!("the command names {name} {command}, the data set {data_set}");
            (!command.is_empty() && command != data_set).then_some(reason)
        };
        let class = differs("SOP Class UID", &incoming.sop_class_uid, &facts.sop_class_uid);
        let uid = differs("SOP Instance UID", &incoming.sop_instance_uid, &facts.sop_instance_uid);
        if let Some(reason) = class.or(uid) {
            return Err(reason);
        }
        Ok(facts)
    }
}

impl Inbox for Receiver {
    fn store(&self, incoming: Incoming) -> Stored {
        let Some(arriving) = &self.arriving else { return stopped() };
        let (digest, label) = match self.facts(&incoming) {
            Ok(facts) => {
                let (digest, facts) = (facts.data_set_digest, Arc::new(facts));
                (digest, Label::Received { source: incoming.source, facts, standing: Standing::Fresh })
            }
            Err(reason) => {
                let label = Label::Quarantined {
                    source: incoming.source,
                    transfer_syntax: incoming.transfer_syntax,
                    sop_class_uid: incoming.sop_class_uid,
                    sop_instance_uid: incoming.sop_instance_uid,
                    reason,
                };
                (Digest::of(&incoming.data_set), label)
            }
        };
        let (reply, answer) = bounded(1);
        if arriving.send(Arriving { label, data_set: incoming.data_set, digest, reply }).is_err() {
            return stopped();
        }
        answer.recv().unwrap_or_else(|_| stopped())
    }

    fn released(&self, source: &str, series_uids: Vec<String>, orderly: bool) {
        // One that brought nothing, such as an echo, says nothing of any series.
        let Some(jobs) = self.jobs.as_ref().filter(|_| !series_uids.is_empty()) else { return };
        let event = Event::AssociationReleased { source: source.to_owned(), series_uids, orderly };
        if let Err(reason) = committing::hand_in(jobs, event, FAREWELL) {
            tracing::warn!(source, reason, "the end of an association is not recorded; the idle timer decides");
        }
    }

    fn commitment_asked(&self, source: &str, request: &CommitmentRequest) -> Asked {
        // What was answered before is in the ledger once this is.
        let recorded = self.append(Vec::new()).and_then(|_| {
            let reader = Reader::open(&self.ledger).map_err(|error| error.to_string())?;
            let (kept, events) = reader.listed(source, request).map_err(|error| error.to_string())?;
            if !events.is_empty() {
                self.append(events)?;
            }
            Ok(kept)
        });
        match recorded {
            Ok(kept) => Asked::Recorded(kept),
            Err(reason) => {
                tracing::warn!(source, reason, "a request for storage commitment is not recorded");
                Asked::Failed
            }
        }
    }

    fn step_reported(&self, source: &str, message: &StepMessage) -> Stepped {
        let judged = Reader::open(&self.ledger).and_then(|reader| reader.stepped(source, message));
        let recorded = match judged {
            Ok(Step::Known(stepped)) => return stepped,
            Ok(Step::New(events)) => self.append(events),
            Err(error) => Err(error.to_string()),
        };
        match recorded {
            Ok(_) => Stepped::Recorded,
            Err(reason) => {
                tracing::warn!(source, reason, "what a scanner says of a step is not recorded");
                Stepped::Failed
            }
        }
    }

    fn commitment_reported(&self, report: CommitmentReport) -> Reported {
        // Reports are rare: each opens a reader of its own.
        let judged = Reader::open(&self.ledger).and_then(|reader| reader.judge(report));
        let recorded = match judged {
            Ok(Judged::Known(reported)) => return reported,
            Ok(Judged::New(event)) => self.append(vec![*event]),
            Err(error) => Err(error.to_string()),
        };
        match recorded {
            Ok(_) => Reported::Recorded,
            Err(reason) => {
                tracing::warn!(reason, "an archive's report of storage commitment is not recorded");
                Reported::Failed
            }
        }
    }
}

fn stopped() -> Stored {
    Stored::Failed { reason: "the receiver is ending".into() }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.socket = None;
        self.arriving = None;
        self.jobs = None;
        self.committed.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the receiver had panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests;
