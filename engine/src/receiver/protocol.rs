//! The lines that pass between the receiver and the other processes of one machine: JSON, one object a line, over
//! the unix socket `receiver.sock` in the data folder.
//!
//! `append` answers when its events are durable. **A reply that is lost** (the connection broke between commit and
//! answer) leaves the sender not knowing: it appends again. Nothing breaks, because every event says what is the
//! case, not what to add: the graph takes outcomes as sets, so that the same `RunFinished` twice is one row. Whoever
//! counts (attempts) must count distinct numbers, not events.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read, Write},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sulcus_operators::rows::Seq;

use crate::{hosts::links::Link, ledger::event::Event};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Append these events as part of one epoch. Instances cannot be brought this way.
    Append {
        /// The events, in order.
        events: Vec<Event>,
    },
    /// From now on, a `committed` line at once, whenever there are new events, and every five seconds.
    Subscribe,
    /// How the receiver is.
    Status,
}

/// What the receiver answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// The events are durable.
    Appended {
        /// Their sequence numbers.
        seqs: Vec<Seq>,
    },
    /// The ledger reaches this far.
    Committed {
        /// The last committed event.
        last_seq: Seq,
    },
    /// How the receiver is.
    Status(Status),
    /// Nothing was appended.
    Refused {
        /// Why.
        reason: String,
    },
}

/// How a receiver is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The last committed event.
    pub last_seq: Seq,
    /// Free bytes on the data folder's file system, where that can be told.
    pub free_bytes: Option<u64>,
    /// Why objects are refused now, if they are.
    pub trouble: Option<String>,
    /// Spool records that were ingested again at start-up.
    pub ingested_at_start: u64,
    /// Events whose bytes were found missing at start-up.
    pub faults_at_start: u64,
    /// How the other hosts of a cluster are followed, by name.
    #[serde(default)]
    pub hosts: BTreeMap<String, Link>,
}

/// Writes one message and its line end.
pub(crate) fn write_line(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads one message; `None` at the end of the stream. A line of more than `longest` bytes is an error, found before
/// it is held in memory whole.
pub(crate) fn read_line<T: DeserializeOwned>(from: &mut impl BufRead, longest: usize) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    from.by_ref().take(longest as u64 + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        let reason = if line.len() > longest { "a line is too long" } else { "the connection broke within a line" };
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
