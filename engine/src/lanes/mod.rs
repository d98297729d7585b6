//! The lanes: work that runs outside the graph, fed by bounded channels, whose outcomes are events.
//!
//! | lane | takes | records |
//! | --- | --- | --- |
//! | clerk | revisions to issue, timers that ran out, studies at rest | RevisionIssued, TimerFired, StudySealed |
//! | infer, one per device | runs to do | RunStarted, then RunFinished or RunFailed |
//! | encode | objects to encode | ObjectEncoded or EncodeFailed |
//! | deliver, one per destination | deliveries to do | DeliveryStarted, then DeliverySettled or DeliveryFailed |
//!
//! A job stays in flight until the graph has seen its outcome, so nothing is done twice while the engine lives.

pub mod child;
mod commitment;
pub mod deliver;
mod departures;
pub mod due;
pub mod encode;
pub mod infer;
pub mod models;
pub mod order;
pub mod port;
pub mod visits;
pub mod withdrawal;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use crossbeam::channel::{Receiver, Sender, bounded};
use sulcus_operators::{
    digest::Digest,
    rows::{Role, Seq},
};

use self::port::Stopping;
use crate::ledger::event::{RevisionKey, Timer};

/// What a job is about: one at a time for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A run.
    Run(Digest),
    /// A revision's number.
    Revision(RevisionKey),
    /// One object of a revision.
    Encode(RevisionKey, Role),
    /// One object on its way to one destination.
    Deliver(Digest, String),
    /// A timer that ran out.
    Timer(Timer),
    /// A study at rest.
    Seal(String),
    /// Sealed studies that changed rules concern.
    Review,
}

/// A job ended; the graph will have seen its outcome once it has seen this event.
#[derive(Clone, Debug)]
pub struct Done {
    /// The job.
    pub key: Key,
    /// The last event that it appended.
    pub seq: Seq,
}

/// One lane: a thread that takes one job at a time.
pub struct Lane<J> {
    jobs: Sender<(Key, J)>,
    held: Arc<AtomicUsize>,
    limit: usize,
    thread: Option<JoinHandle<()>>,
}

impl<J: Send + 'static> Lane<J> {
    /// Starts a lane that holds up to `waiting` jobs beside the one it works on.
    pub fn start(
        name: &str,
        waiting: usize,
        done: Sender<Done>,
        mut work: impl FnMut(J) -> Result<Seq, Stopping> + Send + 'static,
    ) -> std::io::Result<Self> {
        let limit = waiting + 1;
        let (jobs, queue): (_, Receiver<(Key, J)>) = bounded(limit);
        let held = Arc::new(AtomicUsize::new(0));
        let counter = held.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for (key, job) in queue {
                let outcome = work(job);
                counter.fetch_sub(1, Ordering::Relaxed);
                match outcome {
                    Ok(seq) if done.send(Done { key, seq }).is_ok() => {}
                    _ => return,
                }
            }
        })?;
        Ok(Lane { jobs, held, limit, thread: Some(thread) })
    }

    /// Offers a job; false when the lane is full (or stopping), and the job stays to do.
    pub fn offer(&self, key: &Key, job: impl FnOnce() -> J) -> bool {
        if self.held.load(Ordering::Relaxed) >= self.limit {
            return false;
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        let taken = self.jobs.try_send((key.clone(), job())).is_ok();
        if !taken {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }
}

impl<J> Drop for Lane<J> {
    fn drop(&mut self) {
        // Closing the channel ends the thread after its current job.
        self.jobs = bounded(0).0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
