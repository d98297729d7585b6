//! A network link between two hosts that a test can cut: a relay of TCP connections that goes silent, as a pulled plug
//! does, and takes no new ones until it is mended.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::peer::PeerError;

/// How often a waiting thread looks whether the link was cut or is gone.
const LOOK: Duration = Duration::from_millis(20);

/// A link to one address.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    gone: AtomicBool,
    bytes: AtomicU64,
}

impl Link {
    /// A link on a free port of this machine that leads to `to`.
    ///
    /// # Errors
    /// Where it cannot listen.
    pub fn to(to: SocketAddr) -> Result<Link, PeerError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let (address, state) = (listener.local_addr()?, Arc::new(State::default()));
        let inner = state.clone();
        std::thread::spawn(move || {
            while !inner.gone.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((near, _)) if !inner.cut.load(Ordering::Relaxed) => join(near, to, &inner),
                    // One that comes while the link is cut is closed at once.
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        });
        Ok(Link { address, state })
    }

    /// Where it is entered.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on nothing passes, and nobody is told.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::Relaxed);
    }

    /// New connections pass again; those that were cut stay so.
    pub fn mend(&self) {
        self.state.cut.store(false, Ordering::Relaxed);
    }

    /// How many bytes passed, both ways.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.gone.store(true, Ordering::Relaxed);
    }
}

fn join(near: TcpStream, to: SocketAddr, state: &Arc<State>) {
    let Ok(far) = TcpStream::connect(to) else { return };
    let lost = Arc::new(AtomicBool::new(false));
    for (from, into) in [(&near, &far), (&far, &near)] {
        let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) else { return };
        let (state, lost) = (state.clone(), lost.clone());
        std::thread::spawn(move || pass(from, into, &state, &lost));
    }
}

/// Passes bytes on until either end closes. Once the link was cut, this connection is silent for good.
fn pass(mut from: TcpStream, mut into: TcpStream, state: &State, lost: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    if from.set_nonblocking(false).and_then(|()| from.set_read_timeout(Some(LOOK))).is_err() {
        return;
    }
    while !state.gone.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if state.cut.load(Ordering::Relaxed) {
                    lost.store(true, Ordering::Relaxed);
                }
                if !lost.load(Ordering::Relaxed) {
                    state.bytes.fetch_add(count as u64, Ordering::Relaxed);
                    if into.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if state.cut.load(Ordering::Relaxed) {
                    lost.store(true, Ordering::Relaxed);
                }
            }
            Err(_) => break,
        }
    }
    if !lost.load(Ordering::Relaxed) {
        // The other end may have closed it already.
        let _ = into.shutdown(std::net::Shutdown::Both);
    }
}
