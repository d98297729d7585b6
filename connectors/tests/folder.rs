//! Folders and archives as sources: what is DICOM reaches the inbox, all else is counted, nothing is lost.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use proptest::prelude::*;
use sulcus_connectors::folder::{FolderError, FolderLimits, FolderPass, Skip, Watch, deliver};
use sulcus_connectors::inbox::{Inbox, Incoming, Stored};
use sulcus_operators::part10;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// Answers by what the instance UID ends with; keeps what it was given.
#[derive(Default)]
struct MemoryInbox {
    objects: Mutex<Vec<Incoming>>,
    releases: Mutex<Vec<(Vec<String>, bool)>>,
    full: Mutex<bool>,
}

impl Inbox for MemoryInbox {
    fn store(&self, incoming: Incoming) -> Stored {
        if *self.full.lock().unwrap() {
            return Stored::OutOfResources { reason: "the disk is full".to_owned() };
        }
        let answer = match incoming.sop_instance_uid.as_str() {
            "1.901" => Stored::Conflict,
            "1.902" => Stored::Quarantined { reason: "broken".to_owned() },
            "1.907" => Stored::Repeated { series_uid: "1.7".to_owned() },
            _ => Stored::Kept { series_uid: "1.7".to_owned() },
        };
        self.objects.lock().unwrap().push(incoming);
        answer
    }

    fn released(&self, _: &str, series_uids: Vec<String>, orderly: bool) {
        self.releases.lock().unwrap().push((series_uids, orderly));
    }
}

fn file(instance: &str) -> Vec<u8> {
    part10::wrap(EXPLICIT, MR, instance, &data_set(instance))
}

fn data_set(instance: &str) -> Vec<u8> {
    let mut bytes = b"\x08\0\x60\0CS\x02\0MR".to_vec();
    bytes.extend_from_slice(instance.as_bytes());
    bytes
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn dicomdir() -> Vec<u8> {
    part10::wrap(EXPLICIT, "1.2.840.10008.1.3.10", "1.1", b"\x04\0\x30\x11CS\x02\0AB")
}

#[test]
fn a_folder_is_delivered_and_what_is_no_dicom_counted() {
    let folder = TempDir::new().unwrap();
    let inbox = MemoryInbox::default();
    write(folder.path(), "b/2.dcm", &file("1.2"));
    write(folder.path(), "a/IM0001", &file("1.1"));
    write(folder.path(), "c", &file("1.901"));
    write(folder.path(), "d", &file("1.902"));
    write(folder.path(), "e", &file("1.907"));
    write(folder.path(), "f", &data_set("bare"));
    write(folder.path(), "DICOMDIR", &dicomdir());
    write(folder.path(), "readme.txt", b"hello");
    write(folder.path(), "empty", b"");
    write(folder.path(), "g", &file("1.3")[..150]);
    write(folder.path(), "h.zip", &zip(&[("z.dcm", file("1.4"))]));
    write(folder.path(), "i.zip", b"PK no archive");
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
    let pass = deliver(folder.path(), "ward", &inbox, &FolderLimits::default()).unwrap();
    let skipped = [
        (Skip::NotDicom, 2),
        (Skip::Dicomdir, 1),
        (Skip::BrokenHeader, 1),
        (Skip::NotAFile, 1),
        (Skip::BrokenArchive, 1),
    ];
    let expected = FolderPass {
        stored: 4,
        repeated: 1,
        conflicts: 1,
        quarantined: 1,
        failed: 0,
        first_failure: None,
        skipped: skipped.into(),
        series: ["1.7".to_owned()].into(),
    };
    assert_eq!(pass, expected);
    assert_eq!(*inbox.releases.lock().unwrap(), [(vec!["1.7".to_owned()], true)]);
    let objects = inbox.objects.lock().unwrap();
    let first = &objects[0];
    assert_eq!((first.source.as_str(), first.sop_class_uid.as_str()), ("ward", MR));
    assert_eq!((first.sop_instance_uid.as_str(), first.transfer_syntax.as_str()), ("1.1", EXPLICIT));
    assert_eq!(first.data_set, data_set("1.1"));
}

#[test]
fn an_archive_is_read_in_memory_and_its_names_lead_nowhere() {
    let folder = TempDir::new().unwrap();
    let inbox = MemoryInbox::default();
    let inner = zip(&[("x", file("1.9"))]);
    let entries =
        [("../../evil.dcm", file("1.1")), ("/abs.dcm", file("1.2")), ("notes.txt", b"no".to_vec()), ("in.zip", inner)];
    let path = write(folder.path(), "study.zip", &zip(&entries));
    let pass = deliver(&path, "ward", &inbox, &FolderLimits::default()).unwrap();
    assert_eq!(pass.stored, 2);
    assert_eq!(pass.skipped, [(Skip::NotDicom, 1), (Skip::TooDeep, 1)].into());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_archive_that_swells_is_stopped_at_its_limits() {
    let folder = TempDir::new().unwrap();
    let inbox = MemoryInbox::default();
    let mut bomb = file("1.1");
    bomb.resize(8 << 20, 0);
    let path = write(folder.path(), "bomb.zip", &zip(&[("1", bomb.clone()), ("2", bomb), ("3", file("1.3"))]));
    let limits = FolderLimits { max_ratio: 100, ..FolderLimits::default() };
    let pass = deliver(&path, "ward", &inbox, &limits).unwrap();
    assert_eq!((pass.stored, pass.skipped), (1, [(Skip::TooCompressed, 2)].into()));
    let limits = FolderLimits { max_object_bytes: 4 << 20, ..FolderLimits::default() };
    let pass = deliver(&path, "ward", &inbox, &limits).unwrap();
    assert_eq!((pass.stored, pass.skipped), (1, [(Skip::TooLarge, 2)].into()));
    let limits = FolderLimits { max_archive_bytes: 12 << 20, ..FolderLimits::default() };
    let error = deliver(&path, "ward", &inbox, &limits).unwrap_err();
    assert!(matches!(error, FolderError::TooLarge { .. }), "{error}");
    assert_eq!(inbox.releases.lock().unwrap().last().unwrap(), &(vec!["1.7".to_owned()], false));
    let limits = FolderLimits { max_entries: 2, ..FolderLimits::default() };
    assert!(matches!(deliver(&path, "ward", &inbox, &limits), Err(FolderError::TooMany { .. })));
}

#[test]
fn what_is_missing_or_broken_itself_is_an_error() {
    let folder = TempDir::new().unwrap();
    let inbox = MemoryInbox::default();
    let missing = deliver(&folder.path().join("none"), "ward", &inbox, &FolderLimits::default()).unwrap_err();
    assert!(matches!(missing, FolderError::Unreadable { .. }), "{missing}");
    let path = write(folder.path(), "broken.zip", b"PK\x03\x04 and no more");
    let broken = deliver(&path, "ward", &inbox, &FolderLimits::default()).unwrap_err();
    assert!(matches!(broken, FolderError::Archive { .. }), "{broken}");
    write(folder.path(), "a/b/c/1.dcm", &file("1.1"));
    let limits = FolderLimits { max_depth: 2, ..FolderLimits::default() };
    fs::remove_file(path).unwrap();
    let pass = deliver(folder.path(), "ward", &inbox, &limits).unwrap();
    assert_eq!((pass.stored, pass.skipped), (0, [(Skip::TooDeep, 1)].into()));
}

#[test]
fn a_watched_file_is_taken_when_it_rests_and_moved_when_it_is_kept() {
    let folder = TempDir::new().unwrap();
    let inbox = MemoryInbox::default();
    let mut watch = Watch::new(folder.path(), "ward", FolderLimits::default()).unwrap();
    let growing = write(folder.path(), "in/1.dcm", &file("1.1")[..200]);
    assert_eq!(watch.poll(&inbox).unwrap(), FolderPass::default());
    fs::write(&growing, file("1.1")).unwrap();
    assert_eq!(watch.poll(&inbox).unwrap(), FolderPass::default(), "it has grown since the last poll");
    write(folder.path(), "text.txt", b"no DICOM");
    write(folder.path(), "2.dcm", &file("1.902"));
    let pass = watch.poll(&inbox).unwrap();
    assert_eq!((pass.stored, &pass.skipped), (1, &Default::default()));
    assert!(inbox.releases.lock().unwrap().is_empty(), "files are still waiting");
    assert_eq!(fs::read(folder.path().join("done/in/1.dcm")).unwrap(), file("1.1"));
    let pass = watch.poll(&inbox).unwrap();
    assert_eq!((pass.quarantined, pass.skipped), (1, [(Skip::NotDicom, 1)].into()));
    assert!(folder.path().join("refused/2.dcm").exists() && folder.path().join("refused/text.txt").exists());
    assert_eq!(*inbox.releases.lock().unwrap(), [(vec!["1.7".to_owned()], true)]);
    assert_eq!(watch.poll(&inbox).unwrap(), FolderPass::default());
}

#[test]
fn a_watched_file_that_is_not_kept_stays_and_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let inbox = MemoryInbox::default();
    let mut watch = Watch::new(folder.path(), "ward", FolderLimits::default()).unwrap();
    let path = write(folder.path(), "1.zip", &zip(&[("a", file("1.1")), ("b", file("1.2"))]));
    write(folder.path(), "done/1.zip", b"an earlier one");
    *inbox.full.lock().unwrap() = true;
    watch.poll(&inbox).unwrap();
    let pass = watch.poll(&inbox).unwrap();
    assert_eq!((pass.failed, pass.first_failure.as_deref()), (2, Some("the disk is full")));
    assert!(path.exists());
    *inbox.full.lock().unwrap() = false;
    assert_eq!(watch.poll(&inbox).unwrap().stored, 2);
    assert!(!path.exists() && folder.path().join("done/1.zip.1").exists());
    assert_eq!(fs::read(folder.path().join("done/1.zip")).unwrap(), b"an earlier one");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_archive_never_panics(at in 0usize..600, byte: u8, cut in 0usize..600) {
        let folder = TempDir::new().unwrap();
        let mut bytes = zip(&[("a", file("1.1")), ("b", file("1.2"))]);
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len().max(cut + 1) - cut);
        let path = write(folder.path(), "1.zip", &bytes);
        let _ = deliver(&path, "ward", &MemoryInbox::default(), &FolderLimits::default());
    }
}
