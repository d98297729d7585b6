//! The end of the cluster that tells: what this ledger holds of this host's own, to each host that follows it.

use std::{
    io,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::wire::{Ask, Connection, Hello, LOOK, Says, VERSION, Wants, difference};
use crate::{
    lanes::port::StopFlag,
    ledger::{
        LedgerError,
        read::Reader,
        relayed::{Peer, Told},
    },
    receiver::{Receiver, ledger_path, spool_path},
    results_store::ResultsStore,
    spool::read::SpoolReader,
};

/// A follower hears something at least this often.
const ALIVE: Duration = Duration::from_secs(5);
/// Connections that are open at once.
const MOST_CONNECTIONS: usize = 64;
/// Events that are looked at for one message, and the bytes that one carries unless a single event has more.
const EVENTS: usize = 256;
const BYTES: usize = 8 << 20;

/// Tells other hosts what this one's ledger holds.
pub struct Teller<'a> {
    /// This host's name.
    pub own: &'a str,
    /// Names of the hosts that may follow.
    pub others: Vec<&'a str>,
    /// The site's data folder.
    pub data: PathBuf,
    /// Who writes the ledger.
    pub receiver: &'a Receiver,
    /// Stops it.
    pub stop: &'a StopFlag,
}

impl Teller<'_> {
    /// Serves whoever connects until stopped.
    pub fn run(&self, listener: &TcpListener) {
        let open = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            while !self.stop.is_set() {
                let stream = match listener.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        if error.kind() != io::ErrorKind::WouldBlock {
                            tracing::warn!(%error, "cannot accept a connection of another host");
                        }
                        std::thread::sleep(LOOK);
                        continue;
                    }
                };
                if open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                    open.fetch_sub(1, Ordering::Relaxed);
                    tracing::warn!(most = MOST_CONNECTIONS, "too many connections of other hosts; one is closed");
                    continue;
                }
                let open = &open;
                let serve = move || {
                    if let Err(error) = self.serve(stream) {
                        tracing::debug!(%error, "a connection of another host ended");
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                };
                if let Err(error) = std::thread::Builder::new().name("host".to_owned()).spawn_scoped(scope, serve) {
                    open.fetch_sub(1, Ordering::Relaxed);
                    tracing::error!(%error, "cannot start a thread for another host");
                }
            }
        });
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut connection = Connection::of(stream)?;
        let hello: Hello = connection.hear()?;
        let reader = Reader::open(&ledger_path(&self.data)).map_err(io::Error::other)?;
        let refused = self.refusal(&hello);
        let refused = match (&refused, &hello.wants) {
            (None, Wants::Events { known, .. }) => self.refusal_of_events(&hello, known, &reader)?,
            _ => refused,
        };
        if let Some(reason) = refused {
            tracing::warn!(host = hello.host, reason, "another host is refused");
            return connection.say(&Says::Refused { reason });
        }
        let identity = reader.identity().map_err(io::Error::other)?.unwrap_or_default();
        connection.say(&Says::Welcome { identity })?;
        match hello.wants {
            Wants::Events { known, .. } => self.tell(&mut connection, &reader, known),
            Wants::Bytes => self.give(&mut connection, &reader),
        }
    }

    /// Why a host is not spoken to, if so.
    fn refusal(&self, hello: &Hello) -> Option<String> {
        let own = self.own;
        if hello.version != VERSION {
            let (theirs, ours) = (hello.version, VERSION);
            return Some(format!("host {own} speaks version {ours} and not {theirs}: start the same program on both"));
        }
        if hello.to != own {
            return Some(format!("this is host {own} and not {}: check its address in [[cluster.peer]]", hello.to));
        }
        (!self.others.contains(&hello.host.as_str()))
            .then(|| format!("host {own} does not name {} in [[cluster.peer]]: add it there", hello.host))
    }

    /// Why a host is not told events, if so.
    fn refusal_of_events(&self, hello: &Hello, known: &Peer, reader: &Reader) -> io::Result<Option<String>> {
        let Wants::Events { rules, .. } = &hello.wants else { return Ok(None) };
        let (own, theirs) = (self.own, &hello.host);
        let ours = reader.rules().map_err(io::Error::other)?;
        if let Some(difference) = difference(ours.as_ref(), rules.as_ref()) {
            return Ok(Some(format!(
                "hosts {own} and {theirs} work by different rules, {difference}: give both the same configuration"
            )));
        }
        let identity = reader.identity().map_err(io::Error::other)?.unwrap_or_default();
        if known.upto > 0 && known.identity != identity {
            return Ok(Some(format!(
                "host {own} has another ledger than {theirs} followed: give a host that lost its ledger a new name"
            )));
        }
        let last_seq = reader.last_seq().map_err(io::Error::other)?;
        Ok((known.upto > last_seq).then(|| {
            format!(
                "the ledger of host {own} ends at event {last_seq}, and {theirs} followed it up to {}: it was cut or \
                 restored from a copy; give the host a new name",
                known.upto
            )
        }))
    }

    /// Tells events for as long as anybody listens and the rules are those that were compared.
    fn tell(&self, connection: &mut Connection, reader: &Reader, known: Peer) -> io::Result<()> {
        let failed = |error: LedgerError| io::Error::other(error);
        let compared = reader.rules().map_err(failed)?;
        let (mut upto, mut said) = (known.upto, Instant::now());
        while !self.stop.is_set() {
            if self.receiver.last_seq() > upto {
                let (told, looked_at) = reader.told_after(upto, EVENTS).map_err(failed)?;
                if reader.rules().map_err(failed)? != compared {
                    // They are compared anew.
                    return Ok(());
                }
                for part in parts(told, looked_at)? {
                    connection.say(&part)?;
                }
                (upto, said) = (looked_at, Instant::now());
            } else if said.elapsed() > ALIVE {
                connection.say(&Says::Alive)?;
                said = Instant::now();
            } else {
                self.receiver.wait_beyond(upto, LOOK);
            }
        }
        Ok(())
    }

    /// Gives bytes for as long as anybody asks.
    fn give(&self, connection: &mut Connection, reader: &Reader) -> io::Result<()> {
        let mut spool = SpoolReader::new(&spool_path(&self.data));
        let results = ResultsStore::open(&self.data).map_err(io::Error::other)?;
        while connection.is_heard(self.stop)? {
            let bytes = match connection.hear()? {
                Ask::Instance { sop_instance_uid, digest } => {
                    let held = reader.held(&sop_instance_uid).map_err(io::Error::other)?;
                    let held = held.filter(|held| held.digest == digest).ok_or("it is not held here".to_owned());
                    held.and_then(|held| spool.data_set(&held.place).map_err(|error| error.to_string()))
                        .map(|(_, data_set)| data_set)
                }
                Ask::Result { digest } => results.get(&digest).map_err(|error| error.to_string()),
            };
            match bytes {
                Ok(bytes) => {
                    connection.say(&Says::Bytes { length: bytes.len() as u64 })?;
                    connection.send(&bytes)?;
                }
                Err(reason) => connection.say(&Says::Refused { reason })?,
            }
        }
        Ok(())
    }
}

/// Events in messages of bounded length; the last reaches up to `looked_at`.
fn parts(told: Vec<Told>, looked_at: u64) -> io::Result<Vec<Says>> {
    let (mut parts, mut events, mut bytes) = (Vec::new(), Vec::<Told>::new(), 0);
    for one in told {
        let length = serde_json::to_vec(&one)?.len();
        if bytes + length > BYTES
            && let Some(last) = events.last()
        {
            parts.push(Says::Told { upto: last.seq, events: std::mem::take(&mut events) });
            bytes = 0;
        }
        bytes += length;
        events.push(one);
    }
    parts.push(Says::Told { events, upto: looked_at });
    Ok(parts)
}
