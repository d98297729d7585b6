//! The receiver process: the Storage SCP and the watched folders of a site, joined to its spool and ledger, and to the
//! other hosts of its cluster.

use std::{net::TcpListener, sync::Arc, time::Duration};

use sulcus_config::{Cluster, Site, Source};
use sulcus_connectors::{
    dimse::scp::{Scp, ScpOptions},
    folder::{FolderLimits, Watch},
    inbox::{Inbox, Incoming},
};
use sulcus_operators::{header, rows::InstanceFacts, volume::Encoded};

use crate::{
    failure::Hinted,
    hosts::{follow::Follower, tell::Teller},
    lanes::port::StopFlag,
    receiver::{Limits, Receiver},
};

/// How often a watched folder is looked at. A file is taken when two looks find it unchanged.
const POLL: Duration = Duration::from_millis(500);

/// Opens a site's spool and ledger for receiving; reconciles them first.
pub fn open(site: &Site) -> Result<Receiver, Hinted> {
    let limits = Limits { minimum_free: u64::from(site.receiver.min_free_mib) << 20, ..Limits::default() };
    let data = &site.site.data;
    let receiver = Receiver::open(data, limits, Box::new(facts)).map_err(|error| {
        Hinted::work(
            format!("the data folder {} cannot be opened: {error}", data.display()),
            "only one receiver may use it",
        )
    })?;
    tracing::info!(reconciled = ?receiver.reconciled(), "ledger open");
    Ok(receiver)
}

fn facts(incoming: &Incoming) -> Result<InstanceFacts, String> {
    let encoded = Encoded { transfer_syntax: &incoming.transfer_syntax, data_set: &incoming.data_set };
    header::facts(encoded, &incoming.source).map_err(|error| error.to_string())
}

/// Listens for the other hosts of a cluster.
fn listen(cluster: &Cluster) -> Result<TcpListener, Hinted> {
    let listener = TcpListener::bind(cluster.address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        Hinted::work(
            format!("cannot listen for other hosts on {}: {error}", cluster.address),
            "choose a free port of this host in `cluster.address`, or stop whatever holds it",
        )
    })
}

/// Receives until stopped.
pub fn receive(site: &Site, stop: &StopFlag) -> Result<(), Hinted> {
    let receiver = Arc::new(open(site)?);
    let inbox: Arc<dyn Inbox> = receiver.clone();
    let scp = Scp::bind(ScpOptions::of_site(site), inbox.clone()).map_err(|error| {
        Hinted::work(
            format!("cannot listen on {}: {error}", site.receiver.address),
            "choose a free port in `receiver.address`, or stop whatever holds it",
        )
    })?;
    let mut watches = Vec::new();
    for source in &site.sources {
        if let Source::Folder(folder) = source {
            let watch = Watch::new(&folder.path, &folder.name, FolderLimits::default()).map_err(|error| {
                Hinted::usage(
                    format!("source {}: {error}", folder.name),
                    "name a folder that may be read and written in `path`",
                )
            })?;
            watches.push(watch);
        }
    }
    let cluster = site.cluster.as_ref().map(|cluster| Ok::<_, Hinted>((cluster, listen(cluster)?))).transpose()?;
    std::thread::scope(|scope| {
        if let Some((cluster, listener)) = &cluster {
            let (own, data, receiver) = (cluster.host.as_str(), site.site.data.clone(), receiver.as_ref());
            let others = cluster.peers.iter().map(|peer| peer.name.as_str()).collect();
            let teller = Teller { own, others, data: data.clone(), receiver, stop };
            scope.spawn(move || teller.run(listener));
            for peer in &cluster.peers {
                let follower = Follower { own, peer, data: data.clone(), receiver, stop };
                scope.spawn(move || follower.run());
            }
        }
        for watch in &mut watches {
            scope.spawn(|| watch.run(POLL, inbox.as_ref(), stop.flag()));
        }
        tracing::info!(address = %scp.local_addr(), "listening");
        scp.run(stop.flag());
    });
    Ok(())
}
