//! Several hosts that work as one: what this one is called, where the others reach it, and where it reaches them.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problems::Checks;
use crate::rules;

/// `[cluster]`: hosts that each have their own receiver, ledger and devices, and tell one another what happens. Their
/// rules are the same; what they tell is neither signed nor encrypted, so their network is to be a private one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// This host's name: other than that of every other, and kept for as long as its ledger.
    pub host: String,
    /// Where the others reach it, `IP:PORT`.
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// `[[cluster.peer]]`: the others. One that is gone for good is to be taken out.
    #[serde(default, rename = "peer")]
    pub peers: Vec<Peer>,
}

/// `[[cluster.peer]]`: another host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What it calls itself.
    pub name: String,
    /// Where it is reached, `IP:PORT`.
    #[schemars(with = "String")]
    pub address: SocketAddr,
}

impl Cluster {
    pub(crate) fn check(&self, checks: &mut Checks<'_>) {
        let mut at = checks.within("cluster");
        rules::name(&mut at, "host", &self.host);
        if self.address.port() == 0 {
            at.problem("address", "address has port 0; name the port that the other hosts are told".to_owned());
        }
        for (index, peer) in self.peers.iter().enumerate() {
            let mut list_at = at.within("peer");
            let mut at = list_at.within(index);
            rules::name(&mut at, "name", &peer.name);
            let earlier = self.peers.iter().take(index).map(|peer| peer.name.as_str());
            if earlier.chain([self.host.as_str()]).any(|name| name == peer.name) {
                let name = &peer.name;
                at.problem("name", format!("two hosts of the cluster are named \"{name}\"; give each its own name"));
            }
            if peer.address == self.address {
                at.problem("address", "address is this host's own; name the other host's".to_owned());
            }
        }
    }
}
