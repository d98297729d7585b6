//! An archive is asked how many instances a series has (C-FIND): what it holds is evidence, and where it holds more than came,
//! nothing is reported.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sulcus_connectors::dimse::find::Archive;
use sulcus_engine::ledger::event::{Entry, Event, TimerKind};
use sulcus_tests::dcmtk::{dcmqrscp, storescu};
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::scans::{send, small_series, small_series_uid};
use sulcus_tests::serving::{Serving, SiteSpec};
use sulcus_tests::slices::{Slices, write_series};
use sulcus_tests::{free_port, or_skip};

const PATIENCE: Duration = Duration::from_secs(60);

fn archive(address: SocketAddr, called: &str) -> Archive {
    Archive {
        address: address.to_string(),
        calling_ae_title: "SULCUS".to_owned(),
        called_ae_title: called.to_owned(),
        timeout: Duration::from_secs(10),
    }
}

fn site(address: SocketAddr) -> SiteSpec {
    SiteSpec {
        settle_seconds: 1.0,
        idle_seconds: 3600.0,
        source_settings: format!("[source.archive]\naddress = \"{address}\"\nae_title = \"ORTHANC\"\n"),
        ..SiteSpec::default()
    }
}

fn reported(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry.event, Event::RevisionIssued { .. }))
}

fn counts(entries: &[Entry]) -> Vec<u32> {
    let count = |entry: &Entry| match entry.event {
        Event::SeriesCounted { instances, .. } => Some(instances),
        _ => None,
    };
    entries.iter().filter_map(count).collect()
}

/// The study and the series of a file.
fn uids(file: &Path) -> [String; 2] {
    let object = dicom_object::open_file(file).unwrap();
    ["StudyInstanceUID", "SeriesInstanceUID"]
        .map(|name| object.element_by_name(name).unwrap().to_str().unwrap().trim_end_matches(['\0', ' ']).to_owned())
}

#[test]
fn archives_that_count_and_archives_that_only_list_are_both_counted() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("in");
    let files = write_series(&folder, Slices { count: 20, rows: 64, columns: 64, seed: 51 }).unwrap();
    let [study, series] = uids(&files[0]);
    let Some(orthanc) = or_skip(Orthanc::start(work.path())) else { return };
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let Some(lister) = or_skip(dcmqrscp(address, work.path())) else { return };
    for (address, called) in [(orthanc.dicom_address(), "ORTHANC"), (address, "QRSCP")] {
        let archive = archive(address, called);
        assert_eq!(archive.count(&study, &series).unwrap(), 0, "{called} holds nothing yet");
        storescu(address, called, &[], &[&folder]).unwrap();
        assert_eq!(archive.count(&study, &series).unwrap(), 20, "{called}: {}", lister.said());
        assert_eq!(archive.count(&study, "1.2.3").unwrap(), 0);
    }
}

#[test]
fn a_series_of_which_its_archive_holds_more_waits_for_the_rest_and_is_closed_by_the_count() {
    let work = tempfile::tempdir().unwrap();
    let Some(orthanc) = or_skip(Orthanc::start(work.path())) else { return };
    let slices = small_series(&work.path().join("in"), 52).unwrap();
    send(orthanc.dicom_address(), &slices).unwrap();
    let mut serving = Serving::start(work.path(), site(orthanc.dicom_address())).unwrap();
    // Half of it, released in good order: numbered from 1, even steps, no gap.
    let half = slices.len() / 2;
    send(serving.address(), &slices[..half]).unwrap();
    serving.wait_for("the archive was not asked", PATIENCE, |entries| !counts(entries).is_empty()).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let entries = serving.entries();
    assert_eq!((counts(&entries), reported(&entries)), (vec![slices.len() as u32], false));
    let (status, _) = serving.command(&["status"]).unwrap();
    let words = format!("{half} of {} instances that its archive holds (C-FIND)", slices.len());
    assert!(status.contains(&words), "{status}");

    send(serving.address(), &slices[half..]).unwrap();
    serving.wait_for("no report once all is here", PATIENCE, reported).unwrap();
    let entries = serving.entries();
    let idle = |entry: &Entry| matches!(&entry.event, Event::TimerFired(timer) if timer.kind == TimerKind::Idle);
    assert!(!entries.iter().any(idle), "it is closed long before the idle timer");
    assert_eq!(counts(&entries), [slices.len() as u32], "the same again is no news");
    let (shown, _) = serving.command(&["ledger", "show"]).unwrap();
    assert!(shown.contains(&format!("of {}", small_series_uid(52))), "{shown}");
}

#[test]
fn an_archive_that_cannot_be_asked_holds_up_nothing_and_is_told_of_once() {
    let work = tempfile::tempdir().unwrap();
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mut serving = Serving::start(work.path(), site(nobody)).unwrap();
    for seed in [53, 54] {
        let slices = small_series(&work.path().join(seed.to_string()), seed).unwrap();
        send(serving.address(), &slices).unwrap();
    }
    serving.wait_for("weaker evidence closed no series", PATIENCE, reported).unwrap();
    assert_eq!(serving.log().matches("the archive cannot be asked").count(), 1, "{}", serving.log());
    assert_eq!(counts(&serving.entries()), Vec::<u32>::new());
}
