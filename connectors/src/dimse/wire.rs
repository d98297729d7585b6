//! One TCP connection as a stream of PDU bytes, under deadlines: a peer that stalls or drips is given up on.
//!
//! P-DATA is framed here rather than by `dicom_ul::pdu::read_pdu`, which copies every fragment twice; the other PDUs are
//! rare and small and are read and written by `dicom-ul`. What the bytes mean is for `message` and `association`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dicom_ul::pdu::{self, AbortRQServiceProviderReason, AbortRQSource, Pdu};
use thiserror::Error;

/// Bytes asked of the socket at once.
const READ_BUFFER: usize = 256 * 1024;
/// A fragment with at least this much still to come is read straight into its data set.
const DIRECT_READ: usize = 32 * 1024;
/// The longest A-ASSOCIATE PDU taken: 128 contexts with 40 transfer syntaxes each stay below 400 KiB.
const MAX_NEGOTIATION: u32 = 1024 * 1024;
/// How often a waiting read looks at its deadline and at the stop flag.
const TICK: Duration = Duration::from_millis(200);

/// PDU types (PS3.8 9.3.1).
pub(crate) mod kind {
    pub(crate) const ASSOCIATE_RQ: u8 = 1;
    pub(crate) const ASSOCIATE_AC: u8 = 2;
    pub(crate) const ASSOCIATE_RJ: u8 = 3;
    pub(crate) const P_DATA: u8 = 4;
    pub(crate) const RELEASE_RQ: u8 = 5;
    pub(crate) const RELEASE_RP: u8 = 6;
    pub(crate) const ABORT: u8 = 7;
}

/// Why a connection cannot go on.
#[derive(Debug, Error)]
pub enum WireError {
    /// The peer closed or reset the connection.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    /// The peer was silent, or slower than the limits allow.
    #[error("the peer sent nothing, or too slowly, for {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The receiver is being stopped.
    #[error("the receiver is stopping")]
    Stopped,
    /// The peer broke the protocol.
    #[error("protocol error: {what}")]
    Protocol {
        /// What it did.
        what: &'static str,
        /// The reason that goes into our A-ABORT.
        reason: AbortRQServiceProviderReason,
    },
}

impl WireError {
    pub(crate) fn invalid(what: &'static str) -> WireError {
        WireError::Protocol { what, reason: AbortRQServiceProviderReason::InvalidPduParameter }
    }

    pub(crate) fn unexpected(what: &'static str) -> WireError {
        WireError::Protocol { what, reason: AbortRQServiceProviderReason::UnexpectedPdu }
    }

    pub(crate) fn unrecognised(what: &'static str) -> WireError {
        WireError::Protocol { what, reason: AbortRQServiceProviderReason::UnrecognizedPdu }
    }
}

/// The first six bytes of a PDU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PduHeader {
    pub(crate) kind: u8,
    pub(crate) length: u32,
}

/// How long the peer may take from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a single byte.
    pub(crate) silence: Duration,
    /// Altogether, until the next patience is set.
    pub(crate) total: Duration,
}

/// One connection with its read buffer.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    patience: Patience,
    deadline: Instant,
    stop: Option<Arc<AtomicBool>>,
}

impl Wire {
    /// Takes over a connected socket: TCP_NODELAY on, reads waking up every tick. `stop` ends waiting reads.
    pub(crate) fn new(stream: TcpStream, patience: Patience, stop: Option<Arc<AtomicBool>>) -> io::Result<Wire> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        let tick = TICK.min(patience.silence).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(tick))?;
        stream.set_write_timeout(Some(patience.silence.max(Duration::from_millis(1))))?;
        let buffer = vec![0; READ_BUFFER].into_boxed_slice();
        Ok(Wire { stream, buffer, start: 0, end: 0, patience, deadline: Instant::now() + patience.total, stop })
    }

    /// Starts a new deadline.
    pub(crate) fn allow(&mut self, patience: Patience) {
        self.patience = patience;
        self.deadline = Instant::now() + patience.total;
    }

    /// Whether the receiver was told to stop.
    pub(crate) fn stopping(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    /// Waits for a byte to be there; false where none comes within the patience. Nothing is taken.
    pub(crate) fn wait(&mut self) -> Result<bool, WireError> {
        if self.start < self.end {
            return Ok(true);
        }
        match self.refill() {
            Ok(()) => Ok(true),
            Err(WireError::TimedOut(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the next PDU's type and length.
    pub(crate) fn pdu_header(&mut self) -> Result<PduHeader, WireError> {
        let [kind, _, a, b, c, d] = self.array::<6>()?;
        Ok(PduHeader { kind, length: u32::from_be_bytes([a, b, c, d]) })
    }

    /// Reads exactly `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        loop {
            let buffered = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some(bytes) = buffered.first_chunk::<N>() {
                self.start += N;
                return Ok(*bytes);
            }
            self.refill()?;
        }
    }

    /// Appends exactly `count` bytes to `out`.
    pub(crate) fn append(&mut self, mut count: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
        loop {
            let buffered = self.buffer.get(self.start..self.end).unwrap_or_default();
            let taken = buffered.get(..count).unwrap_or(buffered);
            out.extend_from_slice(taken);
            self.start += taken.len();
            count -= taken.len();
            if count == 0 {
                return Ok(());
            }
            if count >= DIRECT_READ {
                return self.append_direct(count, out);
            }
            self.refill()?;
        }
    }

    /// Reads `count` bytes from the socket into `out`, past the buffer, which must be empty.
    fn append_direct(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), WireError> {
        let mut at = out.len();
        out.resize(at + count, 0);
        while let Some(space) = out.get_mut(at..).filter(|space| !space.is_empty()) {
            at += receive(&self.stream, self.patience, self.deadline, self.stop.as_deref(), space)?;
        }
        Ok(())
    }

    /// Reads and forgets `count` bytes.
    pub(crate) fn skip(&mut self, mut count: usize) -> Result<(), WireError> {
        loop {
            let taken = count.min(self.end - self.start);
            self.start += taken;
            count -= taken;
            if count == 0 {
                return Ok(());
            }
            self.refill()?;
        }
    }

    /// Reads the rest of a PDU other than P-DATA.
    pub(crate) fn pdu(&mut self, header: PduHeader) -> Result<Pdu, WireError> {
        if header.length > MAX_NEGOTIATION {
            return Err(WireError::invalid("a PDU is longer than any negotiation needs"));
        }
        let mut bytes = vec![header.kind, 0];
        bytes.extend_from_slice(&header.length.to_be_bytes());
        // In steps, so that memory follows what is there and not what the length promises.
        let mut rest = header.length as usize;
        while rest > 0 {
            let step = rest.min(DIRECT_READ - 1);
            self.append(step, &mut bytes)?;
            rest -= step;
        }
        match pdu::read_pdu(bytes.as_slice(), MAX_NEGOTIATION, true) {
            Ok(Some(pdu)) => Ok(pdu),
            Ok(None) | Err(_) => Err(WireError::invalid("a PDU cannot be read")),
        }
    }

    /// Writes all of `bytes` at once.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(WireError::Lost(ErrorKind::WriteZero.into())),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(WireError::TimedOut(self.patience.silence)),
                Err(error) => return Err(WireError::Lost(error)),
            }
            if !bytes.is_empty() && Instant::now() > self.deadline {
                return Err(WireError::TimedOut(self.patience.total));
            }
        }
        Ok(())
    }

    /// Writes one PDU by `dicom-ul`.
    pub(crate) fn send_pdu(&mut self, pdu: &Pdu) -> Result<(), WireError> {
        let mut bytes = Vec::new();
        pdu::write_pdu(&mut bytes, pdu).map_err(|_| WireError::invalid("a PDU cannot be written"))?;
        self.send(&bytes)
    }

    /// Sends A-ABORT and closes. Failures do not matter: the connection ends either way.
    pub(crate) fn abort(&mut self, source: AbortRQSource) {
        let _ = self.send_pdu(&Pdu::AbortRQ { source });
        self.close();
    }

    /// Ends our side, then gives the peer a moment to read what we said: closing with unread bytes would reset the
    /// connection, and a reset may overtake the last PDU.
    pub(crate) fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let deadline = Instant::now() + Duration::from_millis(500);
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(50)));
        while Instant::now() < deadline && matches!(self.stream.read(&mut self.buffer), Ok(count) if count > 0) {}
    }

    fn refill(&mut self) -> Result<(), WireError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let space = self.buffer.get_mut(self.end..).unwrap_or_default();
        self.end += receive(&self.stream, self.patience, self.deadline, self.stop.as_deref(), space)?;
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// One read that returns at least one byte.
fn receive(
    mut stream: &TcpStream,
    patience: Patience,
    deadline: Instant,
    stop: Option<&AtomicBool>,
    into: &mut [u8],
) -> Result<usize, WireError> {
    let started = Instant::now();
    if started > deadline {
        return Err(WireError::TimedOut(patience.total));
    }
    loop {
        match stream.read(into) {
            Ok(0) => return Err(WireError::Lost(ErrorKind::UnexpectedEof.into())),
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => {
                let now = Instant::now();
                if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    return Err(WireError::Stopped);
                }
                if now > deadline {
                    return Err(WireError::TimedOut(patience.total));
                }
                if now.duration_since(started) >= patience.silence {
                    return Err(WireError::TimedOut(patience.silence));
                }
            }
            Err(error) => return Err(WireError::Lost(error)),
        }
    }
}
