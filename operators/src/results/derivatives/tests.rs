//! Promises of the derivatives; that nibabel and the BIDS validator agree is shown in `tests/derivatives.rs`.

use ndarray::Array3;
use serde_json::Value;

use super::*;
use crate::{
    nifti_image,
    results::{
        fixture::Sample,
        fixture_report::{report, verdict},
        judged::without_rejected,
        report::Patient,
    },
    rows::{LesionVerdict, ReportStatus},
};

fn sample() -> Sample {
    Sample::new([7, 5, 6], &[([1, 1, 1], [2, 2, 2]), ([4, 3, 2], [1, 1, 3])])
}

fn input<'a>(report: &'a Report, sample: &'a Sample, probabilities: Option<&'a Array3<u8>>) -> DerivativesInput<'a> {
    let maps =
        Maps { grid: &sample.grid, labels: sample.labels.view(), probabilities: probabilities.map(|map| map.view()) };
    DerivativesInput { report, maps: Some(maps), software_version: "0.1.0" }
}

fn named<'a>(files: &'a [File], suffix: &str) -> &'a [u8] {
    &files.iter().find(|file| file.path.ends_with(suffix)).unwrap().bytes
}

fn json_of(files: &[File], suffix: &str) -> Value {
    serde_json::from_slice(named(files, suffix)).unwrap()
}

fn read_nifti(bytes: &[u8]) -> nifti_image::Image {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.nii.gz");
    std::fs::write(&path, bytes).unwrap();
    nifti_image::read(&path).unwrap()
}

#[test]
fn maps_come_back_on_their_grid_with_every_voxel() {
    let sample = sample();
    let report = report(&sample, ReportStatus::Final, Vec::new());
    let probabilities = Array3::from_shape_fn((6, 5, 7), |(s, r, c)| (s * 40 + r * 7 + c) as u8);
    let files = files(&input(&report, &sample, Some(&probabilities))).unwrap();
    assert_eq!(files.len(), 6);
    let labels = read_nifti(named(&files, "_dseg.nii.gz"));
    assert_eq!(labels.voxels, sample.labels.mapv(f32::from));
    let far = |a: &[[f64; 4]; 4]| {
        a.iter().flatten().zip(sample.grid.affine.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    assert!(far(&labels.grid.affine) < 1e-5, "{:?}", labels.grid.affine);
    let read = read_nifti(named(&files, "_probseg.nii.gz"));
    assert!(far(&read.grid.affine) < 1e-5);
    let close = |(read, stored): (&f32, &u8)| (f64::from(*read) - f64::from(*stored) / 255.0).abs() < 1e-6;
    assert!(read.voxels.iter().zip(&probabilities).all(close));
}

#[test]
fn sidecars_and_table_say_what_the_numbers_are_and_nothing_of_the_patient() {
    let sample = sample();
    let said = vec![verdict(2, LesionVerdict::Relabelled("a\tvessel".into()), "")];
    let mut report = report(&sample, ReportStatus::Final, said);
    report.patient = Patient { id: "UNMISTAKABLE".into(), issuer: "HOSPITAL-X".into() };
    let files = files(&input(&report, &sample, None)).unwrap();
    assert_eq!(files.len(), 4, "no probability map, no file of it");
    let table = String::from_utf8(named(&files, "_dseg.tsv").to_vec()).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0][..3], ["index", "name", "tracking_uid"]);
    assert_eq!(rows[1][..4], ["1", "Lesion 1", "2.25.101", "8"]);
    assert_eq!(rows[2][1], "a vessel");
    assert!(rows.iter().all(|row| row.len() == 9));
    let sidecar = json_of(&files, "_dseg.json");
    assert!(rows[0][2..].iter().all(|column| sidecar.get(*column).is_some()), "every column is described");
    assert_eq!(sidecar["Sources"][0], "urn:oid:1.2.3.4");
    assert_eq!(sidecar["Model"]["Name"], "blob-filter");
    assert_eq!(sidecar["RunKey"], "01".repeat(32));
    assert_eq!(sidecar["ResearchUse"], RESEARCH_USE);
    let description = json_of(&files, DESCRIPTION);
    assert_eq!(description["DatasetType"], "derivative");
    assert_eq!(description["GeneratedBy"][0]["Name"], GENERATED_BY);
    assert_eq!(description["GeneratedBy"][1]["Name"], "blob-filter");
    for file in &files {
        let text = format!("{} {}", file.path, String::from_utf8_lossy(&file.bytes));
        assert!(!text.contains("UNMISTAKABLE") && !text.contains("HOSPITAL-X"), "{}", file.path);
    }
}

#[test]
fn a_withdrawn_report_leaves_no_map_and_says_so() {
    let report = report(&sample(), ReportStatus::Withdrawn("the series was taken back".into()), Vec::new());
    let made = files(&DerivativesInput { report: &report, maps: None, software_version: "0.1.0" }).unwrap();
    assert_eq!(made.len(), 3);
    let sidecar = json_of(&made, "_dseg.json");
    assert_eq!(sidecar["Withdrawn"], true);
    assert_eq!(sidecar["WithdrawnBecause"], "the series was taken back");
    let table = String::from_utf8(named(&made, "_dseg.tsv").to_vec()).unwrap();
    let rows: Vec<usize> = table.lines().map(|line| line.split('\t').count()).collect();
    assert_eq!(rows, [9, 9]);
    assert!(table.lines().nth(1).unwrap().starts_with("0\tWithdrawn\tn/a"));
    let unpacked = unpack(&archive(&made).unwrap()).unwrap();
    assert_eq!(unpacked.files.len(), 2);
    assert_eq!(unpacked.absent.len(), 3, "the label map of the revision before is to go");
}

#[test]
fn rejected_lesions_are_in_no_map_and_no_table() {
    let sample = sample();
    let said = vec![verdict(1, LesionVerdict::Rejected, "")];
    let report = report(&sample, ReportStatus::Final, said.clone());
    let (_, labels) = without_rejected(&said, &sample.lesions, sample.labels.clone());
    let maps = Maps { grid: &sample.grid, labels: labels.view(), probabilities: None };
    let input = DerivativesInput { report: &report, maps: Some(maps), software_version: "0.1.0" };
    let files = files(&input).unwrap();
    assert_eq!(named(&files, "_dseg.tsv").split(|b| *b == b'\n').count(), 3);
    // With the rejected voxels still in it, the map is not the report's.
    let whole = Maps { labels: sample.labels.view(), ..maps };
    let error = super::files(&DerivativesInput { maps: Some(whole), ..input }).unwrap_err();
    assert!(matches!(error, DerivativesError::Voxels { label: 1, found: 8, expected: 0 }), "{error}");
}

#[test]
fn what_is_packed_is_unpacked_and_equal_files_give_equal_bytes() {
    let sample = sample();
    let report = report(&sample, ReportStatus::Final, Vec::new());
    let files = files(&input(&report, &sample, None)).unwrap();
    let bytes = archive(&files).unwrap();
    assert_eq!(bytes, archive(&super::files(&input(&report, &sample, None)).unwrap()).unwrap());
    let unpacked = unpack(&bytes).unwrap();
    assert_eq!(unpacked.description, files[0].bytes);
    assert_eq!(unpacked.files, files[1..]);
    assert!(unpacked.absent.iter().all(|path| path.contains("_probseg.")), "{:?}", unpacked.absent);
}

#[test]
fn an_archive_that_leads_elsewhere_is_refused_whole() {
    let sample = sample();
    let report = report(&sample, ReportStatus::Final, Vec::new());
    let good = files(&input(&report, &sample, None)).unwrap();
    let table = good[2].path.clone();
    for path in [
        "../../etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        format!("../{table}"),
        format!("./{table}"),
        table.replace("/anat/", "/anat/../anat/"),
        table.replace("/anat/", "/func/"),
        table.replace("_dseg.tsv", "_bold.tsv"),
        table.replace('/', "\\"),
        table.replacen("sub-", "sub-9", 1),
        format!("{table}\0"),
        String::new(),
    ] {
        let mut bad = good.clone();
        bad.push(File { path: path.clone(), bytes: b"x".to_vec() });
        assert!(unpack(&archive(&bad).unwrap()).is_err(), "{path:?}");
    }
    let mut two = good.clone();
    two.push(File { path: table.replace("cortical", "other"), bytes: Vec::new() });
    assert!(matches!(
        unpack(&archive(&two).unwrap()),
        Err(DerivativesError::Path("files of two studies or pipelines"))
    ));
    let bytes = archive(&good).unwrap();
    assert!(unpack(&bytes[..bytes.len() - 1]).is_err() && unpack(b"").is_err() && unpack(b"<html>").is_err());
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 3] ^= 1;
    assert!(unpack(&flipped).is_err(), "a changed byte is found");
    assert!(unpack(&archive(&good[1..]).unwrap()).is_err(), "no description");
}

#[test]
fn maps_that_are_not_the_reports_are_refused() {
    let sample = sample();
    let report = report(&sample, ReportStatus::Final, Vec::new());
    let good = input(&report, &sample, None);
    let short = sample.labels.slice(ndarray::s![1.., .., ..]);
    let with = |labels, probabilities| {
        let maps = Some(Maps { grid: &sample.grid, labels, probabilities });
        files(&DerivativesInput { maps, ..good }).unwrap_err()
    };
    assert!(matches!(with(short, None), DerivativesError::Shape { what: "a label map", .. }));
    let flat = Array3::zeros((1, 1, 1));
    let error = with(sample.labels.view(), Some(flat.view()));
    assert!(matches!(error, DerivativesError::Shape { what: "a probability map", .. }));
    let mut other = sample.labels.clone();
    other[[0, 0, 0]] = 9;
    assert!(matches!(with(other.view(), None), DerivativesError::Voxels { label: 9, found: 1, expected: 0 }));
    assert!(matches!(files(&DerivativesInput { maps: None, ..good }), Err(DerivativesError::NoMaps)));
    let mut long = report.clone();
    long.study_instance_uid = "1".repeat(65);
    assert!(matches!(files(&DerivativesInput { report: &long, ..good }), Err(DerivativesError::Uid { .. })));
}

#[test]
fn over_long_names_still_give_names_that_a_file_system_takes() {
    let sample = sample();
    let mut report = report(&sample, ReportStatus::Final, Vec::new());
    report.pipeline = "p".repeat(300);
    report.patient = Patient { id: "x".repeat(10_000), issuer: String::new() };
    let files = files(&input(&report, &sample, None)).unwrap();
    assert!(files.iter().flat_map(|file| file.path.split('/')).all(|part| part.len() <= 255));
    assert!(unpack(&archive(&files).unwrap()).is_ok());
}
