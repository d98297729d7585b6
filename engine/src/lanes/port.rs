//! A lane's way to the ledger: its outcomes go to the receiver, which alone writes, and come back through the graph.

use std::{
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
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

/// A flag that stops every lane. A service waits for a cure for as long as it takes; a command has only so much
/// patience, then stops by itself and keeps the reason.
#[derive(Clone, Debug, Default)]
pub struct StopFlag {
    set: Arc<AtomicBool>,
    patience: Option<Duration>,
    given_up: Arc<OnceLock<String>>,
}

impl StopFlag {
    /// A flag that is set by itself where something would have to be waited for longer than this.
    pub fn with_patience(patience: Duration) -> Self {
        StopFlag { patience: Some(patience), ..StopFlag::default() }
    }

    /// Stops whoever looks at it.
    pub fn stop(&self) {
        self.set.store(true, Ordering::Relaxed);
    }

    /// The flag itself, for those who only look.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.set
    }

    /// True once stopped.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    /// Stops everything where a wait, past or to come, is longer than there is patience; `reason` is what is waited
    /// for.
    pub fn wait_is(&self, wait: Duration, reason: &str) {
        if self.patience.is_some_and(|patience| wait > patience) {
            // The first reason stands.
            let _ = self.given_up.set(reason.to_owned());
            self.stop();
        }
    }

    /// Why it stopped by itself, if so.
    pub fn given_up(&self) -> Option<&str> {
        self.given_up.get().map(String::as_str)
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
                    self.wait_is(pause, &failure.reason);
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
        let begun = Instant::now();
        loop {
            match self.client.append(events.to_vec()) {
                Ok(seqs) => return Ok(seqs.last().copied().unwrap_or_default()),
                Err(error) => {
                    tracing::debug!(%error, "the receiver is away");
                    self.stop.wait_is(begun.elapsed(), &format!("the ledger takes nothing: {error}"));
                    self.stop.nap(RECONNECT)?;
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn full() -> Failure {
        Failure::surroundings("the disk is full", "make room")
    }

    #[test]
    fn a_command_gives_up_what_cannot_be_cured_and_says_why() {
        let stop = StopFlag::with_patience(Duration::from_millis(500));
        assert!(stop.until_cured::<()>(|| Err(full())).is_err());
        assert_eq!((stop.is_set(), stop.given_up()), (true, Some("the disk is full")));
        let folder = tempfile::tempdir().unwrap();
        let stop = StopFlag::with_patience(Duration::from_millis(100));
        let nobody = Port::new(folder.path(), stop.clone()).append(&[]);
        assert!(nobody.is_err() && stop.given_up().is_some_and(|reason| reason.contains("ledger")));
    }

    #[test]
    fn a_service_waits_for_a_cure() {
        let stop = StopFlag::default();
        let mut tries = 0;
        let cured = stop.until_cured(|| {
            tries += 1;
            if tries < 2 { Err(full()) } else { Ok(()) }
        });
        assert!(matches!(cured, Ok(Ok(()))) && !stop.is_set() && stop.given_up().is_none());
    }
}
