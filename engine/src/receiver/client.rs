//! The other end of the receiver's socket: for the engine, and for commands that tell it something.

use std::{
    io::{self, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use sulcus_operators::rows::Seq;

use super::{
    Limits,
    protocol::{Reply, Request, Status, read_line, write_line},
    socket_path,
};
use crate::ledger::event::{Because, Event, Scope};

/// How long an answer may take before the connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the receiver could not be told.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke: the events may or may not be recorded, and may be appended again.
    #[error("the receiver at {socket} does not answer: start `sulcus serve`, or try again")]
    Io {
        /// The socket.
        socket: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Nothing was appended.
    #[error("the receiver refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// A connection to a receiver, opened when first used and again after it broke.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

impl Client {
    /// A client of the receiver that works on this data folder. Does not connect yet.
    pub fn new(folder: &Path) -> Self {
        Client { socket: socket_path(folder), stream: None }
    }

    /// Appends events as part of one epoch; returns their sequence numbers when they are durable. After
    /// [`ClientError::Io`] the same events may be appended again (see [`super::protocol`]).
    pub fn append(&mut self, events: Vec<Event>) -> Result<Vec<Seq>, ClientError> {
        match self.ask(&Request::Append { events })? {
            Reply::Appended { seqs } => Ok(seqs),
            other => Err(self.unexpected(other)),
        }
    }

    /// Takes instances back.
    pub fn withdraw(&mut self, scope: Scope, reason: &str, because: Option<Because>) -> Result<Vec<Seq>, ClientError> {
        self.append(vec![Event::InstanceWithdrawn { scope, reason: reason.to_owned(), because }])
    }

    /// How the receiver is.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            other => Err(self.unexpected(other)),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let socket = self.socket.clone();
        let reply = self.exchange(request).map_err(|source| ClientError::Io { socket, source });
        if reply.is_err() {
            // A late answer must not be taken for the next one's.
            self.stream = None;
        }
        match reply? {
            Reply::Refused { reason } => Err(ClientError::Refused { reason }),
            reply => Ok(reply),
        }
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Reply> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(BufReader::new(connect(&self.socket)?)),
        };
        write_line(stream.get_mut(), request)?;
        read_line(stream, Limits::default().line_bytes)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn unexpected(&mut self, reply: Reply) -> ClientError {
        self.stream = None;
        let source = io::Error::new(io::ErrorKind::InvalidData, format!("an answer to something else: {reply:?}"));
        ClientError::Io { socket: self.socket.clone(), source }
    }
}

fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Tells how far the ledger reaches: the present end at once, then every advance, and the same again every five
/// seconds. Ends after the first error; subscribe again then.
#[derive(Debug)]
pub struct Subscription {
    stream: Option<BufReader<UnixStream>>,
}

impl Subscription {
    /// Subscribes to the receiver that works on this data folder.
    pub fn open(folder: &Path) -> Result<Self, ClientError> {
        let socket = socket_path(folder);
        let open = || {
            let mut stream = connect(&socket)?;
            write_line(&mut stream, &Request::Subscribe)?;
            Ok(Subscription { stream: Some(BufReader::new(stream)) })
        };
        open().map_err(|source| ClientError::Io { socket: socket.clone(), source })
    }
}

impl Iterator for Subscription {
    type Item = io::Result<Seq>;

    fn next(&mut self) -> Option<Self::Item> {
        let told = match read_line(self.stream.as_mut()?, Limits::default().line_bytes) {
            Ok(Some(Reply::Committed { last_seq })) => return Some(Ok(last_seq)),
            Ok(Some(other)) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected: {other:?}"))),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(error),
        };
        self.stream = None;
        Some(told)
    }
}
