//! A destination that misbehaves: a Storage SCP of our own behind a door that lets each caller in by another mood.
//!
//! Moods are drawn from a bag that holds each of them, so that none is left out for long; the same seed gives the same
//! order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use sulcus_connectors::dimse::scp::{Scp, ScpOptions};
use sulcus_connectors::dimse::sources::SourceRule;
use sulcus_connectors::inbox::{Inbox, Incoming, Stored};

use crate::peer::PeerError;

/// How a caller is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    /// As it should be.
    Good,
    /// Disconnected at once.
    Down,
    /// Served a kilobyte at a time.
    Slow,
    /// Rejected: no association.
    Rejects,
    /// No presentation context is accepted.
    NoContext,
    /// Answered 0xA700, and nothing is kept.
    OutOfResources,
    /// Answered 0xC000, and nothing is kept.
    CannotUnderstand,
    /// Disconnected in the middle of the object.
    ClosesInObject,
    /// The object is kept, and the caller disconnected before it hears of it.
    ClosesBeforeAnswer,
}

impl Mood {
    /// All moods.
    pub const ALL: [Mood; 9] = [
        Mood::Good,
        Mood::Down,
        Mood::Slow,
        Mood::Rejects,
        Mood::NoContext,
        Mood::OutOfResources,
        Mood::CannotUnderstand,
        Mood::ClosesInObject,
        Mood::ClosesBeforeAnswer,
    ];
}

/// What stands at the destination, and how it came there.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Data sets by SOPInstanceUID.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// SOPInstanceUIDs in the order of their first arrivals.
    pub first: Vec<String>,
    /// Objects that came again with the same bytes.
    pub repeated: usize,
    /// SOPInstanceUIDs that came again with other bytes.
    pub conflicts: BTreeSet<String>,
    /// Callers by how they were treated.
    pub moods: BTreeMap<Mood, usize>,
}

#[derive(Default)]
struct Keeper {
    held: Mutex<Held>,
    refusing: Mutex<Option<Mood>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inbox for Keeper {
    fn store(&self, incoming: Incoming) -> Stored {
        let reason = "in a mood".to_owned();
        match *lock(&self.refusing) {
            Some(Mood::OutOfResources) => return Stored::OutOfResources { reason },
            Some(Mood::CannotUnderstand) => return Stored::Failed { reason },
            _ => {}
        }
        let mut held = lock(&self.held);
        let uid = incoming.sop_instance_uid;
        match held.objects.get(&uid) {
            None => {
                held.first.push(uid.clone());
                held.objects.insert(uid.clone(), incoming.data_set);
            }
            Some(known) if *known == incoming.data_set => held.repeated += 1,
            Some(_) => {
                held.conflicts.insert(uid.clone());
            }
        }
        Stored::Kept { series_uid: uid }
    }

    fn released(&self, _: &str, _: Vec<String>, _: bool) {}
}

/// A running destination; dropped, it ends.
pub struct Wayward {
    keeper: Arc<Keeper>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Wayward {
    /// Starts one at this address, with the AE title ORTHANC.
    ///
    /// # Errors
    /// Where the address cannot be listened on.
    pub fn start(address: SocketAddr, seed: u64) -> Result<Wayward, PeerError> {
        let keeper = Arc::new(Keeper::default());
        let options = ScpOptions::new("127.0.0.1:0", "ORTHANC", vec![SourceRule::catch_all("caller")]);
        let scp = Scp::bind(options, keeper.clone())
            .map_err(|error| PeerError::Failed(format!("no destination: {error}")))?;
        let inner = scp.local_addr();
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (of_scp, of_door, at_door) = (stop.clone(), stop.clone(), keeper.clone());
        let mut bag = Bag { seed, left: Vec::new() };
        let door = move || {
            while !of_door.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((caller, _)) => {
                        let mood = bag.draw();
                        *lock(&at_door.held).moods.entry(mood).or_default() += 1;
                        *lock(&at_door.refusing) = Some(mood);
                        // A broken connection is what some moods are for.
                        let _broken = let_in(caller, inner, mood);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(_) => return,
                }
            }
        };
        let threads = vec![std::thread::spawn(move || scp.run(&of_scp)), std::thread::spawn(door)];
        Ok(Wayward { keeper, stop, threads })
    }

    /// What stands there now.
    pub fn held(&self) -> Held {
        lock(&self.keeper.held).clone()
    }
}

impl Drop for Wayward {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

/// Every mood once and the good one twice more, in an order of the seed, again and again.
struct Bag {
    seed: u64,
    left: Vec<Mood>,
}

impl Bag {
    fn draw(&mut self) -> Mood {
        if self.left.is_empty() {
            self.left = [&Mood::ALL[..], &[Mood::Good; 2]].concat();
        }
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let which = (self.seed >> 33) as usize % self.left.len();
        self.left.swap_remove(which)
    }
}

/// Bytes of a caller that pass before it is disconnected: its association request, and some of its object.
const SOME: usize = 3000;

/// Serves one caller until it or the destination ends the connection.
fn let_in(mut caller: TcpStream, destination: SocketAddr, mood: Mood) -> std::io::Result<()> {
    caller.set_nonblocking(false)?;
    caller.set_nodelay(true)?;
    match mood {
        Mood::Down => return Ok(()),
        Mood::Rejects => {
            read_pdu(&mut caller)?;
            // Rejected as transient, by the provider, since a local limit is exceeded (PS3.8 9.3.4).
            caller.write_all(&[3, 0, 0, 0, 0, 4, 0, 2, 3, 2])?;
            return caller.shutdown(Shutdown::Write);
        }
        _ => {}
    }
    let mut server = TcpStream::connect(destination)?;
    server.set_nodelay(true)?;
    let (mut from_caller, mut to_server) = (caller.try_clone()?, server.try_clone()?);
    let inwards = std::thread::spawn(move || {
        let mut buffer = vec![0; if mood == Mood::Slow { 1024 } else { 64 * 1024 }];
        let mut passed = 0;
        while let Ok(count @ 1..) = from_caller.read(&mut buffer) {
            let all = mood != Mood::ClosesInObject || passed + count <= SOME;
            let count = if all { count } else { SOME - passed };
            passed += count;
            if to_server.write_all(buffer.get(..count).unwrap_or_default()).is_err() || !all {
                break;
            }
            if mood == Mood::Slow {
                std::thread::sleep(Duration::from_millis(3));
            }
        }
        let _gone = to_server.shutdown(if mood == Mood::ClosesInObject { Shutdown::Both } else { Shutdown::Write });
    });
    let mut answers = 0;
    while let Ok(mut pdu) = read_pdu(&mut server) {
        answers += usize::from(pdu.first() == Some(&4));
        match mood {
            Mood::NoContext => refuse_contexts(&mut pdu),
            Mood::CannotUnderstand => set_status(&mut pdu, 0xC000),
            Mood::ClosesBeforeAnswer if answers > 0 => break,
            _ => {}
        }
        if caller.write_all(&pdu).is_err() {
            break;
        }
    }
    let (_caller, _server) = (caller.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    let _ended = inwards.join();
    Ok(())
}

/// One whole PDU.
fn read_pdu(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut pdu = vec![0; 6];
    from.read_exact(&mut pdu)?;
    let length = match pdu.get(2..6) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]) as usize,
        _ => 0,
    };
    pdu.resize(6 + length, 0);
    from.read_exact(pdu.get_mut(6..).unwrap_or_default())?;
    Ok(pdu)
}

/// Sets the result of every presentation context in an A-ASSOCIATE-AC to 3: abstract syntax not supported.
fn refuse_contexts(pdu: &mut [u8]) {
    if pdu.first() != Some(&2) {
        return;
    }
    let mut at = 74;
    while let Some(&[kind, _, high, low]) = pdu.get(at..at + 4) {
        if kind == 0x21
            && let Some(result) = pdu.get_mut(at + 6)
        {
            *result = 3;
        }
        at += 4 + usize::from(u16::from_be_bytes([high, low]));
    }
}

/// Sets Status (0000,0900) of a response.
fn set_status(pdu: &mut [u8], status: u16) {
    let head = [0, 0, 0, 9, 2, 0, 0, 0];
    if let Some(at) = pdu.windows(head.len()).position(|window| window == head)
        && let Some(value) = pdu.get_mut(at + head.len()..at + head.len() + 2)
    {
        value.copy_from_slice(&status.to_le_bytes());
    }
}
