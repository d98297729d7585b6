//! DIMSE messages over P-DATA (PS3.8 annex E): fragments put together on the way in, cut to size on the way out.
//!
//! Commands and data sets may come in any number of PDVs, several PDVs in one PDU, and one PDU may end a message and begin
//! the next. A data set's bytes are copied once or twice, from the socket to the vector that the inbox gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::command::{Command, MAX_COMMAND_BYTES};
use super::wire::{Patience, Wire, WireError, kind};

/// The P-DATA PDU length to announce by default, in bytes: the upper limit of DCMTK.
pub const MAX_PDU: u32 = 131_072;
/// The longest P-DATA PDU that may be announced or sent, in bytes.
pub(crate) const PDU_CEILING: u32 = 1024 * 1024;
/// The shortest P-DATA PDU length that we announce, in bytes.
pub(crate) const PDU_FLOOR: u32 = 4096;
/// Smallest Maximum Length of a peer that we still fragment for.
pub(crate) const MIN_PEER_PDU: u32 = 64;
/// A new data set's vector starts as large as the last one's, but not larger than this.
const MAX_SIZE_HINT: usize = 64 * 1024 * 1024;
/// Fragments gathered before they are written to the socket.
const WRITE_CHUNK: usize = 256 * 1024;

/// A limit on bytes held by all associations together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicU64::new(0) })
    }
}

/// What one message holds of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Lease {
    fn grow(&mut self, bytes: u64) -> bool {
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        used <= self.budget.limit
    }

    fn give_back(&mut self) {
        self.budget.used.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The data set of a message.
#[derive(Debug)]
pub(crate) enum DataSet {
    /// The command announced none.
    Absent,
    /// All its bytes, and their part of the budget.
    Held(Vec<u8>, Lease),
    /// It was read to its end and forgotten: nobody wanted it, or a limit was reached.
    Forgotten(Option<Limit>),
}

#[cfg(test)]
impl DataSet {
    /// One that was read whole.
    pub(crate) fn of(bytes: Vec<u8>) -> DataSet {
        DataSet::Held(bytes, Lease { budget: Budget::new(u64::MAX), bytes: 0 })
    }
}

/// Which limit made us forget a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// That on one object.
    Object,
    /// That on all objects in flight.
    InFlight,
}

/// What a peer sends next.
#[derive(Debug)]
pub(crate) enum Received {
    /// A whole message.
    Message { context: u8, command: Command, data_set: DataSet },
    /// A-RELEASE-RQ.
    Release,
    /// A-RELEASE-RP.
    Released,
    /// A-ABORT.
    Aborted,
}

/// Limits on what is received.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The PDU length that we announced.
    pub(crate) max_pdu: u32,
    /// The longest data set held.
    pub(crate) max_object_bytes: u64,
    /// The bytes held by all.
    pub(crate) budget: Arc<Budget>,
    /// Between messages.
    pub(crate) idle: Patience,
    /// From a message's first byte to its last.
    pub(crate) message: Patience,
}

/// A fragment's header.
struct Fragment {
    length: usize,
    context: u8,
    is_command: bool,
    is_last: bool,
}

/// An established association's stream of messages, both ways.
pub(crate) struct Messages {
    pub(crate) wire: Wire,
    limits: Limits,
    peer_max_pdu: u32,
    /// Bytes of the current P-DATA PDU not yet read.
    pdu_rest: usize,
    command: Vec<u8>,
    size_hint: usize,
    out: Vec<u8>,
}

impl Messages {
    /// `peer_max_pdu` is the peer's Maximum Length, 0 for none; we send no longer PDUs than we take.
    pub(crate) fn new(wire: Wire, limits: Limits, peer_max_pdu: u32) -> Messages {
        let peer_max_pdu = if peer_max_pdu == 0 { limits.max_pdu } else { peer_max_pdu.min(limits.max_pdu) };
        Messages { wire, limits, peer_max_pdu, pdu_rest: 0, command: Vec::new(), size_hint: 0, out: Vec::new() }
    }

    /// Waits for the peer to begin to say something; false where it said nothing in this time.
    pub(crate) fn wait(&mut self, within: Duration) -> Result<bool, WireError> {
        if self.pdu_rest > 0 {
            return Ok(true);
        }
        self.wire.allow(Patience { silence: within, total: within });
        self.wire.wait()
    }

    /// Waits for the next message or PDU. `wanted` says, from the context and the command, how many bytes of data set to
    /// hold at the most, 0 to hold none.
    pub(crate) fn receive(&mut self, wanted: &dyn Fn(u8, &Command) -> u64) -> Result<Received, WireError> {
        if self.pdu_rest == 0 {
            if self.wire.stopping() {
                return Err(WireError::Stopped);
            }
            self.wire.allow(self.limits.idle);
            if let Some(other) = self.begin_pdu()? {
                return Ok(other);
            }
        }
        self.wire.allow(self.limits.message);
        let (context, command) = match self.receive_command()? {
            Ok(received) => received,
            Err(other) => return Ok(other),
        };
        if !command.has_data_set {
            return Ok(Received::Message { context, command, data_set: DataSet::Absent });
        }
        let most = wanted(context, &command).min(self.limits.max_object_bytes);
        Ok(match self.receive_data_set(context, most)? {
            Ok(data_set) => Received::Message { context, command, data_set },
            Err(other) => other,
        })
    }

    /// Puts a command together; the inner error is an A-ABORT or a release that came instead.
    fn receive_command(&mut self) -> Result<Result<(u8, Command), Received>, WireError> {
        self.command.clear();
        let mut context = None;
        loop {
            let fragment = match self.next_fragment()? {
                Ok(fragment) => fragment,
                Err(other) => return Ok(Err(other)),
            };
            if !fragment.is_command {
                return Err(WireError::unexpected("a data set without a command"));
            }
            if *context.get_or_insert(fragment.context) != fragment.context {
                return Err(WireError::invalid("one message in two presentation contexts"));
            }
            if self.command.len() + fragment.length > MAX_COMMAND_BYTES {
                return Err(WireError::invalid("a command set is longer than any service needs"));
            }
            self.wire.append(fragment.length, &mut self.command)?;
            if fragment.is_last {
                let command = Command::decode(&self.command).map_err(|error| {
                    tracing::debug!(%error, "a command set was refused");
                    WireError::invalid("a command set cannot be read")
                })?;
                return Ok(Ok((fragment.context, command)));
            }
        }
    }

    fn receive_data_set(&mut self, context: u8, most: u64) -> Result<Result<DataSet, Received>, WireError> {
        let mut lease = Lease { budget: self.limits.budget.clone(), bytes: 0 };
        let mut bytes = Vec::new();
        let (mut forget, mut limit) = (most == 0, None);
        loop {
            let fragment = match self.next_fragment()? {
                Ok(fragment) => fragment,
                Err(other) => return Ok(Err(other)),
            };
            if fragment.is_command || fragment.context != context {
                return Err(WireError::unexpected("a message begins inside another"));
            }
            if !forget {
                let length = fragment.length as u64;
                if bytes.len() as u64 + length > most {
                    limit = Some(Limit::Object);
                } else if !lease.grow(length) {
                    limit = Some(Limit::InFlight);
                }
                if limit.is_some() {
                    forget = true;
                    bytes = Vec::new();
                    lease.give_back();
                }
            }
            if forget {
                self.wire.skip(fragment.length)?;
            } else {
                if bytes.capacity() == 0 {
                    bytes.reserve_exact(self.size_hint.max(fragment.length));
                }
                self.wire.append(fragment.length, &mut bytes)?;
            }
            if fragment.is_last {
                break;
            }
        }
        if forget {
            return Ok(Ok(DataSet::Forgotten(limit)));
        }
        // A little more than this one, since the next slice's header may be a few bytes longer.
        self.size_hint = (bytes.len() + bytes.len() / 64).min(MAX_SIZE_HINT);
        Ok(Ok(DataSet::Held(bytes, lease)))
    }

    /// The next fragment's header, from this PDU or the next P-DATA PDU.
    fn next_fragment(&mut self) -> Result<Result<Fragment, Received>, WireError> {
        if self.pdu_rest == 0
            && let Some(other) = self.begin_pdu()?
        {
            // PS3.8 7.2: a release is only asked for between messages; an abort may come at any time.
            return match other {
                Received::Aborted => Ok(Err(other)),
                _ => Err(WireError::unexpected("a release inside a message")),
            };
        }
        let rest = self.pdu_rest.checked_sub(6).ok_or_else(|| WireError::invalid("a PDV is cut short"))?;
        let [a, b, c, d, context, control] = self.wire.array::<6>()?;
        let length = (u32::from_be_bytes([a, b, c, d]) as usize)
            .checked_sub(2)
            .filter(|&length| length <= rest)
            .ok_or_else(|| WireError::invalid("a PDV is longer than its PDU"))?;
        self.pdu_rest = rest - length;
        Ok(Ok(Fragment { length, context, is_command: control & 1 != 0, is_last: control & 2 != 0 }))
    }

    /// Reads a PDU header: none for P-DATA, else what the PDU says.
    fn begin_pdu(&mut self) -> Result<Option<Received>, WireError> {
        let header = self.wire.pdu_header()?;
        let received = match header.kind {
            kind::P_DATA => {
                if header.length > self.limits.max_pdu || header.length < 6 {
                    return Err(WireError::invalid("a P-DATA PDU's length is outside what was agreed"));
                }
                self.pdu_rest = header.length as usize;
                return Ok(None);
            }
            kind::RELEASE_RQ => Received::Release,
            kind::RELEASE_RP => Received::Released,
            kind::ABORT => return Ok(Some(Received::Aborted)),
            kind::ASSOCIATE_RQ..=kind::ASSOCIATE_RJ => {
                return Err(WireError::unexpected("an A-ASSOCIATE PDU inside an association"));
            }
            _ => return Err(WireError::unrecognised("a PDU of an unknown type")),
        };
        if header.length != 4 {
            return Err(WireError::invalid("a release PDU's length is not 4"));
        }
        self.wire.skip(4)?;
        Ok(Some(received))
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, context: u8, command: &Command, data_set: Option<&[u8]>) -> Result<(), WireError> {
        self.wire.allow(self.limits.message);
        self.out.clear();
        self.command.clear();
        command.encode(&mut self.command);
        let longest = (self.peer_max_pdu.max(MIN_PEER_PDU) - 6) as usize;
        for (bytes, is_command) in [(Some(self.command.as_slice()), 1), (data_set, 0)] {
            let mut chunks = bytes.unwrap_or_default().chunks(longest).peekable();
            while let Some(chunk) = chunks.next() {
                let last = if chunks.peek().is_none() { 2 } else { 0 };
                let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                self.out.extend_from_slice(&[kind::P_DATA, 0]);
                self.out.extend_from_slice(&(length + 6).to_be_bytes());
                self.out.extend_from_slice(&(length + 2).to_be_bytes());
                self.out.extend_from_slice(&[context, is_command | last]);
                self.out.extend_from_slice(chunk);
                if self.out.len() >= WRITE_CHUNK {
                    self.wire.send(&self.out)?;
                    self.out.clear();
                }
            }
        }
        self.wire.send(&self.out)
    }
}
