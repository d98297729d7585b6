//! The receiver's end of the unix socket: a thread a connection, as many as the limits allow.

use std::{
    fs,
    io::{self, BufReader},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam::channel::Sender;

use super::{
    Limits,
    committing::{Committed, Job, append},
    protocol::{Reply, Request, Status, read_line, write_line},
    socket_path, spawn,
    spooling::free_bytes,
};
use crate::{
    hosts::links::Links,
    ledger::{event::Event, reconcile::Reconciled},
};

/// How often the accepting thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(200);
/// A subscriber hears of the ledger at least this often.
const QUIET: Duration = Duration::from_secs(5);

/// The listening socket and its threads; ends them when dropped.
pub(super) struct Server {
    path: PathBuf,
    closing: Arc<AtomicBool>,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    line_bytes: usize,
    committed: Arc<Committed>,
    links: Arc<Links>,
    ingested: u64,
    faults: u64,
    connections: Mutex<Connections>,
}

/// Open connections by number, so that ending the server ends them.
#[derive(Default)]
struct Connections {
    next: u64,
    open: Vec<(u64, UnixStream)>,
}

impl Server {
    pub fn start(
        folder: &Path,
        limits: Limits,
        jobs: Sender<Job>,
        committed: Arc<Committed>,
        (reconciled, links): (&Reconciled, Arc<Links>),
    ) -> io::Result<Self> {
        let path = socket_path(folder);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        // A receive timeout bounds how long `accept` waits, so that the thread ends even where the socket's own path
        // is gone. It belongs to the socket, whichever type the descriptor is held by.
        UnixStream::from(OwnedFd::from(socket.try_clone()?)).set_read_timeout(Some(LOOK))?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            line_bytes: limits.line_bytes,
            committed,
            links,
            ingested: reconciled.ingested,
            faults: reconciled.faults.len() as u64,
            connections: Mutex::default(),
        });
        let closing = Arc::new(AtomicBool::new(false));
        let (stop, inner) = (closing.clone(), shared.clone());
        let listener = spawn("socket", move || {
            for stream in socket.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                if stream.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                    continue;
                }
                let started = stream.and_then(|stream| inner.clone().start(stream, limits.clients, jobs.clone()));
                if let Err(error) = started {
                    tracing::warn!(%error, "a connection to the receiver's socket could not be served");
                    // Too many open files does not pass by itself at once; do not spin on it.
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        })?;
        Ok(Server { path, closing, shared, listener: Some(listener) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        // Spares the wait for the accepting thread's next look.
        let _ = UnixStream::connect(&self.path);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        for (_, stream) in self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner).open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = fs::remove_file(&self.path);
    }
}

impl Shared {
    fn start(self: Arc<Self>, mut stream: UnixStream, most: usize, jobs: Sender<Job>) -> io::Result<()> {
        let number = {
            let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
            if connections.open.len() >= most {
                let reason = format!("{most} connections are open already");
                return write_line(&mut stream, &Reply::Refused { reason });
            }
            connections.next += 1;
            let number = connections.next;
            connections.open.push((number, stream.try_clone()?));
            number
        };
        let shared = self.clone();
        let spawned = spawn("client", move || {
            if let Err(error) = shared.serve(&stream, &jobs) {
                let _ = write_line(&mut stream, &Reply::Refused { reason: error.to_string() });
            }
            shared.forget(number);
        });
        if spawned.is_err() {
            self.forget(number);
        }
        spawned.map(|_| ())
    }

    fn forget(&self, number: u64) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.open.retain(|(open, _)| *open != number);
    }

    fn serve(&self, stream: &UnixStream, jobs: &Sender<Job>) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        while let Some(request) = read_line(&mut reader, self.line_bytes)? {
            let reply = match request {
                Request::Append { events } => self.append(events, jobs),
                Request::Status => Reply::Status(self.status()),
                Request::Subscribe => return self.tell(stream),
            };
            write_line(&mut writer, &reply)?;
        }
        Ok(())
    }

    fn append(&self, events: Vec<Event>, jobs: &Sender<Job>) -> Reply {
        let brings =
            |event: &&Event| matches!(event, Event::InstanceReceived { .. } | Event::InstanceQuarantined { .. });
        if let Some(event) = events.iter().find(brings) {
            return Reply::Refused { reason: format!("{} is the receiver's own to record", event.name()) };
        }
        match append(jobs, events) {
            Ok(seqs) => Reply::Appended { seqs },
            Err(reason) => Reply::Refused { reason },
        }
    }

    fn status(&self) -> Status {
        Status {
            last_seq: self.committed.last(),
            free_bytes: free_bytes(&self.folder),
            trouble: self.committed.trouble(),
            ingested_at_start: self.ingested,
            faults_at_start: self.faults,
            hosts: self.links.all(),
        }
    }

    /// One line now, then one for each advance; what a slow reader misses in between is told with the next.
    fn tell(&self, mut stream: &UnixStream) -> io::Result<()> {
        let mut last_seq = self.committed.last();
        loop {
            write_line(&mut stream, &Reply::Committed { last_seq })?;
            match self.committed.wait_beyond(last_seq, QUIET) {
                Some(now) => last_seq = now,
                None => return Ok(()),
            }
        }
    }
}
