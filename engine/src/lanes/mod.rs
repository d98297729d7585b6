//! The lanes: work that runs outside the graph, fed by bounded channels, whose outcomes are events.
//!
//! | lane | takes | records |
//! | --- | --- | --- |
//! | clerk | revisions to issue, timers that ran out, studies at rest | RevisionIssued, TimerFired, StudySealed |
//! | count, one per source with an archive | series to be counted there | SeriesCounted, where that is news |
//! | infer, one per device | runs to do | RunStarted, then RunFinished, RunFailed or RunCancelled |
//! | encode | objects to encode | ObjectEncoded or EncodeFailed |
//! | deliver, one per destination | deliveries to do | DeliveryStarted, then DeliverySettled or DeliveryFailed |
//!
//! A job stays in flight until the graph has seen its outcome, so nothing is done twice while the engine lives. One that
//! nobody wants any more before it began does not begin; a run is stopped at its next tile as well, and a delivery never:
//! its destination may have the object.

pub mod child;
mod commitment;
pub mod count;
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
        atomic::{AtomicBool, AtomicUsize, Ordering},
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
    /// A timer that ran out, or an archive that is to be asked.
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

/// Whether somebody still wants a job that a lane holds.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Says that nobody wants the job any more.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once nobody wants the job any more.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One lane: a thread that takes one job at a time.
pub struct Lane<J> {
    jobs: Sender<(Key, J, Cancel)>,
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
        mut work: impl FnMut(J, &Cancel) -> Result<Seq, Stopping> + Send + 'static,
    ) -> std::io::Result<Self> {
        let limit = waiting + 1;
        let (jobs, queue): (_, Receiver<(Key, J, Cancel)>) = bounded(limit);
        let held = Arc::new(AtomicUsize::new(0));
        let counter = held.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            for (key, job, cancel) in queue {
                // What does not begin appends nothing: the graph has seen it already.
                let outcome = if cancel.is_set() { Ok(0) } else { work(job, &cancel) };
                counter.fetch_sub(1, Ordering::Relaxed);
                match outcome {
                    Ok(seq) if done.send(Done { key, seq }).is_ok() => {}
                    _ => return,
                }
            }
        })?;
        Ok(Lane { jobs, held, limit, thread: Some(thread) })
    }

    /// True where the lane takes another job.
    pub fn has_room(&self) -> bool {
        self.held.load(Ordering::Relaxed) < self.limit
    }

    /// Offers a job; none when the lane is full (or stopping), and the job stays to do.
    pub fn offer(&self, key: &Key, job: impl FnOnce() -> J) -> Option<Cancel> {
        if !self.has_room() {
            return None;
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        let cancel = Cancel::default();
        let taken = self.jobs.try_send((key.clone(), job(), cancel.clone())).is_ok();
        if !taken {
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
        taken.then_some(cancel)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_nobody_wants_any_more_before_it_began_does_not_begin() {
        let (done, ended) = bounded(8);
        let (go, gone) = bounded::<()>(0);
        let began = Arc::new(AtomicUsize::new(0));
        let count = began.clone();
        let lane = Lane::start("test", 1, done, move |seq: Seq, _: &Cancel| {
            count.fetch_add(1, Ordering::Relaxed);
            gone.recv().map_err(|_| Stopping)?;
            Ok(seq)
        })
        .unwrap();
        let [first, second] = ["first", "second"].map(|name| Key::Seal(name.to_owned()));
        lane.offer(&first, || 7).unwrap();
        let cancel = lane.offer(&second, || 8).unwrap();
        assert!(!lane.has_room() && lane.offer(&second, || 9).is_none(), "it holds what it was told to");
        cancel.cancel();
        go.send(()).unwrap();
        let ends: Vec<(Key, Seq)> = ended.iter().take(2).map(|done| (done.key, done.seq)).collect();
        assert_eq!(ends, [(first, 7), (second, 0)]);
        assert_eq!(began.load(Ordering::Relaxed), 1);
        assert!(lane.has_room());
    }
}
