//! Storage commitment with real archives: Orthanc, which calls back, and pynetdicom, which reports over our association,
//! or does so wrongly, or not at all.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sulcus_engine::ledger::commitments::transaction_uid;
use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_tests::orthanc::{Known, Orthanc};
use sulcus_tests::places::root;
use sulcus_tests::python::interpreter;
use sulcus_tests::scans::{send, small_series};
use sulcus_tests::serving::{Serving, SiteSpec, count};
use sulcus_tests::{PeerError, Running, free_port, or_skip};

const PATIENCE: Duration = Duration::from_secs(90);

fn spec(archive: SocketAddr, seconds: f64) -> SiteSpec {
    SiteSpec {
        archive: Some(archive),
        archive_settings: format!("storage_commitment = true\ncommitment_seconds = {seconds:?}\n"),
        ..SiteSpec::default()
    }
}

/// What the archive's deliveries were settled with.
fn receipts(entries: &[Entry]) -> Vec<String> {
    let receipt = |entry: &Entry| match &entry.event {
        Event::DeliverySettled { destination, receipt, .. } if destination == "archive" => Some(receipt.clone()),
        _ => None,
    };
    entries.iter().filter_map(receipt).collect()
}

/// Why deliveries to the archive failed.
fn failures(entries: &[Entry]) -> Vec<String> {
    let reason = |entry: &Entry| match &entry.event {
        Event::DeliveryFailed { destination, reason, .. } if destination == "archive" => Some(reason.clone()),
        _ => None,
    };
    entries.iter().filter_map(reason).collect()
}

/// Transactions of the archive's attempts that were begun, and of those that were reported, as events.
fn transactions(entries: &[Entry]) -> (Vec<String>, Vec<String>) {
    let (mut begun, mut reported) = (Vec::new(), Vec::new());
    for entry in entries {
        match &entry.event {
            Event::DeliveryStarted { object, destination, attempt } if destination == "archive" => {
                begun.push(transaction_uid(object, destination, *attempt));
            }
            Event::CommitmentReported { transaction_uid, .. } => reported.push(transaction_uid.clone()),
            _ => {}
        }
    }
    (begun, reported)
}

#[test]
fn orthanc_gives_its_word_by_calling_back() {
    let work = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let known = [Known { ae_title: "SULCUS", address, storage_commitment: true }];
    let Some(orthanc) = or_skip(Orthanc::start_knowing(work.path(), &known)) else { return };
    // The archive is no source: it may call to report, and for nothing else.
    let source_settings = "ae_titles = [\"SCANNER\"]\n".to_owned();
    let site = SiteSpec { address: Some(address), source_settings, ..spec(orthanc.dicom_address(), 30.0) };
    let mut serving = Serving::start(work.path(), site).unwrap();
    send(serving.address(), &small_series(&work.path().join("in"), 31).unwrap()).unwrap();
    serving.wait_for("nothing was committed", PATIENCE, |entries| !receipts(entries).is_empty()).unwrap();
    let entries = serving.entries();
    assert_eq!(receipts(&entries)[0], "C-STORE 0x0000, committed", "{:?}", failures(&entries));
    let (begun, reported) = transactions(&entries);
    assert_eq!(reported[0], begun[0], "the report is of the transaction that was begun");
    let at = |name: &str| entries.iter().find(|entry| entry.event.name() == name).unwrap();
    let Event::CommitmentReported { committed, failed, .. } = &at("CommitmentReported").event else { unreachable!() };
    assert_eq!((committed.len(), failed.len()), (1, 0));
    let held = orthanc.instances().unwrap();
    assert!(held.iter().any(|id| orthanc.value(id, "SOPInstanceUID").unwrap() == committed[0].as_str()));
    let (said, shown) = serving.command(&["ledger", "show"]).unwrap();
    assert!(shown && said.contains(&format!("{}: 1 committed, 0 not", reported[0])), "{said}");
}

#[test]
fn an_orthanc_that_does_not_know_us_is_a_reason_and_is_tried_again() {
    let work = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(work.path())) else { return };
    let mut serving = Serving::start(work.path(), spec(orthanc.dicom_address(), 1.0)).unwrap();
    send(serving.address(), &small_series(&work.path().join("in"), 32).unwrap()).unwrap();
    serving.wait_for("no attempt failed", PATIENCE, |entries| failures(entries).len() >= 2).unwrap();
    let entries = serving.entries();
    println!("{:?}", failures(&entries));
    assert!(
        failures(&entries).iter().all(|reason| reason.contains("stored the object and")),
        "{:?}",
        failures(&entries)
    );
    assert_eq!(receipts(&entries), Vec::<String>::new());
    assert!(!orthanc.instances().unwrap().is_empty(), "the object itself is there");
}

/// A pynetdicom archive of this behaviour, and the lines that it wrote.
struct Archive {
    address: SocketAddr,
    log: std::path::PathBuf,
    _running: Running,
}

impl Archive {
    fn start(folder: &Path, behaviour: &str) -> Result<Archive, PeerError> {
        let (address, log) = (SocketAddr::from(([127, 0, 0, 1], free_port()?)), folder.join("archive.jsonl"));
        let mut command = Command::new(interpreter()?);
        command.arg(root().join("tests/peers/commitment_scp.py"));
        command.args([address.port().to_string().as_str(), behaviour]).arg(&log);
        let mut running = Running::start(&mut command, &folder.join("archive.log"))?;
        running.wait_for(address)?;
        Ok(Archive { address, log, _running: running })
    }

    /// Values of this key, in order.
    fn said(&self, key: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        rows.filter_map(|row| row.get(key).cloned()).collect()
    }
}

/// A site whose archive behaves so, with one series sent; until `enough`.
fn site_with(
    behaviour: &str,
    seed: u32,
    enough: impl Fn(&[Entry]) -> bool,
) -> Option<(Serving, Archive, tempfile::TempDir)> {
    let work = tempfile::tempdir().unwrap();
    let archive = or_skip(Archive::start(work.path(), behaviour))?;
    let seconds = if matches!(behaviour, "silent" | "unknown") { 1.0 } else { 20.0 };
    let mut serving = Serving::start(work.path(), spec(archive.address, seconds)).unwrap();
    send(serving.address(), &small_series(&work.path().join("in"), seed).unwrap()).unwrap();
    serving.wait_for(behaviour, PATIENCE, enough).unwrap();
    Some((serving, archive, work))
}

#[test]
fn a_report_over_our_own_association_settles_once_however_often_it_comes() {
    for (behaviour, seed) in [("same", 33), ("twice", 34)] {
        let delivered = |entries: &[Entry]| !receipts(entries).is_empty();
        let Some((serving, archive, _work)) = site_with(behaviour, seed, delivered) else { return };
        let entries = serving.entries();
        assert_eq!(receipts(&entries)[0], "C-STORE 0x0000, committed");
        assert_eq!(failures(&entries), Vec::<String>::new());
        let (begun, reported) = transactions(&entries);
        assert_eq!(begun[0], reported[0]);
        assert_eq!(reported.iter().filter(|uid| **uid == begun[0]).count(), 1, "{reported:?}");
        assert_eq!(archive.said("answered").first(), Some(&0.into()), "answered once the event was durable");
    }
}

#[test]
fn a_failure_is_tried_again_until_the_archive_commits_itself() {
    let delivered = |entries: &[Entry]| !receipts(entries).is_empty();
    let Some((serving, archive, _work)) = site_with("failures", 35, delivered) else { return };
    let entries = serving.entries();
    let refused = "the archive does not commit itself to the object: it has no such object (0x0112)";
    assert_eq!(failures(&entries)[..2], [refused, refused]);
    assert_eq!(receipts(&entries)[0], "C-STORE 0x0000, committed");
    let (begun, reported) = transactions(&entries);
    assert_eq!(begun[..3], reported[..3], "each attempt has its own transaction");
    let stored = archive.said("stored");
    assert!(stored.len() >= 3 && stored[..3].iter().all(|uid| *uid == stored[0]), "sent again under the same UID");
}

#[test]
fn without_a_word_an_object_is_not_delivered() {
    for (behaviour, seed) in [("silent", 36), ("unknown", 37), ("refuses", 38)] {
        let tried = |entries: &[Entry]| failures(entries).len() >= 3;
        let Some((serving, archive, _work)) = site_with(behaviour, seed, tried) else { return };
        let entries = serving.entries();
        let expected = match behaviour {
            "refuses" => "refused to be asked for commitment (0x0213)",
            _ => "did not commit itself to it in 1 s",
        };
        assert!(failures(&entries).iter().all(|reason| reason.contains(expected)), "{:?}", failures(&entries));
        assert_eq!((receipts(&entries).len(), count(&entries, "CommitmentReported")), (0, 0));
        if behaviour == "unknown" {
            assert!(archive.said("answered").iter().all(|status| *status == 0x0115), "{:?}", archive.said("answered"));
        }
        let waited: Vec<i64> = entries
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::DeliveryFailed { retry_at, .. } => Some(retry_at - entry.at),
                _ => None,
            })
            .collect();
        assert!(waited[1] > waited[0], "it backs off: {waited:?} ms");
        let (status, _) = serving.command(&["status"]).unwrap();
        assert!(status.contains("archive"), "what is not delivered is a fault: {status}");
    }
}
