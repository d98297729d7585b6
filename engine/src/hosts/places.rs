//! Which host does what of a study: each row that the graph wants has one home, and only the home acts on it.
//!
//! A scan is worked on where its bytes are; the host that issued a revision encodes its objects, the one that encoded an
//! object delivers it. Every host sees the same events of a study, each host's in their order, so all agree on the home
//! once they have heard of each other; which of them hears first changes nothing, since hosts that hold the same are told
//! apart by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sulcus_operators::{
    digest::Digest,
    rows::{RunOrder, Seq},
};

use super::Hosts;
use crate::{
    graph::{DeliveryToDo, ObjectToEncode, RevisionToIssue, inputs::ReportKey},
    ledger::event::{Arrival, Entry, Event, RevisionKey},
};

/// The host that acts on a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// This one.
    Here,
    /// Another one.
    At(String),
    /// None, for this reason, until somebody does something.
    Nowhere {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
}

/// Which hosts the parts of a study came to and were made on. A host is none for this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// All hosts that received something of the study.
    hosts: BTreeSet<Option<String>>,
    /// Instances that another host received first, by event.
    first: HashMap<Seq, String>,
    /// Further hosts that the same instance came to, by the event that brought it first.
    copies: BTreeMap<Seq, BTreeSet<Option<String>>>,
    /// Instances under whose UID another host holds other bytes.
    contested: BTreeMap<Seq, BTreeSet<Option<String>>>,
    /// Revisions that other hosts issued.
    issued: BTreeMap<RevisionKey, String>,
    /// Who issued the newest revision of each report.
    newest: BTreeMap<ReportKey, Option<String>>,
    /// Objects that other hosts encoded.
    encoded: BTreeMap<Digest, String>,
}

impl Places {
    /// Notes what an event of the study says of hosts.
    pub fn note(&mut self, entry: &Entry) {
        let host = || entry.host.clone();
        match &entry.event {
            Event::InstanceReceived { arrival, .. } => {
                if !self.hosts.contains(&entry.host) {
                    self.hosts.insert(host());
                }
                match arrival {
                    Arrival::New => self.first.extend(host().map(|host| (entry.seq, host))),
                    Arrival::Repeated { first } if self.first_of(*first) != entry.host => {
                        self.copies.entry(*first).or_default().insert(host());
                    }
                    Arrival::Conflict { first } if self.first_of(*first) != entry.host => {
                        self.contested.entry(*first).or_default().insert(host());
                    }
                    Arrival::Repeated { .. } | Arrival::Conflict { .. } => {}
                }
            }
            Event::RevisionIssued { key, .. } => {
                self.issued.extend(host().map(|host| (key.clone(), host)));
                self.newest.insert((key.study_uid.clone(), key.pipeline.clone()), host());
            }
            Event::ObjectEncoded { object, .. } => self.encoded.extend(host().map(|host| (*object, host))),
            _ => {}
        }
    }

    fn first_of(&self, first: Seq) -> Option<String> {
        self.first.get(&first).cloned()
    }

    /// True where all that was received of the study came to this host.
    pub fn is_here(&self) -> bool {
        self.hosts.iter().all(Option::is_none)
    }

    /// Where instances are worked on together: of the hosts that hold them all, and that the configuration still names,
    /// the first by name.
    pub fn of_members(&self, hosts: &Hosts, members: impl Iterator<Item = Seq>) -> Home {
        if self.is_here() {
            return Home::Here;
        }
        if let (1, Some(Some(host))) = (self.hosts.len(), self.hosts.first()) {
            return if hosts.others.contains(host) { Home::At(host.clone()) } else { gone(host) };
        }
        let mut all: Option<BTreeSet<Option<String>>> = None;
        let mut any: BTreeSet<Option<String>> = BTreeSet::new();
        for member in members {
            let first = self.first_of(member);
            if let Some(others) = self.contested.get(&member) {
                let names = names(hosts, others.iter().chain([&first]));
                return Home::Nowhere {
                    reason: format!("hosts {names} hold different bytes under one SOP Instance UID"),
                    hint: "withdraw it on one of them, then send what is right to one host",
                };
            }
            let holders: BTreeSet<_> = self.copies.get(&member).into_iter().flatten().cloned().chain([first]).collect();
            any.extend(holders.iter().cloned());
            all = Some(match all {
                None => holders,
                Some(all) => all.intersection(&holders).cloned().collect(),
            });
        }
        let Some(all) = all else { return Home::Here };
        let by_name = |host: &&Option<String>| host.as_deref().unwrap_or(&hosts.own).to_owned();
        let acting = |host: &&Option<String>| host.as_deref().is_none_or(|host| hosts.others.contains(host));
        match all.iter().filter(acting).min_by_key(by_name) {
            Some(None) => Home::Here,
            Some(Some(host)) => Home::At(host.clone()),
            None => match all.iter().flatten().next() {
                Some(host) => gone(host),
                None => Home::Nowhere {
                    reason: format!("its instances came to hosts {}, and none has them all", names(hosts, any.iter())),
                    hint: "send all of it to one of them",
                },
            },
        }
    }

    /// Where a run is done.
    pub fn of_run(&self, hosts: &Hosts, order: &RunOrder) -> Home {
        let further = order.inputs.iter().flat_map(|input| &input.members);
        self.of_members(hosts, order.members.iter().chain(further).copied())
    }

    /// Where a revision is issued: where its run was done; one that withdraws where the newest was issued.
    pub fn of_revision(&self, hosts: &Hosts, row: &RevisionToIssue) -> Home {
        let report = (row.key.study_uid.clone(), row.key.pipeline.clone());
        match (&row.row.run, self.newest.get(&report)) {
            (Some(order), _) => self.of_run(hosts, order),
            // A host that is gone takes nothing back any more; one that has something of the study does it for it.
            (None, Some(Some(host))) if hosts.others.contains(host) || !self.hosts.contains(&None) => {
                Home::At(host.clone())
            }
            (None, _) => Home::Here,
        }
    }

    /// True where an object is encoded here: its revision was issued here.
    pub fn encodes(&self, row: &ObjectToEncode) -> bool {
        !self.issued.contains_key(&row.key)
    }

    /// True where an object is delivered from here: it was encoded here.
    pub fn delivers(&self, row: &DeliveryToDo) -> bool {
        !self.encoded.contains_key(&row.row.object)
    }
}

/// Nobody can do what a host had to do that the configuration no longer names.
fn gone(host: &str) -> Home {
    Home::Nowhere {
        reason: format!("its instances lie on host {host}, which the configuration no longer names"),
        hint: "name the host in [[cluster.peer]] again, or send the scan to this one",
    }
}

fn names<'a>(known: &Hosts, hosts: impl Iterator<Item = &'a Option<String>>) -> String {
    let names: BTreeSet<&str> = hosts.map(|host| host.as_deref().unwrap_or(&known.own)).collect();
    names.into_iter().collect::<Vec<_>>().join(" and ")
}
