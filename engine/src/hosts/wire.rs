//! What passes between two hosts: JSON, one message a line, over a TCP connection that whoever follows opens.
//!
//! ```text
//!   follows                                        tells
//!     Hello (name, version, rules, how far) ------->  are we told apart, do we work by the same rules?
//!     <------- Welcome (identity) | Refused (reason)
//!     <------- Told (events, up to where), at once whenever there are any
//!     <------- Alive, every five seconds that nothing else is told
//! ```
//!
//! A connection may ask for bytes instead of following: see [`super::fetch`]. Whoever is silent for [`SILENCE`] is taken
//! to be away; the connection is closed and opened anew.

use std::{
    io::{self, BufReader},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sulcus_operators::{digest::Digest, rows::Seq};

use crate::{
    lanes::port::StopFlag,
    ledger::{
        event::Rules,
        relayed::{Peer, Told},
    },
    receiver::protocol::{read_line, write_line},
};

/// The version of what passes: both ends must have the same.
pub const VERSION: u32 = 1;
/// Whoever says nothing for so long is away.
pub const SILENCE: Duration = Duration::from_secs(15);
/// How often whoever waits looks whether it shall end.
pub const LOOK: Duration = Duration::from_millis(100);
/// How long a connection may take to be opened.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest message of a host that tells, and of one that asks, in bytes.
const LONGEST: usize = 256 << 20;
const LONGEST_ASKED: usize = 4 << 20;

/// What whoever opens a connection says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// Its name.
    pub host: String,
    /// Whom it believes to speak to.
    pub to: String,
    /// What it wants.
    pub wants: Wants,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Wants {
    /// All events behind those that it has.
    Events {
        /// The rules that it works by; none before the first were recorded.
        rules: Option<Rules>,
        /// What it knows of the other's ledger.
        known: Peer,
    },
    /// The bytes of instances that stand, and of results.
    Bytes,
}

/// What the other end says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Says {
    /// It goes on.
    Welcome {
        /// Hash of its ledger's first event; zero while there is none.
        identity: Digest,
    },
    /// It does not, for this reason.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// Events, in order.
    Told {
        /// They.
        events: Vec<Told>,
        /// The last that was looked at.
        upto: Seq,
    },
    /// Nothing new.
    Alive,
    /// Bytes follow this line.
    Bytes {
        /// How many.
        length: u64,
    },
}

/// What is asked over a connection for bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The data set of an instance that stands.
    Instance {
        /// SOPInstanceUID.
        sop_instance_uid: String,
        /// Digest of the data set.
        digest: Digest,
    },
    /// A file of the results store.
    Result {
        /// Its digest.
        digest: Digest,
    },
}

/// One end of a connection.
pub struct Connection {
    read: BufReader<TcpStream>,
    write: TcpStream,
    longest: usize,
}

impl Connection {
    /// Opens one.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Connection::new(TcpStream::connect_timeout(&address, CONNECT)?, LONGEST)
    }

    /// One that was accepted.
    pub fn of(stream: TcpStream) -> io::Result<Self> {
        Connection::new(stream, LONGEST_ASKED)
    }

    fn new(stream: TcpStream, longest: usize) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Connection { read: BufReader::new(stream.try_clone()?), write: stream, longest })
    }

    /// Says something.
    pub fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        write_line(&mut self.write, message)
    }

    /// Waits until something is to be heard: true once it is, false once stopped.
    pub fn is_heard(&self, stop: &StopFlag) -> io::Result<bool> {
        if !self.read.buffer().is_empty() {
            return Ok(true);
        }
        let begun = Instant::now();
        self.write.set_read_timeout(Some(LOOK))?;
        while !stop.is_set() {
            match self.write.peek(&mut [0]) {
                Ok(_) => {
                    self.write.set_read_timeout(Some(SILENCE))?;
                    return Ok(true);
                }
                Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(error);
                }
                Err(error) if begun.elapsed() > SILENCE => return Err(error),
                Err(_) => {}
            }
        }
        Ok(false)
    }

    /// Hears the next message; an error where the other end closed.
    pub fn hear<T: serde::de::DeserializeOwned>(&mut self) -> io::Result<T> {
        read_line(&mut self.read, self.longest)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.write, bytes)
    }

    /// Takes so many bytes as they are.
    pub fn take(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut self.read, length), &mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// What differs between the rules of two hosts, in words; none where they work alike. Where a package lies is each
/// host's own.
pub fn difference(ours: Option<&Rules>, theirs: Option<&Rules>) -> Option<String> {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return (ours.is_some() != theirs.is_some()).then(|| "one of them has recorded no rules yet".to_owned());
    };
    let (ours, theirs) = (without_paths(ours), without_paths(theirs));
    if ours.pipelines != theirs.pipelines {
        return Some(format!("pipelines differ: {}", odd(&ours.pipelines, &theirs.pipelines, |rule| &rule.name)));
    }
    if ours.destinations != theirs.destinations {
        let odd = odd(&ours.destinations, &theirs.destinations, |rule| &rule.name);
        return Some(format!("destinations differ: {odd}"));
    }
    (ours != theirs).then(|| format!("sources differ: {}", odd(&ours.sources, &theirs.sources, |policy| &policy.name)))
}

fn without_paths(rules: &Rules) -> Rules {
    let mut rules = rules.clone();
    for pipeline in &mut rules.pipelines {
        pipeline.model_path.clear();
        pipeline.alone.iter_mut().for_each(|alone| alone.model_path.clear());
    }
    rules
}

/// The name of the first that only one of two lists has as it is there.
fn odd<'a, T: PartialEq>(ours: &'a [T], theirs: &'a [T], name: impl Fn(&T) -> &String) -> String {
    let odd = ours.iter().find(|rule| !theirs.contains(rule));
    odd.or_else(|| theirs.iter().find(|rule| !ours.contains(rule))).map(|rule| name(rule).clone()).unwrap_or_default()
}
