//! The scanner simulator against the storage SCP.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sulcus_connectors::dimse::scp::{Scp, ScpOptions};
use sulcus_connectors::dimse::sources::SourceRule;
use sulcus_connectors::inbox::{Inbox, Incoming, Stored};
use sulcus_connectors::scanner::{AssociationPer, Order, ScannerError, ScannerSpec, send};
use sulcus_operators::phantom::dicom::{Encoding, PhantomSeries, ScanSpec, Vendor, study};
use sulcus_operators::phantom::{Field, Phantom, PhantomSpec, Sequence};

/// Keeps what comes, or refuses everything.
#[derive(Default)]
struct Memory {
    full: bool,
    received: Mutex<Vec<(String, Vec<u8>)>>,
    releases: Mutex<usize>,
}

impl Inbox for Memory {
    fn store(&self, incoming: Incoming) -> Stored {
        if self.full {
            return Stored::OutOfResources { reason: "the disk is full".to_owned() };
        }
        self.received.lock().unwrap().push((incoming.sop_instance_uid, incoming.data_set));
        Stored::Kept { series_uid: "1.2".to_owned() }
    }

    fn released(&self, _source: &str, _series_uids: Vec<String>, _orderly: bool) {
        *self.releases.lock().unwrap() += 1;
    }
}

struct Receiver {
    inbox: Arc<Memory>,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    fn start(full: bool) -> Self {
        let inbox = Arc::new(Memory { full, ..Memory::default() });
        let options = ScpOptions::new("127.0.0.1:0", "SULCUS", vec![SourceRule::catch_all("scanner")]);
        let scp = Scp::bind(options, inbox.clone()).unwrap();
        let address = scp.local_addr();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = Some(thread::spawn(move || scp.run(&seen)));
        Receiver { inbox, address, stop, thread }
    }

    fn spec(&self) -> ScannerSpec {
        ScannerSpec {
            address: self.address.to_string(),
            calling_ae_title: "MR3T".to_owned(),
            called_ae_title: "SULCUS".to_owned(),
            pace: None,
            order: Order::Ascending,
            association: AssociationPer::Series,
        }
    }

    fn uids(&self) -> Vec<String> {
        self.inbox.received.lock().unwrap().iter().map(|(uid, _)| uid.clone()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn scan(encoding: Encoding) -> Vec<PhantomSeries> {
    let spec = PhantomSpec {
        spacing_mm: [8.0; 3],
        size: [24, 20, 9],
        lesions: 0..=0,
        ..PhantomSpec::demo(Field::T3, Sequence::Mp2rage, 1)
    };
    let phantom = Phantom::generate(&spec).unwrap();
    let scan = ScanSpec { vendor: Vendor::Siemens, encoding, localizer: false, label: String::new() };
    study(&phantom, &scan).unwrap()
}

fn flat(study: &[PhantomSeries]) -> Vec<(String, Vec<u8>)> {
    let instances = study.iter().flat_map(|series| &series.instances);
    instances.map(|instance| (instance.sop_instance_uid.clone(), instance.data_set.clone())).collect()
}

#[test]
fn a_study_arrives_whole_in_order_and_unchanged() {
    for encoding in [Encoding::Classic, Encoding::Enhanced] {
        let receiver = Receiver::start(false);
        let study = scan(encoding);
        let mut steps = Vec::new();
        let sent = send(&study, &receiver.spec(), |progress| steps.push((progress.sent, progress.total))).unwrap();
        let all = flat(&study);
        assert_eq!(sent.instances, all.len());
        assert_eq!(steps, (1..=all.len()).map(|sent| (sent, all.len())).collect::<Vec<_>>());
        assert_eq!(*receiver.inbox.received.lock().unwrap(), all);
    }
}

#[test]
fn interleaved_and_shuffled_orders_send_the_same_objects_in_another_order() {
    let study = scan(Encoding::Classic);
    let of = |order| {
        let receiver = Receiver::start(false);
        send(&study, &ScannerSpec { order, ..receiver.spec() }, |_| {}).unwrap();
        receiver.uids()
    };
    let ascending = of(Order::Ascending);
    let interleaved = of(Order::Interleaved);
    assert_eq!(interleaved[..5], [0, 2, 4, 6, 8].map(|at: usize| ascending[at].clone()));
    let shuffled = of(Order::Shuffled(3));
    assert_eq!(shuffled, of(Order::Shuffled(3)));
    assert_ne!(shuffled, of(Order::Shuffled(4)));
    for mut order in [interleaved, shuffled.clone()] {
        assert_ne!(order, ascending);
        let mut sorted = ascending.clone();
        sorted.sort();
        order.sort();
        assert_eq!(order, sorted);
    }
}

#[test]
fn associations_reach_as_far_as_asked() {
    let study = scan(Encoding::Classic);
    let expected = [(AssociationPer::Instance, 27), (AssociationPer::Series, 3), (AssociationPer::Study, 1)];
    for (association, releases) in expected {
        let receiver = Receiver::start(false);
        send(&study, &ScannerSpec { association, ..receiver.spec() }, |_| {}).unwrap();
        let waited = Instant::now();
        // The SCP tells of the release after it answered it.
        while *receiver.inbox.releases.lock().unwrap() < releases && waited.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(*receiver.inbox.releases.lock().unwrap(), releases, "{association:?}");
    }
}

#[test]
fn the_pace_is_a_least_time_between_objects() {
    let receiver = Receiver::start(false);
    let study = scan(Encoding::Classic);
    let spec = ScannerSpec { pace: Some(Duration::from_millis(20)), ..receiver.spec() };
    let sent = send(&study[..1], &spec, |_| {}).unwrap();
    assert!(sent.last_slice_at - sent.first_slice_at >= Duration::from_millis(8 * 20));
}

#[test]
fn a_refusal_is_told_with_its_status() {
    let receiver = Receiver::start(true);
    let error = send(&scan(Encoding::Enhanced), &receiver.spec(), |_| {}).unwrap_err();
    assert!(matches!(error, ScannerError::Refused { status: 0xA700, .. }), "{error}");
}

#[test]
fn an_absent_receiver_and_an_empty_study_are_errors() {
    let spec = Receiver::start(false).spec();
    assert!(matches!(send(&scan(Encoding::Enhanced), &spec, |_| {}), Err(ScannerError::Scu { sent: 0, .. })));
    assert!(matches!(send(&[], &spec, |_| {}), Err(ScannerError::Empty)));
}
