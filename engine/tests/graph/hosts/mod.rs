//! Two hosts whose ledgers tell one another, heard late, in pieces and in any order: in the end both hold the same
//! reports, each was made by one of them, and they are those that one host would have made of everything.

mod host;

use std::collections::BTreeSet;

use proptest::prelude::*;
use sulcus_engine::ledger::event::{Because, Directive, Event, RevisionKey, Scope, StepState};
use sulcus_operators::rows::LesionVerdict;

use self::host::{Host, Said};
use crate::{
    made::made,
    random::cases,
    site::{Slice, patient, series_uid, study_uid},
};

/// Studies 0 and 2 come to host a, 1 and 3 to host b; 0 and 1 are of one patient, 2 and 3 of another.
const STUDIES: u8 = 4;

#[derive(Clone, Debug)]
enum Step {
    Slice(u8, u8, i64),
    Series(u8, u8),
    Withdraw(u8, u8, Option<Because>),
    Verdict(u8, u8, u8),
    Hold(u8, u8, bool),
    /// What a scanner made of a series: to which host it says so, study, series, how many instances, whether it is done.
    Made(bool, u8, u8, i64, bool),
    /// Which host hears how much.
    Hear(bool, usize),
    Act(bool),
    Seal(bool),
    Restart(bool),
    /// Said to host a, the first by name.
    Merge(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let because = prop_oneof![Just(None), Just(Some(Because::Quality)), Just(Some(Because::WrongPatient))];
    prop_oneof![
        8 => (0..STUDIES, 0..3u8, 1..=4i64).prop_map(|(study, series, number)| Step::Slice(study, series, number)),
        8 => (0..STUDIES, 0..3u8).prop_map(|(study, series)| Step::Series(study, series)),
        3 => (0..STUDIES, 0..4u8, because).prop_map(|(study, what, because)| Step::Withdraw(study, what, because)),
        3 => (0..STUDIES, 1..=2u8, 0..3u8).prop_map(|(study, lesion, verdict)| Step::Verdict(study, lesion, verdict)),
        1 => (0..STUDIES, 0..3u8, any::<bool>()).prop_map(|(study, series, hold)| Step::Hold(study, series, hold)),
        2 => (any::<bool>(), 0..STUDIES, 0..3u8, 3..=5i64, any::<bool>())
            .prop_map(|(host, study, series, count, done)| Step::Made(host, study, series, count, done)),
        8 => (any::<bool>(), 1..40usize).prop_map(|(host, limit)| Step::Hear(host, limit)),
        10 => any::<bool>().prop_map(Step::Act),
        4 => any::<bool>().prop_map(Step::Seal),
        2 => any::<bool>().prop_map(Step::Restart),
        1 => any::<bool>().prop_map(Step::Merge),
    ]
}

/// Two hosts, and one that everything came to.
struct Cluster {
    hosts: [Host; 2],
    alone: Host,
    /// Studies of which something came.
    came: BTreeSet<String>,
}

impl Cluster {
    fn new() -> Self {
        Cluster {
            hosts: [Host::new("a", &["b"]), Host::new("b", &["a"])],
            alone: Host::new("one", &[]),
            came: BTreeSet::new(),
        }
    }

    fn receive(&mut self, host: usize, slice: &Slice) {
        self.came.insert(study_uid(slice.study));
        self.hosts[host].receive(slice);
        self.alone.receive(slice);
    }

    /// Nobody is let say anything of a study of which nothing came.
    fn say_of(&mut self, study: u8, event: Event) {
        if self.came.contains(&study_uid(study)) {
            self.say(usize::from(study % 2), event);
        }
    }

    fn say(&mut self, host: usize, event: Event) {
        self.hosts[host].event(event.clone());
        self.alone.event(event);
    }

    fn hear(&mut self, host: usize, limit: usize) -> usize {
        let [a, b] = &mut self.hosts;
        if host == 0 { a.hear(b, limit) } else { b.hear(a, limit) }
    }

    fn play(&mut self, step: Step) {
        let host_of = |study: u8| usize::from(study % 2);
        let slice = |study: u8, series: u8, number| Slice {
            patient: study / 2,
            expected: Some(4),
            day: ["20200101", "20210101", "20220101", "20230101"][usize::from(study)],
            ..Slice::new(study, series, number)
        };
        match step {
            Step::Slice(study, series, number) => self.receive(host_of(study), &slice(study, series, number)),
            Step::Series(study, series) => {
                (1..=4).for_each(|number| self.receive(host_of(study), &slice(study, series, number)));
            }
            Step::Withdraw(study, what, because) => {
                let scope = match what {
                    0 => Scope::Study(study_uid(study)),
                    series => Scope::Series(series_uid(study, series - 1)),
                };
                self.say_of(study, Event::InstanceWithdrawn { scope, reason: "wrong".into(), because });
            }
            Step::Verdict(study, lesion, verdict) => {
                let verdict = [LesionVerdict::Accepted, LesionVerdict::Rejected, LesionVerdict::Open]
                    [usize::from(verdict)]
                .clone();
                let (study_uid, tracking_uid) = (study_uid(study), format!("2.25.{lesion}"));
                let (reader, comment) = ("A. Reader".to_owned(), String::new());
                self.say_of(study, Event::VerdictGiven { study_uid, tracking_uid, verdict, reader, comment });
            }
            Step::Hold(study, series, hold) => {
                let directive = if hold { Directive::Hold } else { Directive::Release };
                let (study_uid, series_uid) = (study_uid(study), series_uid(study, series));
                let (reason, by) = ("look".to_owned(), "operator".to_owned());
                self.say_of(study, Event::SeriesDirected { study_uid, series_uid, directive, reason, by });
            }
            Step::Made(host, study, series, count, done) => {
                let state = if done { StepState::Completed } else { StepState::InProgress };
                self.say(usize::from(host), made(study, 0, state, &[(series, 1..=count)]));
            }
            Step::Hear(host, limit) => {
                self.hear(usize::from(host), limit);
            }
            Step::Act(host) => {
                self.hosts[usize::from(host)].act();
            }
            Step::Seal(host) => self.hosts[usize::from(host)].seal(),
            Step::Restart(host) => self.hosts[usize::from(host)].restart(),
            Step::Merge(merged) => {
                let (from, into) = (patient(1), merged.then(|| patient(0)));
                self.say(0, Event::PatientsMerged { from, into, reason: "same".into(), by: "operator".into() });
            }
        }
    }

    /// All is heard and done, until nothing more follows.
    fn settle(&mut self) {
        for _ in 0..100 {
            let heard = self.hear(0, 1 << 20) + self.hear(1, 1 << 20);
            let done: usize = self.hosts.iter_mut().map(Host::act).sum();
            if heard + done + self.alone.act() == 0 {
                return;
            }
        }
        panic!("it does not end");
    }

    /// Revisions that both hosts issued.
    fn issued_twice(&self) -> Vec<RevisionKey> {
        let issued = |host: &Host| -> BTreeSet<RevisionKey> {
            let key = |event| if let Event::RevisionIssued { key, .. } = event { Some(key) } else { None };
            host.own().into_iter().filter_map(key).collect()
        };
        issued(&self.hosts[0]).intersection(&issued(&self.hosts[1])).cloned().collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..ProptestConfig::with_cases(cases(60)) })]

    #[test]
    fn two_hosts_that_hear_of_each_other_late_end_where_one_would(steps in prop::collection::vec(step(), 1..60)) {
        let mut cluster = Cluster::new();
        steps.into_iter().for_each(|step| cluster.play(step));
        cluster.settle();
        let [reports, same] = [0, 1].map(|host| cluster.hosts[host].in_the_end());
        prop_assert_eq!(&reports, &same);
        // The one that did nothing before the end has nothing to take back.
        let stands = |(_, said): &(_, Said)| said.0;
        let of_one = cluster.alone.in_the_end();
        let final_ones: Vec<_> = reports.into_iter().filter(stands).collect();
        prop_assert_eq!(final_ones, of_one.into_iter().filter(stands).collect::<Vec<_>>());
        prop_assert_eq!(cluster.issued_twice(), vec![]);
        // Each seals its own, which the other then lets go as well; what is held stays on both.
        for _ in 0..2 {
            cluster.hosts.iter_mut().for_each(Host::seal);
            cluster.settle();
        }
        let [open, same] = &cluster.hosts;
        prop_assert_eq!(open.open_studies(), same.open_studies());
        // A start reads the same from the ledger.
        let before = cluster.hosts[1].standing();
        cluster.hosts[1].restart();
        prop_assert_eq!(before, cluster.hosts[1].standing());
    }
}

/// A series of four slices, whose header says so.
fn series() -> impl Iterator<Item = Slice> {
    (1..=4).map(|number| Slice { expected: Some(4), ..Slice::new(0, 0, number) })
}

/// How many runs each host did.
fn runs(hosts: &[Host; 2]) -> [usize; 2] {
    let finished = |event: &Event| matches!(event, Event::RunFinished(_));
    hosts.each_ref().map(|host| host.own().iter().filter(|event| finished(event)).count())
}

#[test]
fn what_came_to_both_hosts_is_done_once_by_the_first_by_name() {
    for late in [false, true] {
        let mut cluster = Cluster::new();
        series().for_each(|slice| cluster.receive(1, &slice));
        if late {
            cluster.hear(0, 1 << 20);
        }
        series().for_each(|slice| cluster.receive(0, &slice));
        cluster.settle();
        assert_eq!((runs(&cluster.hosts), cluster.issued_twice()), ([1, 0], vec![]), "late: {late}");
        assert_eq!(cluster.hosts[0].in_the_end(), cluster.hosts[1].in_the_end());
    }
}

#[test]
fn what_is_spread_over_hosts_is_a_fault_until_one_has_it_all() {
    let mut cluster = Cluster::new();
    let slices: Vec<Slice> = series().collect();
    slices[..2].iter().for_each(|slice| cluster.receive(0, slice));
    slices[2..].iter().for_each(|slice| cluster.receive(1, slice));
    cluster.settle();
    assert_eq!(runs(&cluster.hosts), [0, 0]);
    for host in &cluster.hosts {
        assert_eq!(host.faults(), ["its instances came to hosts a and b, and none has them all"]);
    }
    slices[..2].iter().for_each(|slice| cluster.receive(1, slice));
    cluster.settle();
    assert_eq!((runs(&cluster.hosts), cluster.hosts[0].faults()), ([0, 1], vec![]));
    assert_eq!(cluster.hosts[0].in_the_end(), cluster.alone.in_the_end());
}

#[test]
fn hosts_that_hold_different_bytes_under_one_uid_leave_it_until_one_is_withdrawn() {
    let mut cluster = Cluster::new();
    series().for_each(|slice| cluster.hosts[0].receive(&slice));
    series().for_each(|slice| cluster.hosts[1].receive(&Slice { version: u8::from(slice.number == 2), ..slice }));
    cluster.settle();
    assert_eq!(runs(&cluster.hosts), [0, 0]);
    for host in &cluster.hosts {
        assert_eq!(host.faults(), ["hosts a and b hold different bytes under one SOP Instance UID"]);
    }
    let scope = Scope::Series(series_uid(0, 0));
    cluster.hosts[0].event(Event::InstanceWithdrawn { scope, reason: "twice".into(), because: None });
    cluster.settle();
    series().for_each(|slice| cluster.hosts[1].receive(&slice));
    cluster.settle();
    assert_eq!((runs(&cluster.hosts), cluster.hosts[0].faults()), ([0, 1], vec![]));
}

#[test]
fn a_host_that_is_no_longer_named_is_not_waited_for_where_another_has_the_bytes() {
    let mut hosts = [Host::new("a", &["b"]), Host::new("b", &[])];
    hosts.iter_mut().for_each(|host| series().for_each(|slice| host.receive(&slice)));
    let [a, b] = &mut hosts;
    b.hear(a, 1 << 20);
    while b.act() > 0 {}
    assert_eq!(runs(&hosts), [0, 1], "b does what a would, had it not been taken out");
    // What lies on a alone is said to lie there.
    (1..=4).for_each(|number| hosts[0].receive(&Slice { expected: Some(4), ..Slice::new(2, 0, number) }));
    let [a, b] = &mut hosts;
    b.hear(a, 1 << 20);
    while b.act() > 0 {}
    let lies = "its instances lie on host a, which the configuration no longer names";
    assert_eq!((runs(&hosts), hosts[1].faults()), ([0, 1], vec![lies.to_owned()]));
    // And what a had reported is taken back by the one that has the scan.
    let [a, b] = &mut hosts;
    while a.act() > 0 {}
    b.hear(a, 1 << 20);
    let scope = Scope::Study(study_uid(0));
    b.event(Event::InstanceWithdrawn { scope, reason: "wrong".into(), because: None });
    while b.act() > 0 {}
    let taken_back = |event: &Event| matches!(event, Event::RevisionIssued { run: None, .. });
    assert_eq!(b.own().iter().filter(|event| taken_back(event)).count(), 1);
}

#[test]
fn what_is_told_twice_or_out_of_turn_is_recorded_once() {
    let mut cluster = Cluster::new();
    series().for_each(|slice| cluster.receive(1, &slice));
    assert_eq!((cluster.hear(0, 3), cluster.hear(0, 1 << 20), cluster.hear(0, 1 << 20)), (2, 2, 0));
    let [a, b] = &mut cluster.hosts;
    a.hear_again(b);
    assert_eq!(a.entries().len(), 5);
    let told: Vec<Option<String>> = a.entries().into_iter().map(|entry| entry.host).collect();
    assert_eq!(told[1..], vec![Some("b".to_owned()); 4]);
}

#[test]
fn a_study_whose_series_came_to_two_parted_hosts_has_one_report_once_they_hear_of_each_other() {
    let mut cluster = Cluster::new();
    // Each series is whole, and both hosts report on what they have.
    for (host, series, slices) in [(0, 0, 1..=4), (1, 1, 1..=5)] {
        let last = *slices.end() as u32;
        slices.for_each(|number| {
            cluster.receive(host, &Slice { expected: Some(last), ..Slice::new(0, series, number) });
        });
        while cluster.hosts[host].act() > 0 {}
    }
    assert_eq!((runs(&cluster.hosts), cluster.issued_twice().len()), ([1, 1], 1));
    cluster.settle();
    let [a, b] = cluster.hosts.each_ref().map(Host::in_the_end);
    assert_eq!(a, b);
    assert_eq!(a, cluster.alone.in_the_end(), "the report is that of the series which one host would choose");
}
