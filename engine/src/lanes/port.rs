//! A lane's way to the ledger: its outcomes go to the receiver, which alone writes, and come back through the graph.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use sulcus_operators::rows::Seq;
use thiserror::Error;

use super::order::{Cause, Failure};
use crate::{ledger::event::Event, receiver::client::Client};

/// How long a lane rests before it looks for a receiver that is away.
const RECONNECT: Duration = Duration::from_millis(50);

/// Pauses of a lane that waits for its surroundings to be cured.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The engine is stopping; what was not appended is to do again after the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the engine is stopping")]
pub struct Stopping;

/// A flag that stops every lane.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Stops whoever looks at it.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The flag itself, for those who only look.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }

    /// True once stopped.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes an attempt, and makes it again with growing pauses for as long as only the surroundings fail it.
    pub fn until_cured<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<Result<T, Failure>, Stopping> {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt() {
                Err(failure) if failure.cause == Cause::Surroundings => {
                    tracing::error!(reason = failure.reason, hint = failure.hint, again_in = ?pause, "waiting for a cure");
                    self.nap(pause)?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                outcome => return Ok(outcome),
            }
        }
    }

    /// Sleeps for `time`, in short naps so that a stop is seen.
    pub fn nap(&self, time: Duration) -> Result<(), Stopping> {
        let mut left = time;
        while !self.is_set() && !left.is_zero() {
            let nap = left.min(RECONNECT);
            sleep(nap);
            left -= nap;
        }
        if self.is_set() { Err(Stopping) } else { Ok(()) }
    }
}

/// Appends to the ledger through the receiver's socket.
pub struct Port {
    client: Client,
    stop: StopFlag,
}

impl Port {
    /// A port to the receiver of a data folder; connects at its first append.
    pub fn new(data: &Path, stop: StopFlag) -> Self {
        Port { client: Client::new(data), stop }
    }

    /// The flag that stops this lane.
    pub fn stop(&self) -> &StopFlag {
        &self.stop
    }

    /// Appends events and returns the sequence number of the last one, once it is durable. While the receiver is
    /// away it keeps trying. An append whose answer was lost is made again: every outcome may stand twice in the
    /// ledger, and the graph takes each only once.
    pub fn append(&mut self, events: &[Event]) -> Result<Seq, Stopping> {
        loop {
            match self.client.append(events.to_vec()) {
                Ok(seqs) => return Ok(seqs.last().copied().unwrap_or_default()),
                Err(error) => {
                    tracing::debug!(%error, "the receiver is away");
                    self.stop.nap(RECONNECT)?;
                }
            }
        }
    }
}
