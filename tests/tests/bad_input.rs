//! Bad input through the real binary: each case is answered so that its sender understands, kept where there are bytes,
//! said in words, and the receiver lives on in bounded memory.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use sulcus_connectors::dimse::scu::{self, ScuError};
use sulcus_engine::ledger::event::Event;
use sulcus_engine::ledger::read::Reader;
use sulcus_engine::receiver::{ledger_path, spool_path};
use sulcus_engine::spool::read::SpoolReader;
use sulcus_operators::results::report::Status;
use sulcus_tests::scans::{associate, objects, reports, send, small_series, small_series_uid};
use sulcus_tests::serving::{Object, Serving, SiteSpec, count, settled};
use sulcus_tests::skip;
use sulcus_tests::slices::{Slices, write_series};

const PATIENCE: Duration = Duration::from_secs(60);
/// Most memory that the receiver may ever have held.
const RECEIVER_KIB: u64 = 300 << 10;

fn status(serving: &Serving) -> Value {
    let (said, done) = serving.command(&["status", "--json"]).unwrap();
    assert!(done, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// The fault rows about a key, as `stage: reason (hint)`.
fn faults(serving: &Serving, key: &str) -> Vec<String> {
    let status = status(serving);
    let rows = status["faults"].as_array().unwrap();
    let about = rows.iter().filter(|fault| fault["key"] == key);
    about.map(|fault| format!("{}: {} ({})", fault["stage"], fault["reason"], fault["hint"])).collect()
}

/// The receiver answers, has never been restarted, and has never held much memory.
fn lives(serving: &Serving) -> u64 {
    scu::echo(&serving.address().to_string(), "SCANNER", "SULCUS", Duration::from_secs(5)).unwrap();
    assert!(!serving.log().contains("ended by itself"), "{}", serving.log());
    assert!(!serving.log().contains("panicked"), "{}", serving.log());
    let receiver = serving.roles().into_iter().find(|role| role.name == "receiver").unwrap();
    let text = fs::read_to_string(format!("/proc/{}/status", receiver.id)).unwrap();
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    let peak = peak.parse().unwrap();
    assert!(peak < RECEIVER_KIB, "the receiver held {peak} KiB");
    peak
}

fn verifies(serving: &Serving) {
    let (said, whole) = serving.command(&["ledger", "verify"]).unwrap();
    assert!(whole, "{said}");
}

/// An element of Explicit VR Little Endian with a 32-bit length.
fn element(tag: [u8; 4], vr: &[u8; 2], length: u32) -> Vec<u8> {
    [tag.as_slice(), vr, &[0, 0], &length.to_le_bytes()].concat()
}

/// Data sets that attack whoever parses them, by what they do.
fn hostile(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut state = 7_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let item = [0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff];
    let level = [element([0x08, 0, 0x40, 0x11], b"SQ", u32::MAX).as_slice(), &item].concat();
    let huge = 0xffff_fff0;
    vec![
        ("is eight zero bytes", vec![0; 8]),
        ("is cut inside its pixels", good[..good.len() / 2].to_vec()),
        ("is cut inside its header", good[..101].to_vec()),
        ("is random", (0..200_000).map(|_| noise()).collect()),
        ("nests half a million sequences", level.repeat(500_000)),
        ("declares 4 GiB of pixels", [good, &element([0xe0, 0x7f, 0x10, 0], b"OW", huge), &[0; 64]].concat()),
        ("declares a sequence of 4 GiB", [&element([0x08, 0, 0x40, 0x11], b"SQ", huge), good].concat()),
        ("declares an item of 4 GiB", [&level[..12], &item[..4], &huge.to_le_bytes(), good].concat()),
        ("holds two million empty elements", [8, 0, 5, 0, b'C', b'S', 0, 0].repeat(2_000_000)),
        ("is one text of 60 MB", [element([0x08, 0, 0x05, 0], b"UT", 60_000_000), vec![b'A'; 60_000_000]].concat()),
    ]
}

#[test]
fn hostile_objects_are_kept_in_quarantine_and_the_receiver_lives_on() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let slices = small_series(&work.path().join("in"), 21).unwrap();
    let cases = hostile(&slices[0].data_set);
    let before = lives(&serving);
    for (number, (what, data_set)) in cases.iter().enumerate() {
        let uid = format!("2.25.2100{number}");
        let object = Object { sop_instance_uid: uid.clone(), data_set: data_set.clone(), ..slices[0].clone() };
        let statuses =
            send(serving.address(), &[object]).unwrap_or_else(|error| panic!("an object that {what}: {error:?}"));
        assert_eq!(statuses, [0xb007], "an object that {what}: kept, and said to be of no use");
        // The ledger follows the answer within milliseconds.
        let known = |entries: &[_]| count(entries, "InstanceQuarantined") > number;
        serving.wait_for("not in the ledger", PATIENCE, known).unwrap();
        let said = faults(&serving, &uid);
        assert!(said.len() == 1 && said[0].contains("cannot be used"), "an object that {what}: {said:?}");
        println!("an object that {what}: {} KiB at most; {}", lives(&serving), said[0]);
    }
    println!("{before} KiB before");
    assert_eq!(count(&serving.entries(), "InstanceQuarantined"), cases.len());
    verifies(&serving);
    let mut spool = SpoolReader::new(&spool_path(&serving.data()));
    let kept = serving.entries().into_iter().filter_map(|entry| match entry.event {
        Event::InstanceQuarantined { place, .. } => Some(spool.data_set(&place).unwrap().1),
        _ => None,
    });
    assert!(kept.eq(cases.into_iter().map(|(_, data_set)| data_set)), "every byte is kept as it came");
    // And an honest series is served as ever.
    send(serving.address(), &slices).unwrap();
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();
}

#[test]
fn a_class_that_is_no_storage_is_refused_and_one_that_is_no_image_is_kept() {
    let work = tempfile::tempdir().unwrap();
    let serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let slice = small_series(&work.path().join("in"), 22).unwrap().remove(0);
    for class in ["1.2.840.10008.5.1.4.1.2.2.1", "1.2.3.4.5"] {
        let wrong = Object { sop_class_uid: class.to_owned(), ..slice.clone() };
        let refused = associate(serving.address(), std::slice::from_ref(&wrong)).map(|_| ()).unwrap_err();
        assert!(format!("{refused:?}").contains(&format!("does not take SOP class {class}")), "{refused:?}");
        // Beside one that is accepted, the association stands and only this object is refused.
        let mut storer = associate(serving.address(), &[slice.clone(), wrong]).unwrap();
        let error = storer.store(class, "2.25.1", &slice.transfer_syntax, &slice.data_set).unwrap_err();
        assert!(matches!(error, ScuError::ContextRefused { .. }), "{error}");
        let stored =
            storer.store(&slice.sop_class_uid, &slice.sop_instance_uid, &slice.transfer_syntax, &slice.data_set);
        assert_eq!(stored.unwrap(), 0);
        storer.release().unwrap();
    }
    // Presented as CT, and MR by its own header: what the header says counts, or it is kept aside; never lost.
    let disguised = Object {
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        sop_instance_uid: "2.25.22000".to_owned(),
        ..slice.clone()
    };
    let statuses = send(serving.address(), &[disguised]).unwrap();
    println!("an MR data set sent as CT under another UID is answered 0x{:04X}", statuses[0]);
    assert!(matches!(statuses[0], 0x0000 | 0xb000..=0xbfff), "{statuses:x?}");
    lives(&serving);
    verifies(&serving);
}

#[test]
fn a_uid_that_comes_again_with_other_bytes_is_warned_of_and_the_first_is_kept() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let slices = small_series(&work.path().join("in"), 23).unwrap();
    let mut other = slices[4].clone();
    *other.data_set.last_mut().unwrap() ^= 1;
    let uid = other.sop_instance_uid.clone();
    let mut all = slices.clone();
    all.insert(5, other);
    all.push(slices[4].clone());
    let statuses = send(serving.address(), &all).unwrap();
    let expected: Vec<u16> = (0..all.len()).map(|at| if at == 5 { 0xb000 } else { 0 }).collect();
    assert_eq!(statuses, expected, "a warning for the other bytes; the same bytes again change nothing");
    let said = faults(&serving, &uid);
    assert!(said.len() == 1 && said[0].contains("other bytes") && said[0].contains("withdraw"), "{said:?}");
    let held = Reader::open(&ledger_path(&serving.data())).unwrap().held(&uid).unwrap().unwrap();
    let (_, bytes) = SpoolReader::new(&spool_path(&serving.data())).data_set(&held.place).unwrap();
    assert_eq!(bytes, slices[4].data_set, "the first stands");
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();
    assert_eq!(reports(&serving.results())[0].1.run.as_ref().unwrap().size[2], 20);
    verifies(&serving);
}

/// The verdict on a series and its reasons in one line.
fn verdict(serving: &Serving, series_uid: &str) -> (String, String) {
    let status = status(serving);
    let series = status["series"].as_array().unwrap().iter().find(|series| series["series_uid"] == series_uid).unwrap();
    let row = &series["completeness"];
    (row["verdict"].as_str().unwrap().to_owned(), row["reasons"].to_string())
}

#[test]
fn a_series_with_a_gap_stalls_with_the_reason_and_the_missing_slice_cures_it() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec { idle_seconds: 0.5, ..SiteSpec::default() }).unwrap();
    let mut slices = small_series(&work.path().join("in"), 24).unwrap();
    let missing = [slices.remove(9)];
    send(serving.address(), &slices).unwrap();
    let fired = |entries: &[_]| count(entries, "TimerFired") > 0;
    serving.wait_for("the idle timer did not fire", PATIENCE, fired).unwrap();
    let uid = small_series_uid(24);
    let (word, reasons) = verdict(&serving, &uid);
    assert_eq!(word, "Stalled", "{reasons}");
    assert!(reasons.contains("1 slices are missing between others"), "{reasons}");
    let said = faults(&serving, &uid);
    assert!(said.iter().any(|fault| fault.contains("send the missing slices")), "{said:?}");
    assert_eq!(count(&serving.entries(), "RunStarted"), 0);

    send(serving.address(), &missing).unwrap();
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();
    assert_eq!(verdict(&serving, &uid).0, "Complete");
    assert_eq!(faults(&serving, &uid), Vec::<String>::new(), "a fault that is cured is gone");
    let (_, report) = reports(&serving.results()).remove(0);
    assert_eq!((report.revision, report.status), (1, Status::Final));
}

#[test]
fn a_series_of_two_patients_is_not_run_until_one_of_them_is_withdrawn() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec { idle_seconds: 0.5, ..SiteSpec::default() }).unwrap();
    let mut slices = small_series(&work.path().join("in"), 25).unwrap();
    let (name, other) = (b"SYNTHETIC", b"SOMEBODYX");
    let stranger = slices.last_mut().unwrap();
    let at = stranger.data_set.windows(name.len()).position(|bytes| bytes == name).unwrap();
    stranger.data_set[at..at + name.len()].copy_from_slice(other);
    let wrong = stranger.sop_instance_uid.clone();
    assert!(send(serving.address(), &slices).unwrap().iter().all(|status| *status == 0));
    let fired = |entries: &[_]| count(entries, "TimerFired") > 0;
    serving.wait_for("the idle timer did not fire", PATIENCE, fired).unwrap();
    let uid = small_series_uid(25);
    let (word, reasons) = verdict(&serving, &uid);
    assert_eq!(word, "Stalled", "{reasons}");
    let said = faults(&serving, &uid);
    assert!(said.iter().any(|fault| fault.contains("2 patients") && fault.contains("withdraw")), "{said:?}");
    assert_eq!(count(&serving.entries(), "RunStarted"), 0);
    let told = format!("{said:?}{}", serving.log());
    assert!(!told.contains("SYNTHETIC") && !told.contains("SOMEBODYX"), "no patient is named in faults and logs");

    let (said, done) = serving.command(&["withdraw", "--instance", &wrong, "--reason", "another patient"]).unwrap();
    assert!(done, "{said}");
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();
    assert_eq!(reports(&serving.results())[0].1.run.as_ref().unwrap().size[2], 19);
    assert_eq!(faults(&serving, &uid), Vec::<String>::new());
}

#[test]
fn a_destination_that_cannot_be_written_is_tried_again_and_said() {
    let work = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    fs::write(serving.results(), "a file where the folder should be").unwrap();
    send(serving.address(), &small_series(&work.path().join("in"), 26).unwrap()).unwrap();
    let failed = |entries: &[_]| count(entries, "DeliveryFailed") >= 2;
    serving.wait_for("no attempt failed", PATIENCE, failed).unwrap();
    let status = status(&serving);
    assert!(!status["deliveries_to_do"].as_array().unwrap().is_empty(), "{status}");
    let told = status["faults"].to_string();
    assert!(told.contains("deliver"), "a destination that fails is a fault while it does: {told}");
    fs::remove_file(serving.results()).unwrap();
    serving.wait_for("not delivered", PATIENCE, |entries| settled(entries, 2)).unwrap();
    assert_eq!(reports(&serving.results()).len(), 1);
}

/// A tmpfs, unmounted at the end.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path, options: &str) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Small(at))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        // Nothing depends on it but the machine's memory.
        let _status = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_answered_out_of_resources_and_when_there_is_room_the_series_is_taken() {
    let work = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(work.path(), "size=400m") else {
        return skip("a tmpfs cannot be mounted here (it needs root)");
    };
    let mut serving = Serving::start(work.path(), SiteSpec::default()).unwrap();
    let input = tempfile::tempdir().unwrap();
    let files = write_series(input.path(), Slices { count: 20, rows: 64, columns: 64, seed: 27 }).unwrap();
    let mut slices = objects(&files).unwrap();
    // The first slice comes late, so that nothing looks whole before all are there.
    slices.rotate_left(1);
    assert_eq!(send(serving.address(), &slices[..10]).unwrap(), [0; 10]);
    let ballast = work.path().join("ballast");
    // `dd` ends where the file system is full.
    let mut fill = Command::new("dd");
    fill.args(["if=/dev/zero", "bs=1M", "status=none"]).arg(format!("of={}", ballast.display()));
    assert!(!fill.stderr(Stdio::null()).status().unwrap().success());
    let refused = send(serving.address(), &slices[10..]).unwrap_or_else(|error| panic!("{error:?}: {}", serving.log()));
    assert_eq!(refused, [0xa700; 10], "refused: out of resources");
    lives(&serving);
    fs::remove_file(&ballast).unwrap();
    let taken = (0..40).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        send(serving.address(), &slices[10..]).unwrap().iter().all(|status| *status == 0)
    });
    assert!(taken, "there is room again, and the receiver takes nothing");
    serving.wait_for("no result", PATIENCE, |entries| settled(entries, 2)).unwrap();
    assert_eq!(reports(&serving.results())[0].1.run.as_ref().unwrap().size[2], 20);
    lives(&serving);
    verifies(&serving);
}
