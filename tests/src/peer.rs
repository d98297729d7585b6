//! What all peers have in common: where their programs lie, how they run and end, how a test without them skips.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Why a peer did not do what a test asked of it.
#[derive(Debug)]
pub enum PeerError {
    /// It is not installed; the test is to skip.
    Absent(String),
    /// It is there and went wrong; the test is to fail.
    Failed(String),
}

impl PeerError {
    pub(crate) fn failed(what: impl Into<String>) -> PeerError {
        PeerError::Failed(what.into())
    }
}

impl From<std::io::Error> for PeerError {
    fn from(error: std::io::Error) -> Self {
        PeerError::Failed(error.to_string())
    }
}

/// What a peer gave; `None`, with a line that says so, where it is not installed.
///
/// # Panics
/// Where the peer is there and failed.
#[track_caller]
pub fn or_skip<T>(outcome: Result<T, PeerError>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(PeerError::Absent(reason)) => {
            skip(&reason);
            None
        }
        Err(PeerError::Failed(reason)) => panic!("{reason}"),
    }
}

/// Says that the running test skips and why: on standard error, and in the file that `SULCUS_SKIPPED` names, from
/// which `cargo xtask test` prints a list at its end.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    eprint!("{line}");
    if let Some(list) = std::env::var_os("SULCUS_SKIPPED")
        && let Ok(mut list) = OpenOptions::new().create(true).append(true).open(list)
    {
        // The list is a courtesy; the line above has been printed.
        let _written = list.write_all(line.as_bytes());
    }
}

/// Where a program lies.
///
/// # Errors
/// [`PeerError::Absent`], naming the package to install.
pub fn program(name: &str, package: &str) -> Result<PathBuf, PeerError> {
    // System folders first: Python environments carry other programs of the same names.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = ["/usr/bin", "/usr/sbin"].map(PathBuf::from).into_iter().chain(std::env::split_paths(&path));
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| PeerError::Absent(format!("{name} is not installed (package {package})")))
}

/// A port of the loopback address that nobody listens on at this moment.
///
/// # Errors
/// Where the system has none.
pub fn free_port() -> Result<u16, PeerError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A peer's process; dropped, it is killed and waited for.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command that writes what it says to `log`.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn start(command: &mut Command, log: &Path) -> Result<Running, PeerError> {
        let file = File::create(log)?;
        let same = file.try_clone()?;
        let command = command.stdin(Stdio::null()).stdout(file).stderr(same).env("TCP_NODELAY", "1");
        let child = command.spawn().map_err(|error| PeerError::failed(format!("cannot start {command:?}: {error}")))?;
        Ok(Running { child, log: log.to_owned() })
    }

    /// Waits until the process accepts connections.
    ///
    /// # Errors
    /// Where it ends before, or 30 seconds have passed; the message holds what it said.
    pub fn wait_for(&mut self, address: SocketAddr) -> Result<(), PeerError> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) {
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(PeerError::failed(format!(
                    "a peer ended with {status} before it listened: {}",
                    self.said()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(PeerError::failed(format!("a peer does not listen on {address}: {}", self.said())))
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process has said so far.
    pub fn said(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only where the process has ended already.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}
