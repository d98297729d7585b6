//! Several hosts that work as one: each has its own receiver, ledger and devices, and every ledger holds what all
//! ledgers tell ([`crate::ledger::relayed`]).
//!
//! So every host's graph sees all patients, visits and verdicts, and each row has one host that acts on it ([`places`]):
//! a scan is worked on where its bytes are. Hosts that cannot reach one another go on with what they have; what they
//! missed comes in the order of its ledger once they can, and corrects what it touches as anything late does.
//!
//! - [`wire`]: what passes between two hosts.
//! - [`tell`]: the end that tells what this ledger holds.
//! - [`follow`]: the end that takes in what another's ledger tells.
//! - [`fetch`]: bytes of another host's visit, for a run that is compared with it.

pub mod fetch;
pub mod follow;
pub mod links;
pub mod places;
pub mod tell;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};

use sulcus_config::Site;
use sulcus_operators::rows::{Fault, SeriesState};

use self::places::{Home, Places};
use crate::{
    graph::{DeliveryToDo, ObjectToEncode, RevisionToIssue, RunToDo},
    ledger::event::Timer,
    open_work::OpenWork,
    standing::Standing,
};

/// The hosts of a cluster as one of them sees it; a site without others is a cluster of one.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    own: String,
    others: BTreeSet<String>,
}

impl Hosts {
    /// As a site's configuration says.
    pub fn of(site: &Site) -> Self {
        let Some(cluster) = &site.cluster else { return Hosts::default() };
        Hosts::new(&cluster.host, cluster.peers.iter().map(|peer| peer.name.as_str()))
    }

    /// By name.
    pub fn new<'n>(own: &str, others: impl IntoIterator<Item = &'n str>) -> Self {
        Hosts { own: own.to_owned(), others: others.into_iter().map(str::to_owned).collect() }
    }

    /// What stands that this host acts on.
    pub fn acts<'a>(&'a self, work: &'a OpenWork, standing: &'a Standing) -> Acts<'a> {
        let mut series = BTreeMap::new();
        if work.studies().values().any(|study| !study.places.is_here()) {
            series.extend(standing.series.iter().map(|state| (state.series_uid.as_str(), state.as_ref())));
        }
        Acts { hosts: self, work, standing, series }
    }
}

/// What stands, seen from the host that acts.
pub struct Acts<'a> {
    hosts: &'a Hosts,
    work: &'a OpenWork,
    standing: &'a Standing,
    /// The series, by UID, where one of them may be another host's.
    series: BTreeMap<&'a str, &'a SeriesState>,
}

impl<'a> Acts<'a> {
    fn places(&self, study_uid: &str) -> Option<&'a Places> {
        self.work.studies().get(study_uid).map(|study| &study.places)
    }

    fn home_of_run(&self, row: &RunToDo) -> Home {
        let places = self.places(&row.order.study_uid);
        places.map_or(Home::Here, |places| places.of_run(self.hosts, &row.order))
    }

    /// Runs that are done here.
    pub fn runs(&self) -> impl Iterator<Item = &'a RunToDo> {
        self.standing.runs.iter().filter(|row| self.home_of_run(row) == Home::Here)
    }

    /// Revisions that are issued here.
    pub fn revisions(&self) -> impl Iterator<Item = &'a RevisionToIssue> {
        let home = |row: &RevisionToIssue| self.places(&row.key.study_uid).map(|of| of.of_revision(self.hosts, row));
        self.standing.revisions.iter().filter(move |row| home(row).is_none_or(|home| home == Home::Here))
    }

    /// Objects that are encoded here.
    pub fn objects(&self) -> impl Iterator<Item = &'a ObjectToEncode> {
        let here = |row: &&ObjectToEncode| self.places(&row.key.study_uid).is_none_or(|places| places.encodes(row));
        self.standing.objects.iter().filter(here)
    }

    /// Objects that are delivered from here.
    pub fn deliveries(&self) -> impl Iterator<Item = &'a DeliveryToDo> {
        let here = |row: &&DeliveryToDo| self.places(&row.row.study_uid).is_none_or(|places| places.delivers(row));
        self.standing.deliveries.iter().filter(here)
    }

    /// True where a timer is waited for here: its series is worked on here, or nowhere yet.
    pub fn waits(&self, timer: &Timer) -> bool {
        let Some(state) = self.series.get(timer.series_uid.as_str()) else { return true };
        let home = self.places(&state.study_uid).map(|of| of.of_members(self.hosts, state.members.iter().copied()));
        !matches!(home, Some(Home::At(_)))
    }

    /// Runs that nobody can do.
    pub fn faults(&self) -> Vec<Fault> {
        let nowhere = |row: &RunToDo| match self.home_of_run(row) {
            Home::Nowhere { reason, hint } => Some(Fault {
                stage: "hosts".to_owned(),
                key: row.order.series_uid.clone(),
                reason,
                hint: hint.to_owned(),
            }),
            Home::Here | Home::At(_) => None,
        };
        let faults: BTreeSet<Fault> = self.standing.runs.iter().filter_map(nowhere).collect();
        faults.into_iter().collect()
    }
}
