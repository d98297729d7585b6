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

fn embedding(scans: u8) -> Embedding {
    let scan = |number: u8| (0..3).map(|feature| f64::from(number * number % 7 + feature * number)).collect();
    Embedding::of(&(0..scans).map(scan).collect::<Vec<Vec<f64>>>()).unwrap()
}

#[test]
fn an_embedding_changes_the_digest_and_nothing_else_and_takes_the_place_of_an_earlier_one() {
    let folder = written();
    let before = Package::open(folder.path()).unwrap();
    assert!(before.embedding().is_none());
    let once = Package::embed(folder.path(), &embedding(9)).unwrap();
    assert_eq!(once.embedding().map(|embedding| (embedding.scans(), embedding.features())), Some((9, 3)));
    assert_ne!(once.digest(), before.digest());
    assert_eq!(once.networks(), before.networks());
    let again = Package::embed(folder.path(), &embedding(10)).unwrap();
    assert_eq!(again.embedding().map(Embedding::scans), Some(10));
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.file_name()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
}

#[test]
fn an_embedding_that_is_damaged_or_none_is_refused() {
    let folder = written();
    Package::embed(folder.path(), &embedding(9)).unwrap();
    let path = folder.path().join(EMBEDDING);
    std::fs::write(&path, b"other").unwrap();
    assert!(matches!(Package::open(folder.path()), Err(PackageError::Changed { .. })));
    let manifest = folder.path().join(MANIFEST);
    let text = std::fs::read_to_string(&manifest).unwrap();
    let named = text.replace(&Digest::of(&embedding(9).to_bytes()).to_string(), &Digest::of(b"other").to_string());
    std::fs::write(&manifest, named).unwrap();
    assert!(matches!(Package::open(folder.path()), Err(PackageError::Embedding { .. })));
    std::fs::write(&path, vec![0; LARGEST_EMBEDDING as usize + 1]).unwrap();
    assert!(matches!(Package::open(folder.path()), Err(PackageError::TooLarge { .. })));
}

#[test]
fn without_its_first_fold_a_package_tells_no_distance() {
    let folder = written();
    let package = Package::embed(folder.path(), &embedding(9)).unwrap();
    assert!(package.clone().with_folds(&[0]).unwrap().embedding().is_some());
    assert!(package.clone().with_folds(&[]).unwrap().embedding().is_some());
    // This package has one fold; of two, the other would be looked at so.
    let mut two = package;
    two.networks.push(Vec::new());
    assert!(two.with_folds(&[1]).unwrap().embedding().is_none());
}
