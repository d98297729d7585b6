//! The end of the cluster that follows: takes in what another host's ledger tells, for as long as it is reached.

use std::{io, path::PathBuf, time::Duration};

use sulcus_config::Peer;

use super::{
    links::Link,
    wire::{Connection, Hello, Says, VERSION, Wants},
};
use crate::{
    lanes::port::StopFlag,
    ledger::{read::Reader, relayed},
    receiver::{Receiver, ledger_path},
};

/// Pauses before a host that was not reached is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Follows one other host.
pub struct Follower<'a> {
    /// This host's name.
    pub own: &'a str,
    /// The other host.
    pub peer: &'a Peer,
    /// The site's data folder.
    pub data: PathBuf,
    /// Who writes the ledger.
    pub receiver: &'a Receiver,
    /// Stops it.
    pub stop: &'a StopFlag,
}

impl Follower<'_> {
    /// Follows until stopped.
    pub fn run(&self) {
        let mut pause = FIRST_PAUSE;
        let mut last_reason = String::new();
        while !self.stop.is_set() {
            let mut welcome = false;
            let reason = self.follow(&mut welcome);
            if welcome {
                pause = FIRST_PAUSE;
            }
            if self.stop.is_set() {
                return;
            }
            if reason != last_reason {
                tracing::warn!(host = self.peer.name, reason, "another host is not followed; tried again until it is");
                last_reason = reason.clone();
            }
            self.receiver.links().note(&self.peer.name, Link { upto: self.known().upto, trouble: Some(reason) });
            if self.stop.nap(pause).is_err() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn known(&self) -> relayed::Peer {
        let reader = Reader::open(&ledger_path(&self.data));
        reader.and_then(|reader| reader.peer(&self.peer.name)).unwrap_or_default()
    }

    /// Follows over one connection until it ends: why it did.
    fn follow(&self, welcome: &mut bool) -> String {
        match self.connected(welcome) {
            Ok(reason) => reason,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                "it says nothing".to_owned()
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            Err(error) => format!("it is not reached at {}: {error}", self.peer.address),
        }
    }

    fn connected(&self, welcome: &mut bool) -> io::Result<String> {
        let reader = Reader::open(&ledger_path(&self.data)).map_err(io::Error::other)?;
        let rules = reader.rules().map_err(io::Error::other)?;
        let mut known = reader.peer(&self.peer.name).map_err(io::Error::other)?;
        let mut connection = Connection::open(self.peer.address)?;
        let wants = Wants::Events { rules, known };
        connection.say(&Hello { version: VERSION, host: self.own.to_owned(), to: self.peer.name.clone(), wants })?;
        while connection.is_heard(self.stop)? {
            match connection.hear()? {
                Says::Welcome { identity } => {
                    *welcome = true;
                    tracing::info!(host = self.peer.name, upto = known.upto, "another host is followed");
                    self.receiver.links().note(&self.peer.name, Link { upto: known.upto, trouble: None });
                    known.identity = identity;
                }
                Says::Refused { reason } => return Ok(reason),
                Says::Told { events, upto } => {
                    known.upto = upto;
                    if let Err(reason) = self.receiver.relay(&self.peer.name, self.own, events, known) {
                        return Ok(format!("what it tells cannot be recorded: {reason}"));
                    }
                    self.receiver.links().note(&self.peer.name, Link { upto, trouble: None });
                }
                Says::Alive => {}
                Says::Bytes { .. } => return Ok("it answers with bytes that nobody asked for".to_owned()),
            }
        }
        Ok("this host is stopping".to_owned())
    }
}
