//! Two hosts that work as one, each a site of its own with all its processes, on addresses of their own.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use sulcus_engine::hosts::wire::{Ask, Connection, Hello, Says, VERSION, Wants};
use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_engine::ledger::relayed::Peer;
use sulcus_operators::digest::Digest;
use sulcus_operators::phantom::{Field, Motion, Phantom, PhantomSpec, Sequence, Visit};
use sulcus_operators::rows::RunOutcome;
use sulcus_tests::link::Link;
use sulcus_tests::scans::{phantom_scan, replace, reports, send, series_with_lesions, small_series};
use sulcus_tests::serving::{Serving, SiteSpec, count, settled};

const PATIENCE: Duration = Duration::from_secs(120);

/// The addresses at which two hosts listen for each other.
fn addresses() -> [SocketAddr; 2] {
    [[127, 0, 0, 1], [127, 0, 0, 2]].map(|ip| {
        // Taken and let go at once, as a free port of that address.
        TcpListener::bind(SocketAddr::from((ip, 0))).unwrap().local_addr().unwrap()
    })
}

/// Host `own` of the hosts a and b, which reaches the other at `other`.
fn spec(own: usize, address: SocketAddr, other: SocketAddr) -> SiteSpec {
    let names = ["a", "b"];
    let tables = format!(
        "[cluster]\nhost = \"{}\"\naddress = \"{address}\"\n[[cluster.peer]]\nname = \"{}\"\naddress = \"{other}\"\n",
        names[own],
        names[1 - own]
    );
    SiteSpec { tables, ..SiteSpec::default() }
}

/// Both hosts, and the links from each to the other.
struct Cluster {
    hosts: [Serving; 2],
    links: [Link; 2],
}

impl Cluster {
    fn start(work: &Path, change: impl Fn(SiteSpec) -> SiteSpec) -> Cluster {
        let addresses = addresses();
        let links = [Link::to(addresses[1]).unwrap(), Link::to(addresses[0]).unwrap()];
        let hosts = [0, 1].map(|own| {
            let folder = work.join(["a", "b"][own]);
            std::fs::create_dir_all(&folder).unwrap();
            Serving::start(&folder, change(spec(own, addresses[own], links[own].address()))).unwrap()
        });
        Cluster { hosts, links }
    }

    fn wait(&mut self, what: &str, condition: impl Fn(&[Entry]) -> bool) {
        self.hosts.iter_mut().for_each(|host| host.wait_for(what, PATIENCE, &condition).unwrap());
    }
}

/// Events of this name that were a host's own.
fn own(host: &Serving, name: &str) -> usize {
    host.entries().iter().filter(|entry| entry.host.is_none() && entry.event.name() == name).count()
}

fn status(host: &Serving) -> String {
    host.command(&["status"]).unwrap().0
}

/// Waits until `sulcus status` says something.
fn wait_until_said(host: &Serving, words: &str) {
    let begun = std::time::Instant::now();
    while !status(host).contains(words) {
        assert!(begun.elapsed() < PATIENCE, "{words:?} is not said: {}", status(host));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_scan_is_worked_on_where_it_came_and_both_hosts_hold_all_of_it() {
    let work = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(work.path(), |spec| SiteSpec { seal_after_seconds: 0.5, ..spec });
    for (host, seed) in [(0, 31), (1, 32), (1, 33)] {
        let slices = small_series(&work.path().join(format!("in-{seed}")), seed).unwrap();
        send(cluster.hosts[host].address(), &slices).unwrap();
    }
    cluster.wait("not all is delivered everywhere", |entries| settled(entries, 6));
    let [a, b] = &cluster.hosts;
    assert_eq!((own(a, "RunFinished"), own(b, "RunFinished")), (1, 2));
    assert_eq!((reports(&a.results()).len(), reports(&b.results()).len()), (1, 2));
    // Sealed where they came, they leave the other's memory as well.
    cluster.wait("not all is sealed everywhere", |entries| count(entries, "StudySealed") == 3);
    let [a, b] = &cluster.hosts;
    for (host, other) in [(a, "b"), (b, "a")] {
        wait_until_said(host, "0 series of open studies; sealed studies: 3");
        wait_until_said(host, &format!("host {other}: followed"));
        let (said, sound) = host.command(&["ledger", "verify"]).unwrap();
        assert!(sound, "{said}");
    }
    // What is said of a study is said where it came.
    let study = reports(&b.results())[0].1.study_instance_uid.clone();
    let (said, done) = a.command(&["withdraw", "--study", &study, "--reason", "test"]).unwrap();
    assert!(!done && said.contains("came to host b"), "{said}");
    let (said, done) = b.command(&["withdraw", "--study", &study, "--reason", "test"]).unwrap();
    assert!(done, "{said}");
    cluster.wait("not taken back everywhere", |entries| settled(entries, 7));
    assert_eq!(own(&cluster.hosts[0], "RevisionIssued"), 1);
    let (said, done) = cluster.hosts[1]
        .command(&["merge", "--patient", "X", "--into", "Y", "--reason", "test", "--by", "me"])
        .unwrap();
    assert!(!done && said.contains("host a"), "{said}");
}

#[test]
fn a_host_that_stays_away_holds_nothing_up_and_is_told_all_once_it_comes() {
    let work = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(work.path(), |spec| spec);
    // A kill, in the middle of its own work.
    let of_b = small_series(&work.path().join("in-b"), 42).unwrap();
    send(cluster.hosts[1].address(), &of_b).unwrap();
    cluster.hosts[1].kill_all();
    let of_a = small_series(&work.path().join("in-a"), 41).unwrap();
    send(cluster.hosts[0].address(), &of_a).unwrap();
    cluster.hosts[0]
        .wait_for("its own is not delivered", PATIENCE, |entries| {
            let own: Vec<Entry> = entries.iter().filter(|entry| entry.host.is_none()).cloned().collect();
            settled(&own, 2)
        })
        .unwrap();
    wait_until_said(&cluster.hosts[0], "host b: not followed");
    cluster.hosts[1].start_again().unwrap();
    cluster.wait("not told of everywhere", |entries| settled(entries, 4));
    // The engine alone, then the receiver alone: what is followed goes on from where it was.
    for role in ["engine", "receiver"] {
        let ids: Vec<u32> = cluster.hosts[0].roles().iter().filter(|of| of.name == role).map(|of| of.id).collect();
        sulcus_tests::processes::kill(&ids);
    }
    let more = small_series(&work.path().join("in-more"), 43).unwrap();
    send(cluster.hosts[1].address(), &more).unwrap();
    cluster.wait("the third is not told of everywhere", |entries| settled(entries, 6));
    let received = |entries: &[Entry]| count(entries, "InstanceReceived");
    assert_eq!(cluster.hosts.each_ref().map(|host| received(&host.entries())), [60, 60], "each told once");
    assert_eq!(cluster.hosts.each_ref().map(|host| own(host, "RevisionIssued")), [1, 2]);
}

#[test]
fn hosts_that_a_partition_parts_go_on_and_agree_once_it_is_over() {
    let work = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(work.path(), |spec| spec);
    cluster
        .hosts
        .iter()
        .zip(["b", "a"])
        .for_each(|(host, other)| wait_until_said(host, &format!("host {other}: followed")));
    cluster.links.iter().for_each(Link::cut);
    for (host, seed) in [(0, 51), (1, 52)] {
        let slices = series_with_lesions(&work.path().join(format!("in-{seed}")), seed, &[[20, 30, 8]]).unwrap();
        send(cluster.hosts[host].address(), &slices).unwrap();
        let host = &mut cluster.hosts[host];
        host.wait_for("its own is not delivered", PATIENCE, |entries| settled(entries, 2)).unwrap();
        assert_eq!(count(&host.entries(), "RunFinished"), 1, "it has not heard of the other's");
    }
    // A silent link is noticed.
    wait_until_said(&cluster.hosts[0], "host b: not followed");
    cluster.links.iter().for_each(Link::mend);
    cluster.wait("not told of everywhere", |entries| settled(entries, 4));
    assert_eq!(cluster.hosts.each_ref().map(|host| own(host, "RevisionIssued")), [1, 1]);
    // A reader's verdict at one host is part of what the other holds.
    let report = reports(&cluster.hosts[1].results()).remove(0).1;
    let (study, lesion) = (report.study_instance_uid.clone(), report.lesions[0].tracking_uid.clone());
    let words = ["verdict", "--study", &study, "--lesion", &lesion, "--reject", "--reader", "A. Reader"];
    let (said, done) = cluster.hosts[0].command(&words).unwrap();
    assert!(!done && said.contains("came to host b"), "{said}");
    let (said, done) = cluster.hosts[1].command(&words).unwrap();
    assert!(done, "{said}");
    cluster.wait("the verdict is not told of", |entries| settled(entries, 6));
    let sums = cluster.hosts.each_ref().map(|host| host.command(&["cohort", "--json"]).unwrap());
    assert_eq!(sums[0], sums[1], "the counts over all patients are the same on every host");
    assert!(sums[0].1, "{}", sums[0].0);
}

#[test]
fn a_scan_that_was_sent_to_another_host_before_under_other_uids_is_not_run_again() {
    let work = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(work.path(), |spec| spec);
    let mut slices = series_with_lesions(&work.path().join("in"), 61, &[[20, 30, 8]]).unwrap();
    send(cluster.hosts[0].address(), &slices).unwrap();
    cluster.wait("no first report", |entries| settled(entries, 2));
    // All but the frame of reference, which is part of where it lies.
    for [from, to] in [["2.25.100061", "2.25.100062"], ["2.25.1000623", "2.25.1000613"]] {
        slices.iter_mut().for_each(|slice| replace(slice, from, to).unwrap());
    }
    send(cluster.hosts[1].address(), &slices).unwrap();
    cluster.wait("no second report", |entries| settled(entries, 4));
    assert_eq!(cluster.hosts.each_ref().map(|host| own(host, "RunFinished")), [1, 0]);
    let [first, second] = cluster.hosts.each_ref().map(|host| reports(&host.results()).remove(0).1);
    assert_ne!(first.study_instance_uid, second.study_instance_uid);
    assert_eq!((first.lesions.len(), second.lesions.len()), (1, 1));
}

#[test]
fn hosts_that_work_by_different_rules_exchange_nothing_and_say_so_and_go_on() {
    let work = tempfile::tempdir().unwrap();
    let first = Cell::new(true);
    let mut cluster = Cluster::start(work.path(), |spec| {
        let when = if first.replace(false) { "Modality == \"MR\"" } else { "Modality != \"CT\"" };
        SiteSpec { when: when.to_owned(), ..spec }
    });
    for (host, seed) in [(0, 71), (1, 72)] {
        let slices = small_series(&work.path().join(format!("in-{seed}")), seed).unwrap();
        send(cluster.hosts[host].address(), &slices).unwrap();
    }
    cluster.wait("its own is not delivered", |entries| settled(entries, 2));
    for host in &cluster.hosts {
        wait_until_said(host, "work by different rules, pipelines differ: lesions");
        assert!(host.entries().iter().all(|entry| entry.host.is_none()), "nothing was taken");
    }
}

#[test]
fn a_visit_is_compared_with_one_that_was_scanned_on_another_host() {
    let spec = PhantomSpec { lesions: 9..=9, ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 901) };
    let motion = Motion { turn_degrees: [6.0, -4.0, 8.0], shift_mm: [5.0, -6.0, 9.0] };
    let later = Visit { motion, scan: 31, gone: vec![2], grown: vec![(4, 1.4)], new: 1 };
    let heads = [Phantom::generate(&spec).unwrap(), Phantom::revisit(&spec, &spec, &later).unwrap()];
    let work = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(work.path(), |spec| spec);
    send(cluster.hosts[0].address(), &[phantom_scan(&heads[0], "first", &[]).unwrap()]).unwrap();
    cluster.wait("no first visit", |entries| settled(entries, 2));
    let before = cluster.links[1].bytes();
    let second = phantom_scan(&heads[1], "second", &[["20260105", "20260720"]]).unwrap();
    send(cluster.hosts[1].address(), &[second]).unwrap();
    cluster.wait("no second visit", |entries| settled(entries, 4));
    let outcome = |event| if let Event::RunFinished(outcome) = event { Some(outcome) } else { None };
    let outcomes: Vec<RunOutcome> =
        cluster.hosts[0].entries().into_iter().filter_map(|entry| outcome(entry.event)).collect();
    let [first, second] = &outcomes[..] else { panic!("two runs") };
    let [alignment] = &second.alignments[..] else { panic!("not compared: {:?}", second.notes) };
    assert_eq!(alignment.run_key, first.run_key);
    let kept = second.lesions.iter().filter(|of| first.lesions.iter().any(|was| was.tracking_uid == of.tracking_uid));
    assert!(kept.count() >= 5, "most lesions keep their identities");
    assert!(cluster.links[1].bytes() - before > 1 << 20, "the first visit's image was fetched");
    assert!(!cluster.hosts[1].data().join("cache/fetched-cpu").exists(), "and is not kept");
    let report = reports(&cluster.hosts[1].results()).remove(0).1;
    assert_eq!(report.visits.len(), 2, "{:?}", report.visits);
}

#[test]
fn whoever_is_not_of_the_cluster_is_refused_with_a_reason_and_nothing_is_taken_from_it() {
    let work = tempfile::tempdir().unwrap();
    let [address, nobody] = addresses();
    let serving = Serving::start(work.path(), spec(0, address, nobody)).unwrap();
    let mut rules = None;
    while rules.is_none() {
        let of = |entry: Entry| if let Event::RulesChanged(rules) = entry.event { Some(rules) } else { None };
        rules = serving.entries().into_iter().find_map(of);
    }
    let events = |rules, known| Wants::Events { rules, known };
    let hello = |change: &dyn Fn(&mut Hello)| {
        let wants = events(rules.clone(), Peer::default());
        let mut hello = Hello { version: VERSION, host: "b".into(), to: "a".into(), wants };
        change(&mut hello);
        let mut connection = Connection::open(address).unwrap();
        connection.say(&hello).unwrap();
        connection.hear::<Says>().unwrap()
    };
    let without = sulcus_engine::ledger::event::Rules { pipelines: Vec::new(), ..rules.clone().unwrap() };
    let cut = Peer { upto: 1 << 40, ..Peer::default() };
    type Change<'c> = &'c dyn Fn(&mut Hello);
    let cases: [(Change<'_>, &str); 6] = [
        (&|hello| hello.version = 7, "speaks version 1 and not 7"),
        (&|hello| hello.to = "c".into(), "this is host a and not c"),
        (&|hello| hello.host = "x".into(), "does not name x in [[cluster.peer]]"),
        (&|hello| hello.wants = events(Some(without.clone()), Peer::default()), "pipelines differ: lesions"),
        (&|hello| hello.wants = events(None, Peer::default()), "one of them has recorded no rules"),
        (&|hello| hello.wants = events(rules.clone(), cut), "has another ledger"),
    ];
    for (change, words) in cases {
        match hello(change) {
            Says::Refused { reason } => assert!(reason.contains(words), "{words:?} is not in {reason:?}"),
            other => panic!("{words}: {other:?}"),
        }
    }
    let Says::Welcome { identity } = hello(&|_| {}) else { panic!("not welcome") };
    let beyond = Peer { identity, upto: 1 << 40 };
    let Says::Refused { reason } = hello(&|hello| hello.wants = events(rules.clone(), beyond)) else { panic!() };
    assert!(reason.contains("it was cut or restored from a copy"), "{reason}");
    // What is no message is closed, and the next is served all the same.
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"{}\n", &[b'x'; 5 << 20], b"\0\0\0\0\n"] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // The other end may close before it has read everything.
        let _written = std::io::Write::write_all(&mut stream, nonsense);
        drop(stream);
    }
    // Bytes are given of what is held alone.
    let mut connection = Connection::open(address).unwrap();
    connection.say(&Hello { version: VERSION, host: "b".into(), to: "a".into(), wants: Wants::Bytes }).unwrap();
    assert!(matches!(connection.hear::<Says>().unwrap(), Says::Welcome { .. }));
    let digest = Digest::of(b"nothing");
    for ask in [Ask::Instance { sop_instance_uid: "../../etc/passwd".into(), digest }, Ask::Result { digest }] {
        connection.say(&ask).unwrap();
        assert!(matches!(connection.hear::<Says>().unwrap(), Says::Refused { .. }), "{ask:?}");
    }
    assert!(serving.entries().iter().all(|entry| entry.host.is_none()), "nothing was taken from anybody");
    assert!(status(&serving).contains("host b: not followed"));
}
