//! The promises of the receiver: what is kept, repeated, refused, and what passes over its socket.
#![allow(clippy::unwrap_used)]
use std::{os::unix::fs::FileExt, sync::Barrier};

use super::{
    client::{Client, ClientError, Subscription},
    *,
};
use crate::{
    ledger::{
        commitments::{MOST_REPORTS, Word, transaction_uid},
        event::{Arrival, Scope},
        read::Reader,
    },
    spool::{read::SpoolReader, segment_path},
    testing::{incoming, read},
};

fn small() -> Limits {
    Limits { segment_bytes: 1 << 20, minimum_free: 0, ..Limits::default() }
}

fn open(folder: &Path) -> Receiver {
    Receiver::open(folder, small(), Box::new(read)).unwrap()
}

fn kept() -> Stored {
    Stored::Kept { series_uid: "1.2.3.1".into() }
}

fn entries(folder: &Path) -> Vec<crate::ledger::event::Entry> {
    Reader::open(&ledger_path(folder)).unwrap().entries_after(0, 10_000).unwrap()
}

fn names(folder: &Path) -> Vec<&'static str> {
    entries(folder).iter().map(|entry| entry.event.name()).collect()
}

#[test]
fn what_is_kept_is_in_spool_and_ledger_and_its_release_comes_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = open(folder.path());
    for number in 0..20 {
        assert_eq!(receiver.store(incoming(1, number, b"pixels")), kept());
    }
    receiver.released("test", vec!["1.2.3.1".into()], true);
    let names = names(folder.path());
    assert_eq!(names.len(), 21);
    assert_eq!(names.last(), Some(&"AssociationReleased"));
    let reader = Reader::open(&ledger_path(folder.path())).unwrap();
    let (facts, place) = reader.instances(&[20]).unwrap().remove(0);
    let (_, bytes) = SpoolReader::new(&spool_path(folder.path())).data_set(&place).unwrap();
    assert_eq!(bytes, b"1 19 pixels");
    assert_eq!(facts.data_set_digest, Digest::of(&bytes));
    assert_eq!(reader.verify(&spool_path(folder.path())).unwrap().faults, []);
}

#[test]
fn the_same_bytes_again_are_repeated_and_not_spooled_twice() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = open(folder.path());
    let repeated = Stored::Repeated { series_uid: "1.2.3.1".into() };
    assert_eq!(receiver.store(incoming(1, 1, &[7; 100_000])), kept());
    assert_eq!(receiver.store(incoming(1, 1, &[7; 100_000])), repeated);
    assert_eq!(receiver.store(incoming(1, 1, b"other")), Stored::Conflict);
    drop(receiver);
    let receiver = open(folder.path());
    assert_eq!(receiver.reconciled(), &Reconciled::default());
    assert_eq!(receiver.store(incoming(1, 1, &[7; 100_000])), repeated);
    drop(receiver);
    let found: Vec<_> = entries(folder.path())
        .into_iter()
        .filter_map(|entry| match entry.event {
            Event::InstanceReceived { place, arrival, .. } => Some((place, arrival)),
            _ => None,
        })
        .collect();
    let arrivals: Vec<_> = found.iter().map(|(_, arrival)| arrival.clone()).collect();
    let again = Arrival::Repeated { first: 1 };
    assert_eq!(arrivals, [Arrival::New, again.clone(), Arrival::Conflict { first: 1 }, again]);
    assert_eq!((found[0].0, found[0].0), (found[1].0, found[3].0), "a repetition names the first's bytes");
    assert_eq!(found[2].0.length, 9, "the bytes of a conflict are kept too");
}

#[test]
fn the_same_object_from_many_associations_at_once_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = open(folder.path());
    let together = Barrier::new(8);
    let answers: Vec<Stored> = std::thread::scope(|scope| {
        let store = || {
            together.wait();
            receiver.store(incoming(1, 1, &[3; 5000]))
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(store)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|&answer| *answer == kept()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Stored::Repeated { .. })).count(), 7);
    drop(receiver);
    let new = |entry: &&crate::ledger::event::Entry| {
        matches!(entry.event, Event::InstanceReceived { arrival: Arrival::New, .. })
    };
    assert_eq!(entries(folder.path()).iter().filter(new).count(), 1);
}

#[test]
fn a_repetition_of_bytes_that_no_longer_verify_takes_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = open(folder.path());
    receiver.store(incoming(1, 1, &[7; 5000]));
    let file = File::options().write(true).open(segment_path(&spool_path(folder.path()), 1)).unwrap();
    file.write_all_at(b"!", 3000).unwrap();
    assert_eq!(receiver.store(incoming(1, 1, &[7; 5000])), kept());
    receiver.released("test", vec!["1.2.3.1".into()], true);
    let found = names(folder.path());
    assert_eq!(found, ["InstanceReceived", "InstanceWithdrawn", "InstanceReceived", "AssociationReleased"]);
    let reader = Reader::open(&ledger_path(folder.path())).unwrap();
    let place = reader.instances(&[3]).unwrap()[0].1;
    assert!(SpoolReader::new(&spool_path(folder.path())).data_set(&place).is_ok());
    let verified = reader.verify(&spool_path(folder.path())).unwrap();
    assert_eq!(verified.faults.len(), 1, "verify still names the damaged record");
}

#[test]
fn what_cannot_be_understood_or_contradicts_its_command_is_quarantined_with_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = open(folder.path());
    let mut unreadable = incoming(1, 1, b"");
    unreadable.data_set = b"no numbers here".to_vec();
    let mut renamed = incoming(1, 1, b"pixels");
    renamed.sop_instance_uid = "9.9.9".into();
    let mut reclassed = incoming(1, 1, b"pixels");
    reclassed.sop_class_uid = "8.8.8".into();
    for bad in [unreadable, renamed, reclassed] {
        assert!(matches!(receiver.store(bad), Stored::Quarantined { .. }));
    }
    drop(receiver);
    for entry in entries(folder.path()) {
        let Event::InstanceQuarantined { place, .. } = entry.event else { panic!("{:?}", entry.event) };
        assert!(SpoolReader::new(&spool_path(folder.path())).data_set(&place).is_ok());
    }
}

#[test]
fn a_full_disk_refuses_with_out_of_resources_and_the_receiver_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { minimum_free: u64::MAX, ..small() };
    let receiver = Receiver::open(folder.path(), limits, Box::new(read)).unwrap();
    assert!(matches!(receiver.store(incoming(1, 1, b"pixels")), Stored::OutOfResources { .. }));
    assert!(receiver.append(vec![Event::RulesChanged(Default::default())]).is_ok(), "outcomes use the reserve");
    drop(receiver);
    assert_eq!(open(folder.path()).store(incoming(1, 1, b"pixels")), kept());
}

#[test]
fn one_data_folder_has_one_receiver() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let second = Receiver::open(folder.path(), small(), Box::new(read));
    assert!(matches!(second, Err(ReceiverError::Locked { .. })));
    drop(first);
    open(folder.path());
}

#[test]
fn the_engine_appends_over_the_socket_and_is_told_of_every_advance() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = open(folder.path());
    let mut told = Subscription::open(folder.path()).unwrap();
    assert_eq!(told.next().unwrap().unwrap(), 0);
    let mut client = Client::new(folder.path());
    let started = Event::RunStarted { run_key: Digest::of(b"run"), attempt: 1 };
    assert_eq!(client.append(vec![started.clone(), started]).unwrap(), [1, 2]);
    assert_eq!(told.next().unwrap().unwrap(), 2);
    receiver.store(incoming(1, 1, b"pixels"));
    assert_eq!(told.next().unwrap().unwrap(), 3);
    assert_eq!(client.withdraw(Scope::Instance("1.2.3.1.1".into()), "a test", None).unwrap(), [4]);
    assert_eq!(receiver.store(incoming(1, 1, b"pixels")), kept(), "withdrawn, it is new again");
    let status = client.status().unwrap();
    assert_eq!((status.trouble, status.faults_at_start), (None, 0));
    drop(receiver);
    assert!(matches!(client.status(), Err(ClientError::Io { .. })));
    assert!(told.by_ref().any(|told| told.is_err()) && told.next().is_none(), "a subscription ends with its receiver");
}

#[test]
fn a_client_cannot_bring_instances_nor_break_the_receiver_with_bad_lines() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { line_bytes: 10_000, ..small() };
    let receiver = Receiver::open(folder.path(), limits, Box::new(read)).unwrap();
    receiver.store(incoming(1, 1, b"pixels"));
    receiver.released("test", vec!["1.2.3.1".into()], true);
    let received = entries(folder.path()).remove(0).event;
    let mut client = Client::new(folder.path());
    assert!(matches!(client.append(vec![received]), Err(ClientError::Refused { .. })));
    for line in ["nonsense\n".into(), "{\"append\":{}}\n".into(), "x".repeat(20_000)] {
        let mut stream = std::os::unix::net::UnixStream::connect(socket_path(folder.path())).unwrap();
        let _ = stream.write_all(line.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.contains("refused"), "{answer}");
    }
    // The ledger may hold an event a moment before the receiver tells of it.
    let begun = std::time::Instant::now();
    let mut last_seq = client.status().unwrap().last_seq;
    while last_seq < 2 && begun.elapsed() < Duration::from_secs(10) {
        last_seq = client.status().unwrap().last_seq;
    }
    assert_eq!(last_seq, 2);
}

#[test]
fn connections_beyond_the_limit_are_refused_and_freed_ones_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let _receiver = Receiver::open(folder.path(), Limits { clients: 2, ..small() }, Box::new(read)).unwrap();
    let mut held: Vec<Client> = (0..2).map(|_| Client::new(folder.path())).collect();
    held.iter_mut().for_each(|client| assert!(client.status().is_ok()));
    assert!(Client::new(folder.path()).status().is_err());
    held.clear();
    let again = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        Client::new(folder.path()).status().is_ok()
    });
    assert!(again);
}

#[test]
fn a_receiver_ends_even_where_its_folder_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = open(folder.path());
    assert_eq!(receiver.store(incoming(1, 1, b"pixels")), kept());
    drop(folder);
    let (ended, end) = bounded(1);
    std::thread::spawn(move || {
        drop(receiver);
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_report_of_storage_commitment_is_an_event_only_where_its_transaction_was_begun_and_says_something_new() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = open(folder.path());
    let object = Digest::of(b"object");
    let transaction = |attempt| transaction_uid(&object, "pacs", attempt);
    let report = |transaction_uid: String, reason: Option<u16>| CommitmentReport {
        transaction_uid,
        committed: if reason.is_none() { vec!["1.2.3".into()] } else { Vec::new() },
        failed: reason.map(|reason| ("1.2.3".into(), reason)).into_iter().collect(),
    };
    assert_eq!(receiver.commitment_reported(report(transaction(1), None)), Reported::Unknown);
    let started = |attempt| Event::DeliveryStarted { object, destination: "pacs".into(), attempt };
    receiver.append(vec![started(1), started(2)]).unwrap();
    assert_eq!(receiver.commitment_reported(report("2.25.4711".into(), None)), Reported::Unknown);
    assert_eq!(entries(folder.path()).len(), 2, "nobody fills the ledger with what was never asked");
    let reader = Reader::open(&ledger_path(folder.path())).unwrap();
    assert_eq!(reader.word(&transaction(1), "1.2.3").unwrap(), None);
    for _ in 0..3 {
        assert_eq!(receiver.commitment_reported(report(transaction(1), Some(0x0112))), Reported::Recorded);
    }
    assert_eq!(entries(folder.path()).len(), 3, "the same again changes nothing");
    assert_eq!(reader.word(&transaction(1), "1.2.3").unwrap(), Some(Word::Failed(0x0112)));
    assert_eq!(reader.word(&transaction(1), "1.2.4").unwrap(), None);
    assert_eq!(receiver.commitment_reported(report(transaction(1), None)), Reported::Recorded);
    assert_eq!(reader.word(&transaction(1), "1.2.3").unwrap(), Some(Word::Committed), "the last word counts");
    assert_eq!(reader.word(&transaction(2), "1.2.3").unwrap(), None, "each attempt has its own");
    let flood: Vec<_> =
        (0..100).map(|reason| receiver.commitment_reported(report(transaction(2), Some(reason)))).collect();
    let recorded = flood.iter().filter(|reported| **reported == Reported::Recorded).count();
    assert_eq!((recorded, flood.last()), (MOST_REPORTS, Some(&Reported::TooMany)));
    assert_ne!(transaction(1), transaction_uid(&object, "other", 1));
    assert!(transaction(1).starts_with("2.25.") && transaction(1).len() <= 64);
}
