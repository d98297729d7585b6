//! A file system that is really full. Under a receiver: refused with a status, nothing acknowledged is lost, and it
//! goes on when there is room. Under a command: it ends with the reason and leaves no half file. Needs root to mount a
//! small tmpfs; skips plainly without.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sulcus_connectors::inbox::{Inbox, Stored};
use sulcus_engine::{
    ledger::read::Reader,
    receiver::{Limits, Receiver, ledger_path, spool_path},
    spool::read::SpoolReader,
};
use sulcus_tests::made_up;
use sulcus_tests::places::{root, sulcus};
use sulcus_tests::slices::{Slices, write_series};

/// A tmpfs of 8 MiB, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Small(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A folder with a series and a small file system beside it.
fn scans(work: &Path, rows: u16) -> Option<Small> {
    write_series(&work.join("scans"), Slices { count: 20, rows, columns: rows, seed: 61 }).unwrap();
    fs::create_dir(work.join("small")).unwrap();
    let small = Small::mount(&work.join("small"));
    if small.is_none() {
        println!("skipped: a tmpfs cannot be mounted here (it needs root)");
    }
    small
}

fn open(folder: &Path) -> Receiver {
    let limits = Limits { minimum_free: 0, segment_bytes: 1 << 20, ..Limits::default() };
    Receiver::open(folder, limits, Box::new(made_up::read)).unwrap()
}

#[test]
fn a_full_file_system_refuses_keeps_what_it_acknowledged_and_goes_on_when_there_is_room() {
    let work = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(work.path()) else {
        println!("skipped: a tmpfs cannot be mounted here (it needs root)");
        return;
    };
    let folder = work.path().join("state");
    fs::write(work.path().join("ballast"), vec![1; 2 << 20]).unwrap();
    let receiver = open(&folder);
    let mut kept = Vec::new();
    let mut refused = 0;
    for number in 0..400 {
        match receiver.store(made_up::incoming(1, number, &[5; 60_000])) {
            Stored::Kept { .. } => kept.push(number),
            Stored::OutOfResources { .. } => refused += 1,
            other => panic!("instance {number}: {other:?}"),
        }
    }
    assert!(kept.len() > 20 && refused > 100, "{} kept, {refused} refused", kept.len());
    fs::remove_file(work.path().join("ballast")).unwrap();
    // The ledger tries again four times a second; it may have been full too.
    let again = (0..40).find(|_| {
        std::thread::sleep(Duration::from_millis(100));
        matches!(receiver.store(made_up::incoming(2, 1, &[5; 60_000])), Stored::Kept { .. } | Stored::Repeated { .. })
    });
    assert!(again.is_some(), "there is room again, and the receiver takes nothing");
    drop(receiver);
    let receiver = open(&folder);
    assert_eq!(receiver.reconciled().faults, []);
    let reader = Reader::open(&ledger_path(&folder)).unwrap();
    let mut spool = SpoolReader::new(&spool_path(&folder));
    for number in kept {
        let held = reader.held(&format!("1.2.3.1.{number}")).unwrap().unwrap();
        let (_, bytes) = spool.data_set(&held.place).unwrap();
        assert!(bytes.starts_with(format!("1 {number} ").as_bytes()));
    }
    assert_eq!(reader.verify(&spool_path(&folder)).unwrap().faults, []);
}

#[test]
fn a_conversion_onto_a_full_file_system_leaves_no_half_file() {
    let work = tempfile::tempdir().unwrap();
    let Some(_small) = scans(work.path(), 512) else { return };
    let output = work.path().join("small/out");
    for arguments in [&[][..], &["--gzip"]] {
        let mut convert = Command::new(sulcus().unwrap());
        let ran = convert.arg("convert").args([&work.path().join("scans"), &output]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("free space"), "{said}");
        assert_eq!(fs::read_dir(&output).unwrap().count(), 0, "a file is whole or it is not there");
    }
}

#[test]
fn a_run_onto_a_full_file_system_ends_with_the_reason() {
    let work = tempfile::tempdir().unwrap();
    let Some(_small) = scans(work.path(), 64) else { return };
    assert!(fs::write(work.path().join("small/ballast"), vec![1; 9 << 20]).is_err(), "it is full now");
    let mut run = Command::new(sulcus().unwrap());
    run.arg("run").args([&work.path().join("scans"), &work.path().join("small/out")]);
    let ran = run.arg("--model").arg(root().join("tests/blob-filter")).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains("gave up: ") && said.contains("No space left"), "{said}");
}
