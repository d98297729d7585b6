//! Destinations that take nothing, or late: one accepts and never answers, nobody listens at another. Neither holds anything else up,
//! and the engine does not fill up with what waits for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_tests::free_port;
use sulcus_tests::places::root;
use sulcus_tests::scans::{named, reports, send, small_series};
use sulcus_tests::serving::{Serving, SiteSpec, count};
use sulcus_tests::wayward::Wayward;

const PATIENCE: Duration = Duration::from_secs(300);
/// Studies before the engine's memory is first looked at, and in all.
const FIRST: usize = 4;
const ALL: usize = 16;

/// Accepts every caller and never says a word.
struct Mute {
    stop: Arc<AtomicBool>,
    door: Option<JoinHandle<usize>>,
}

impl Mute {
    fn start(address: SocketAddr) -> Mute {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let door = std::thread::spawn(move || {
            let mut callers: Vec<TcpStream> = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                callers.extend(listener.accept().ok().map(|(caller, _)| caller));
                std::thread::sleep(Duration::from_millis(5));
            }
            callers.len()
        });
        Mute { stop, door: Some(door) }
    }

    /// Ends it, and all its callers with it; how many there were.
    fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.door.take().map_or(0, |door| door.join().unwrap())
    }
}

/// Objects of a destination that are settled.
fn settled_at(entries: &[Entry], name: &str) -> usize {
    let object = |entry: &Entry| match &entry.event {
        Event::DeliverySettled { object, destination, .. } if destination == name => Some(*object),
        _ => None,
    };
    entries.iter().filter_map(object).collect::<BTreeSet<_>>().len()
}

/// Anonymous and shared memory of the engine's process, MiB.
fn engine_mib(serving: &Serving) -> u64 {
    let engine = serving.roles().into_iter().find(|role| role.name == "engine").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", engine.id)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn destinations_that_take_nothing_hold_up_neither_reception_nor_runs_nor_other_destinations() {
    let work = tempfile::tempdir().unwrap();
    let [mute_at, down_at] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port().unwrap())));
    let mute = Mute::start(mute_at);
    let down = format!(
        "kind = \"dicom\"\naddress = \"{down_at}\"\nae_title = \"DOWN\"\noutputs = [\"segmentation\"]\n\
         retry = {{ first_seconds = 0.1, limit_seconds = 0.2, attempts = 1000000 }}\n"
    );
    let spec =
        SiteSpec { archive: Some(mute_at), destinations: vec![("down".to_owned(), down)], ..SiteSpec::default() };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    let mut after_first = 0;
    for number in 1..=ALL {
        let slices = small_series(&work.path().join("in"), 200 + number as u32).unwrap();
        let answers = send(serving.address(), &slices).unwrap();
        assert!(answers.iter().all(|status| *status == 0), "reception goes on: {answers:?}");
        if number == FIRST {
            let there = |entries: &[Entry]| settled_at(entries, "folder") == 2 * FIRST;
            serving.wait_for("the folder is held up", PATIENCE, there).unwrap();
            after_first = engine_mib(&serving);
        }
    }
    let there = |entries: &[Entry]| settled_at(entries, "folder") == 2 * ALL;
    serving.wait_for("the folder is held up", PATIENCE, there).unwrap();
    let (entries, after_all) = (serving.entries(), engine_mib(&serving));
    println!("the engine held {after_first} MiB after {FIRST} studies and {after_all} MiB after {ALL}");
    assert_eq!(count(&entries, "RunFinished"), ALL);
    assert_eq!((settled_at(&entries, "archive"), settled_at(&entries, "down")), (0, 0));
    let tried = |name: &str| {
        entries
            .iter()
            .any(|entry| matches!(&entry.event, Event::DeliveryFailed { destination, .. } if destination == name))
    };
    assert!(tried("down"), "what is down is tried again and again");
    // Rows of a dozen small studies; a queue that took objects in would hold each of them.
    assert!(after_all < after_first + 32, "{after_first} MiB grew to {after_all} MiB");
    assert_eq!(reports(&serving.results()).len(), ALL);

    let callers = mute.end();
    assert!(callers >= 1, "it was called, one object at a time");
    let archive = Wayward::start(mute_at, 20_261_126).unwrap();
    serving.wait_for("what waited does not come", PATIENCE, |entries| settled_at(entries, "archive") == ALL).unwrap();
    assert_eq!(archive.held().objects.len(), ALL);
}

#[test]
fn an_urgent_delivery_goes_before_earlier_normal_ones_of_the_same_destination() {
    const NORMAL: usize = 6;
    let work = tempfile::tempdir().unwrap();
    let archive_at = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mute = Mute::start(archive_at);
    let urgent = format!(
        "[[pipeline]]\nname = \"urgent\"\nwhen = 'Manufacturer == \"Urgent\"'\nmodel = \"{}\"\n\
         destinations = [\"archive\"]\nurgency = \"urgent\"\n",
        root().join("tests/blob-filter").display()
    );
    let when = "Manufacturer == \"Sulcus\"".to_owned();
    let spec = SiteSpec { archive: Some(archive_at), when, tables: urgent, ..SiteSpec::default() };
    let mut serving = Serving::start(work.path(), spec).unwrap();
    let folder = work.path().join("in");
    for number in 0..NORMAL {
        let slices = small_series(&folder, 240 + number as u32).unwrap();
        send(serving.address(), &named(slices, &format!("ROUTINE0{number}"), "Sulcus")).unwrap();
    }
    let reported = |entries: &[Entry]| settled_at(entries, "folder") == 2 * NORMAL;
    serving.wait_for("the folder is held up", PATIENCE, reported).unwrap();
    let emergency = named(small_series(&folder, 250).unwrap(), "EMERGENCY", "Urgent");
    send(serving.address(), &emergency).unwrap();
    let encoded = |entries: &[Entry]| count(entries, "ObjectEncoded") > 2 * NORMAL;
    serving.wait_for("the emergency is not reported", PATIENCE, encoded).unwrap();
    mute.end();
    let archive = Wayward::start(archive_at, 20_261_127).unwrap();
    let there = |entries: &[Entry]| settled_at(entries, "archive") == NORMAL + 1;
    serving.wait_for("what waited does not come", PATIENCE, there).unwrap();
    assert_eq!(archive.held().objects.len(), NORMAL + 1);

    let entries = serving.entries();
    let pipelines: BTreeMap<_, _> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ObjectEncoded { object, key, .. } => Some((*object, key.pipeline.clone())),
            _ => None,
        })
        .collect();
    let mut begun = Vec::new();
    for entry in &entries {
        if let Event::DeliveryStarted { object, destination, .. } = &entry.event
            && destination == "archive"
            && !begun.contains(object)
        {
            begun.push(*object);
        }
    }
    let order: Vec<&str> = begun.iter().map(|object| pipelines[object].as_str()).collect();
    let place = order.iter().position(|pipeline| *pipeline == "urgent").unwrap();
    // What the lane had in hand when it came is not taken back.
    assert!(place < NORMAL - 1, "{order:?}");
}
