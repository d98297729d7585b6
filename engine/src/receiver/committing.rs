//! The ledger thread: commits what the spool holds and what the engine tells, batch by batch, in order of arrival.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sulcus_operators::{digest::Digest, rows::Seq};

use super::now;
use crate::{
    ledger::{
        LedgerError,
        event::{Event, SpoolPlace},
        relayed::{Peer, Told},
        store::{Batch, Ledger},
    },
    spool::{
        Position,
        record::{Label, Standing},
    },
};

/// Most entries of one epoch, unless one job alone has more.
const MOST: usize = 512;
/// How long records, whose senders were answered already, wait for others to share their commit. Commits compete with
/// the spool's syncs for the disk.
const GATHER: Duration = Duration::from_millis(20);
/// How long to wait before a failed commit is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// One entry on its way into the ledger.
#[allow(clippy::large_enum_variant)]
pub(super) enum Entering {
    /// A durable spool record.
    Record { label: Label, place: SpoolPlace, end: Position },
    /// What another host told.
    Relayed(Arc<Relayed>),
    /// Anything else.
    Event(Event),
}

/// What another host told, and how far its ledger is known with it.
pub(super) struct Relayed {
    /// Its name.
    pub host: String,
    /// This host's name.
    pub own: String,
    /// The events, in order.
    pub told: Vec<Told>,
    /// How far its ledger is known.
    pub now: Peer,
}

/// Entries that enter together.
pub(super) struct Job {
    entries: Vec<Entering>,
    /// Tried again until it succeeds; else its sender is told at once.
    lasting: bool,
    reply: Option<Sender<Result<Vec<Seq>, String>>>,
}

impl Job {
    pub fn records(entries: Vec<Entering>) -> Self {
        Job { entries, lasting: true, reply: None }
    }
}

/// Records what another host told, as part of one epoch, and waits until it is durable.
pub(super) fn relay(jobs: &Sender<Job>, relayed: Relayed) -> Result<(), String> {
    enter(jobs, vec![Entering::Relayed(Arc::new(relayed))]).map(|_| ())
}

/// Appends events as part of one epoch and waits until they are durable; fails at once where they cannot be written.
pub(super) fn append(jobs: &Sender<Job>, events: Vec<Event>) -> Result<Vec<Seq>, String> {
    enter(jobs, events.into_iter().map(Entering::Event).collect())
}

fn enter(jobs: &Sender<Job>, entries: Vec<Entering>) -> Result<Vec<Seq>, String> {
    let ended = || "the receiver is ending".to_owned();
    let (reply, answer) = bounded(1);
    jobs.send(Job { entries, lasting: false, reply: Some(reply) }).map_err(|_| ended())?;
    answer.recv().unwrap_or_else(|_| Err(ended()))
}

/// Hands in an event that is not to be lost, and waits for it to be durable, but no longer than `patience`: while the
/// ledger cannot be written it stays in the queue and enters once it can.
pub(super) fn hand_in(jobs: &Sender<Job>, event: Event, patience: Duration) -> Result<(), String> {
    let ended = "the receiver is ending";
    let (reply, answer) = bounded(1);
    jobs.send(Job { entries: vec![Entering::Event(event)], lasting: true, reply: Some(reply) }).map_err(|_| ended)?;
    match answer.recv_timeout(patience) {
        Ok(outcome) => outcome.map(|_| ()),
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => Err(ended.to_owned()),
    }
}

/// How far the ledger is, shared by all threads.
pub(super) struct Committed {
    progress: Mutex<Progress>,
    changed: Condvar,
    /// Instances that are in the spool and not yet in the ledger, by SOP Instance UID: as many as the queue holds.
    expected: Mutex<HashMap<String, (Digest, SpoolPlace)>>,
}

struct Progress {
    last: Seq,
    trouble: Option<String>,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Committed {
    pub fn new(last: Seq) -> Self {
        let progress = Mutex::new(Progress { last, trouble: None, closed: false });
        Committed { progress, changed: Condvar::new(), expected: Mutex::default() }
    }

    pub fn last(&self) -> Seq {
        lock(&self.progress).last
    }

    /// Why nothing can be committed now, if so.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.progress).trouble.clone()
    }

    /// Waits for events behind `seen`. `Some`: the last one, the same as before after so long a silence. `None`: the
    /// receiver is ending.
    pub fn wait_beyond(&self, seen: Seq, silence: Duration) -> Option<Seq> {
        let quiet = |progress: &mut Progress| progress.last <= seen && !progress.closed;
        let waited = self.changed.wait_timeout_while(lock(&self.progress), silence, quiet);
        let (progress, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!progress.closed).then_some(progress.last)
    }

    pub fn close(&self) {
        lock(&self.progress).closed = true;
        self.changed.notify_all();
    }

    fn closed(&self) -> bool {
        lock(&self.progress).closed
    }

    fn advance(&self, last: Seq) {
        let mut progress = lock(&self.progress);
        progress.last = last;
        progress.trouble = None;
        drop(progress);
        self.changed.notify_all();
    }

    /// Notes records that are durable in the spool and go to the ledger. The first under a UID stands.
    pub fn expect(&self, entries: &[Entering]) {
        let mut expected = lock(&self.expected);
        for (uid, digest, place) in entries.iter().filter_map(standing) {
            expected.entry(uid.to_owned()).or_insert((digest, place));
        }
    }

    pub fn expected(&self, sop_uid: &str) -> Option<(Digest, SpoolPlace)> {
        lock(&self.expected).get(sop_uid).copied()
    }

    fn settle(&self, entries: &[Entering]) {
        let mut expected = lock(&self.expected);
        for (uid, _, place) in entries.iter().filter_map(standing) {
            if expected.get(uid).is_some_and(|(_, stands)| *stands == place) {
                expected.remove(uid);
            }
        }
    }
}

/// UID, digest and place of a record that may come to stand under its UID.
fn standing(entry: &Entering) -> Option<(&str, Digest, SpoolPlace)> {
    match entry {
        Entering::Record { label: Label::Received { facts, standing, .. }, place, .. }
            if !matches!(standing, Standing::Repeats(_)) =>
        {
            Some((&facts.sop_instance_uid, facts.data_set_digest, *place))
        }
        _ => None,
    }
}

/// Commits until every sender is gone.
pub(super) fn run(mut ledger: Ledger, queue: &Receiver<Job>, committed: &Committed) {
    while let Ok(first) = queue.recv() {
        let until = Instant::now() + GATHER;
        let mut count = first.entries.len();
        let mut waited_for = first.reply.is_some();
        let mut batch = vec![first];
        while count < MOST {
            let next = if waited_for { queue.try_recv().ok() } else { queue.recv_deadline(until).ok() };
            let Some(job) = next else { break };
            count += job.entries.len();
            waited_for |= job.reply.is_some();
            batch.push(job);
        }
        while let Err(error) = commit(&mut ledger, &mut batch, committed) {
            let reason = format!("the ledger could not be written: {error}");
            if lock(&committed.progress).trouble.replace(reason.clone()).is_none() {
                tracing::error!(%error, "the ledger could not be written; tried again until it can");
            }
            batch.retain(|job| {
                if !job.lasting {
                    answer(job, Err(reason.clone()));
                }
                job.lasting
            });
            if committed.closed() {
                // What the spool holds is ingested at the next start.
                break;
            }
            std::thread::sleep(AGAIN);
        }
    }
}

fn answer(job: &Job, result: Result<Vec<Seq>, String>) {
    if let Some(reply) = &job.reply {
        let _ = reply.send(result);
    }
}

/// Adds what another host told. Gives no number of one event, since it may have told many.
fn relay_into(batch: &mut Batch<'_>, relayed: &Relayed) -> Result<Seq, LedgerError> {
    for told in &relayed.told {
        batch.relayed(&relayed.host, &relayed.own, told)?;
    }
    batch.told_upto(&relayed.host, &relayed.now)?;
    Ok(0)
}

fn commit(ledger: &mut Ledger, jobs: &mut Vec<Job>, committed: &Committed) -> Result<(), LedgerError> {
    let mut batch = ledger.begin(now())?;
    let mut seqs = Vec::with_capacity(jobs.len());
    for job in jobs.iter() {
        let of_job = job.entries.iter().map(|entry| match entry {
            Entering::Record { label, place, end } => batch.record(label, *place, *end),
            Entering::Event(event) => batch.event(event),
            Entering::Relayed(relayed) => relay_into(&mut batch, relayed),
        });
        seqs.push(of_job.collect::<Result<Vec<_>, _>>()?);
    }
    batch.commit()?;
    for (job, seqs) in jobs.drain(..).zip(seqs) {
        committed.settle(&job.entries);
        answer(&job, Ok(seqs));
    }
    committed.advance(ledger.last_seq());
    Ok(())
}
