//! Promises of packages.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/blob-filter");
    for name in [MANIFEST, PLANS, MODEL] {
        std::fs::copy(package.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn a_package_opens_and_two_copies_have_one_digest() {
    let (one, other) = (written(), written());
    let package = Package::open(one.path()).unwrap();
    assert_eq!(package.manifest().name, "blob-filter");
    assert_eq!(package.digest(), Package::open(other.path()).unwrap().digest());
}

#[test]
fn a_changed_byte_is_refused() {
    for name in [PLANS, MODEL] {
        let folder = written();
        let path = folder.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Package::open(folder.path()), Err(PackageError::Changed { .. })), "{name}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = written();
    std::fs::remove_file(folder.path().join(MODEL)).unwrap();
    let message = Package::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains(MODEL), "{message}");
}

fn with_manifest(change: impl Fn(String) -> String) -> String {
    let folder = written();
    let path = folder.path().join(MANIFEST);
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = change(text.clone());
    assert_ne!(changed, text);
    std::fs::write(&path, changed).unwrap();
    Package::open(folder.path()).unwrap_err().to_string()
}

#[test]
fn a_wrong_manifest_says_what_is_wrong() {
    for (from, to, says) in [
        ("format = 1", "format = 2", "format 2"),
        ("format = 1", "format = 1\ncolour = 3", "colour"),
        ("lesion_label = 1", "lesion_label = 2", "lesion_label"),
        ("format = 1", "format = 1\ntask = \"brain-extraction\"", "a package for \"brain-extraction\""),
        ("orientation = \"LPS\"", "orientation = \"LLS\"", "orientation"),
        ("mirror_axes = []", "mirror_axes = [1, 1]", "mirror_axes"),
        ("configuration = \"3d_fullres\"", "configuration = \"2d\"", "2d"),
        ("\"plans.json\"", "\"../plans.json\"", "plans.json"),
    ] {
        let message = with_manifest(|text| text.replacen(from, to, 1));
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn an_endless_manifest_is_not_read() {
    let folder = written();
    std::fs::write(folder.path().join(MANIFEST), vec![b' '; LARGEST_MANIFEST as usize + 1]).unwrap();
    assert!(matches!(Package::open(folder.path()), Err(PackageError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn no_manifest_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(MANIFEST), &bytes).unwrap();
        prop_assert!(Package::open(folder.path()).is_err());
        prop_assert!(!matches!(crate::brain::BrainPackage::open(folder.path()), Ok(Some(_))));
    }
}
