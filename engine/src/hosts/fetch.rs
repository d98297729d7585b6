//! Bytes of another host, for a run that is compared with a visit which was scanned there.

use std::{collections::BTreeMap, fs, io, net::SocketAddr, path::PathBuf};

use sulcus_config::Site;
use sulcus_operators::{digest::Digest, rows::InstanceFacts};

use super::wire::{Ask, Connection, Hello, Says, VERSION, Wants};
use crate::results_store::ResultsStore;

/// Most bytes that one instance or result may have.
const MOST_BYTES: u64 = 4 << 30;

/// Fetches bytes from other hosts. What it fetched of instances is gone with it.
#[derive(Default)]
pub struct Fetcher {
    own: String,
    peers: BTreeMap<String, SocketAddr>,
    data: PathBuf,
    folder: PathBuf,
}

impl Fetcher {
    /// As a site's configuration says; one for each lane, by its name.
    pub fn of(site: &Site, lane: &str) -> Self {
        let peers = site.cluster.iter().flat_map(|cluster| &cluster.peers);
        Fetcher {
            own: site.cluster.as_ref().map(|cluster| cluster.host.clone()).unwrap_or_default(),
            peers: peers.map(|peer| (peer.name.clone(), peer.address)).collect(),
            data: site.site.data.clone(),
            folder: site.site.data.join("cache").join(format!("fetched-{lane}")),
        }
    }

    /// Removes what was fetched of instances.
    pub fn clear(&self) {
        // Where it cannot be removed now, the next run does it.
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// Fetches an instance's data set into a file.
    ///
    /// # Errors
    /// Why it could not be had, in words.
    pub fn instance(&self, link: &mut Link, facts: &InstanceFacts) -> Result<PathBuf, String> {
        let digest = facts.data_set_digest;
        let bytes = link.ask(&Ask::Instance { sop_instance_uid: facts.sop_instance_uid.clone(), digest }, &digest)?;
        let path = self.folder.join(digest.to_string());
        let write = || {
            fs::create_dir_all(&self.folder)?;
            fs::write(&path, bytes)
        };
        write().map_err(|error| format!("it cannot be kept: {error}"))?;
        Ok(path)
    }

    /// Brings a result into the results store from whichever host has it, unless it is there. A site that works alone
    /// has nowhere to look.
    ///
    /// # Errors
    /// Why it could not be had, in words.
    pub fn bring(&self, digest: &Digest) -> Result<(), String> {
        if self.peers.is_empty() {
            return Ok(());
        }
        let results = ResultsStore::open(&self.data).map_err(|error| error.to_string())?;
        if results.path(digest).exists() {
            return Ok(());
        }
        let mut reasons = Vec::new();
        for host in self.peers.keys() {
            let bytes = self.link(host).and_then(|mut link| link.ask(&Ask::Result { digest: *digest }, digest));
            match bytes {
                Ok(bytes) => return results.put(&bytes).map(|_| ()).map_err(|error| error.to_string()),
                Err(reason) => reasons.push(format!("host {host}: {reason}")),
            }
        }
        Err(reasons.join("; "))
    }

    /// Opens a connection to a host.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn link(&self, host: &str) -> Result<Link, String> {
        let address = self.peers.get(host).ok_or("the configuration no longer names it")?;
        let mut connection = Connection::open(*address).map_err(|error| format!("it is not reached: {error}"))?;
        let hello = Hello { version: VERSION, host: self.own.clone(), to: host.to_owned(), wants: Wants::Bytes };
        let answer = connection.say(&hello).and_then(|()| connection.hear());
        match answer.map_err(|error| format!("it does not answer: {error}"))? {
            Says::Welcome { .. } => Ok(Link(connection)),
            Says::Refused { reason } => Err(reason),
            other => Err(format!("it answers with {other:?}")),
        }
    }
}

/// A connection over which bytes are asked for.
pub struct Link(Connection);

impl Link {
    /// Bytes that have this digest.
    fn ask(&mut self, ask: &Ask, digest: &Digest) -> Result<Vec<u8>, String> {
        let broken = |error: io::Error| format!("the connection broke: {error}");
        self.0.say(ask).map_err(broken)?;
        let bytes = match self.0.hear().map_err(broken)? {
            Says::Bytes { length } if length <= MOST_BYTES => self.0.take(length).map_err(broken)?,
            Says::Refused { reason } => return Err(reason),
            other => return Err(format!("it answers with {other:?}")),
        };
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err("what came is damaged".to_owned()) }
    }
}
