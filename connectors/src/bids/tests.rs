//! Promises of the BIDS destination.

use std::collections::BTreeMap;

use serde_json::json;
use sulcus_operators::results::derivatives::{File as Derivative, archive};

use super::*;

const STEM: &str = "sub-1/ses-2/anat/sub-1_ses-2_seg-lesion_desc-a";

fn description(model: &str) -> Vec<u8> {
    json!({ "Name": "x", "GeneratedBy": [{ "Name": GENERATED_BY }, { "Name": model }] }).to_string().into_bytes()
}

/// An archive of these files, by suffix, for a pipeline.
fn packed(stem: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![Derivative { path: DESCRIPTION.to_owned(), bytes: description("m") }];
    let file = |(suffix, text): &(&str, &str)| Derivative { path: format!("{stem}_{suffix}"), bytes: (*text).into() };
    all.extend(files.iter().map(file));
    archive(&all).unwrap()
}

/// Every file below a folder, by path.
fn standing(root: &Path) -> BTreeMap<String, String> {
    let files = walkdir::WalkDir::new(root).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let named = |entry: walkdir::DirEntry| {
        let path = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
        (path, String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned())
    };
    files.map(named).collect()
}

#[test]
fn files_stand_below_the_root_and_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/derivatives");
    let archive = packed(STEM, &[("dseg.json", "{}"), ("dseg.nii.gz", "map")]);
    assert_eq!(place(&root, &archive).unwrap(), 2);
    let first = standing(&root);
    assert_eq!(first.len(), 3);
    assert_eq!(first[&format!("{STEM}_dseg.nii.gz")], "map");
    assert_eq!(place(&root, &archive).unwrap(), 2);
    assert_eq!(standing(&root), first);
}

#[test]
fn a_revision_replaces_its_own_files_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let other = STEM.replace("desc-a", "desc-ab");
    place(root, &packed(STEM, &[("dseg.nii.gz", "1"), ("dseg.json", "1"), ("probseg.nii.gz", "1")])).unwrap();
    place(root, &packed(&other, &[("dseg.nii.gz", "other")])).unwrap();
    fs::write(root.join(format!("{STEM}_note.txt")), "mine").unwrap();
    place(root, &packed(STEM, &[("dseg.json", "withdrawn")])).unwrap();
    let left = standing(root);
    let names: Vec<&str> = left.keys().map(String::as_str).collect();
    let own = format!("{STEM}_dseg.json");
    let mut expected =
        vec![DESCRIPTION.to_owned(), own.clone(), format!("{STEM}_note.txt"), format!("{other}_dseg.nii.gz")];
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(left[&own], "withdrawn");
}

#[test]
fn the_data_set_of_another_tool_is_left_alone() {
    let archive = packed(STEM, &[("dseg.json", "{}")]);
    for foreign in [r#"{"GeneratedBy":[{"Name":"fMRIPrep"}]}"#, r#"{"Name":"raw"}"#, "no json", ""] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DESCRIPTION), foreign).unwrap();
        let error = place(folder.path(), &archive).unwrap_err();
        assert!(matches!(error, BidsError::Foreign { .. }), "{error}");
        assert_eq!(standing(folder.path()).len(), 1, "nothing was written");
        assert_eq!(standing(folder.path())[DESCRIPTION], foreign);
    }
}

#[test]
fn our_own_description_gains_what_it_does_not_name_and_keeps_what_a_site_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let ours =
        json!({ "Name": "ours", "License": "CC0", "GeneratedBy": [{ "Name": GENERATED_BY }, { "Name": "old" }] });
    fs::write(folder.path().join(DESCRIPTION), ours.to_string()).unwrap();
    for _ in 0..2 {
        place(folder.path(), &packed(STEM, &[("dseg.json", "{}")])).unwrap();
        let read: Value = serde_json::from_str(&standing(folder.path())[DESCRIPTION]).unwrap();
        assert_eq!(read["License"], "CC0");
        assert_eq!(read["GeneratedBy"], json!([{ "Name": GENERATED_BY }, { "Name": "old" }, { "Name": "m" }]));
    }
}

#[test]
fn what_an_attempt_left_half_written_is_gone_after_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let anat = folder.path().join("sub-1/ses-2/anat");
    fs::create_dir_all(&anat).unwrap();
    let name = STEM.rsplit('/').next().unwrap();
    fs::write(anat.join(format!(".{name}_dseg.json.part")), "{\"half").unwrap();
    place(folder.path(), &packed(STEM, &[("dseg.json", "{}")])).unwrap();
    assert_eq!(standing(folder.path()).len(), 2);
}

#[test]
fn an_archive_that_leads_elsewhere_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let bad = packed("../escaped", &[("dseg.json", "{}")]);
    assert!(matches!(place(&root, &bad), Err(BidsError::Archive(_))));
    assert!(standing(folder.path()).is_empty());
}

#[test]
fn a_root_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("file");
    fs::write(&root, "").unwrap();
    let error = place(&root, &packed(STEM, &[("dseg.json", "{}")])).unwrap_err();
    assert!(matches!(error, BidsError::Io { .. }), "{error}");
}

#[test]
fn a_study_that_comes_to_another_patient_stands_under_that_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = [("dseg.json", "{}"), ("dseg.nii.gz", "map"), ("probseg.nii.gz", "p")];
    place(folder.path(), &packed(STEM, &files)).unwrap();
    let other_study = STEM.replace("ses-2", "ses-3");
    place(folder.path(), &packed(&other_study, &files[..1])).unwrap();
    let corrected = STEM.replace("sub-1", "sub-7");
    place(folder.path(), &packed(&corrected, &files[..2])).unwrap();
    let names: Vec<String> = standing(folder.path()).into_keys().filter(|name| name != DESCRIPTION).collect();
    let expected =
        [format!("{other_study}_dseg.json"), format!("{corrected}_dseg.json"), format!("{corrected}_dseg.nii.gz")];
    assert_eq!(names, expected);
}
