//! `sulcus convert` on folders that hold more than one patient: nothing is overwritten, nothing is merged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sulcus_tests::places::sulcus;
use sulcus_tests::scans::small_series_uid;
use sulcus_tests::slices::{Slices, write_series};

fn series(folder: &Path, seed: u32, count: u32) -> Vec<PathBuf> {
    write_series(folder, Slices { count, rows: 16, columns: 16, seed }).unwrap()
}

/// Replaces a text by another of its length in a file.
fn replace(file: &Path, old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    let mut bytes = fs::read(file).unwrap();
    let at = bytes.windows(old.len()).position(|part| part == old.as_bytes()).unwrap();
    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    fs::write(file, bytes).unwrap();
}

/// Converts; the exit code, what was said on standard error, and the names of the files that were written.
fn convert(input: &Path, output: &Path) -> (Option<i32>, String, Vec<String>) {
    let ran = Command::new(sulcus().unwrap()).arg("convert").args([input, output]).output().unwrap();
    let names = fs::read_dir(output).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned(), names)
}

#[test]
fn a_series_of_two_patients_is_refused_by_name_and_the_others_are_written() {
    let work = tempfile::tempdir().unwrap();
    let input = work.path().join("in");
    let mixed = series(&input, 1, 4);
    series(&input, 2, 4);
    replace(&mixed[3], "SYNTHETIC", "SOMEBODY ");
    let (code, said, names) = convert(&input, &work.path().join("out"));
    assert_eq!(code, Some(1), "{said}");
    for words in [small_series_uid(1).as_str(), "2 patients", "SYNTHETIC", "SOMEBODY"] {
        assert!(said.contains(words), "'{words}' is not in: {said}");
    }
    assert_eq!(names.iter().filter(|name| name.ends_with(".nii")).count(), 1, "{names:?}");
}

#[test]
fn no_volume_takes_the_name_of_another() {
    let work = tempfile::tempdir().unwrap();
    let input = work.path().join("in");
    // One series of two volumes, and three of one; all have the same number and no description.
    for second in &series(&input, 1, 8)[4..] {
        replace(second, "OTHER", "OTHES");
    }
    (2..=4).for_each(|seed| drop(series(&input, seed, 4)));
    let (code, said, names) = convert(&input, &work.path().join("out"));
    assert_eq!(code, Some(0), "{said}");
    let expected = ["1", "1_1", "1_2", "1_3", "1_4"].map(|stem| [format!("{stem}.json"), format!("{stem}.nii")]);
    assert_eq!(names, expected.concat());
    let mut volumes: Vec<Vec<u8>> = names
        .iter()
        .filter(|name| name.ends_with(".nii"))
        .map(|name| fs::read(work.path().join("out").join(name)).unwrap())
        .collect();
    volumes.sort();
    volumes.dedup();
    assert_eq!(volumes.len(), 5, "each volume is there, in a file of its own");
}
