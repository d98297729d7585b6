//! BIDS derivatives as their readers see them: nibabel, and the BIDS validator.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sulcus_connectors::bids::place;
use sulcus_operators::results::derivatives::{DerivativesInput, Maps, archive, files};
use sulcus_operators::rows::ReportStatus;
use sulcus_tests::places::scanner_files;
use sulcus_tests::python::{packaged, python};
use sulcus_tests::reported::{Reported, Revision};
use sulcus_tests::slices::{Slices, write_series};
use sulcus_tests::{PeerError, or_skip};

const FIRST: Revision<'_> = Revision { number: 1, uid: "2.25.61", supersedes: None };

fn packed(reported: &Reported, status: ReportStatus) -> Vec<u8> {
    let maps = Maps {
        grid: &reported.volume.grid,
        labels: reported.labels.view(),
        probabilities: Some(reported.probabilities.view()),
    };
    let maps = (status == ReportStatus::Final).then_some(maps);
    let report = reported.report(FIRST, status, Vec::new());
    archive(&files(&DerivativesInput { report: &report, maps, software_version: "0.1.0" }).unwrap()).unwrap()
}

/// Errors and warnings of the BIDS validator, each as code and place.
fn validator(root: &Path) -> Result<Vec<(String, String)>, PeerError> {
    let mut command = Command::new(packaged("bids-validator-deno")?);
    let output = command.arg("--json").arg(root).stdin(Stdio::null()).output()?;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let issues = said["issues"]["issues"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(issues
        .iter()
        .map(|issue| (format!("{} {}", text(&issue["severity"]), text(&issue["code"])), issue.to_string()))
        .collect())
}

fn read_back(series: &[PathBuf], count: u16) {
    let reported = Reported::new(series, count).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("derivatives");
    assert_eq!(place(&root, &packed(&reported, ReportStatus::Final)).unwrap(), 5);
    let [labels, probabilities, affine] = ["labels", "probabilities", "affine"].map(|name| folder.path().join(name));
    let stored: Vec<u8> = reported.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    std::fs::write(&labels, stored).unwrap();
    std::fs::write(&probabilities, reported.probabilities.iter().copied().collect::<Vec<u8>>()).unwrap();
    std::fs::write(&affine, json!(reported.volume.grid.affine).to_string()).unwrap();
    let Some(read) = or_skip(python("read_derivatives.py", &[root.clone(), labels, probabilities, affine])) else {
        return;
    };
    println!("{read}");
    assert_eq!(read["differing"], 0);
    assert_eq!(read["type"], "uint16");
    assert_eq!(read["table_agrees"], true);
    assert!(read["probability_error"].as_f64().unwrap() < 1e-6);
    assert!(read["farthest_mm"].as_f64().unwrap() < 1e-4, "{read}");
    assert!(read["qform_mm"].as_f64().unwrap() < 1e-3, "{read}");
    assert_eq!(read["files"].as_array().unwrap().len(), 6);

    let Some(issues) = or_skip(validator(&root)) else { return };
    println!("{issues:#?}");
    let errors: Vec<_> = issues.iter().filter(|(code, _)| code.starts_with("error")).collect();
    assert!(errors.is_empty(), "{errors:#?}");

    place(&root, &packed(&reported, ReportStatus::Withdrawn("the series was taken back".into()))).unwrap();
    let issues = validator(&root).unwrap();
    println!("{issues:#?}");
    let errors: Vec<_> = issues.iter().filter(|(code, _)| code.starts_with("error")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn nibabel_reads_the_same_voxels_at_the_same_places_and_the_validator_knows_every_name() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_series(folder.path(), Slices { count: 12, rows: 31, columns: 30, seed: 3 }).unwrap();
    for count in [0, 3] {
        read_back(&files, count);
    }
}

#[test]
fn nibabel_reads_the_same_of_scanner_series() {
    for folder in ["philips-mprage-classic/In/cl", "siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl"] {
        let Some(files) = or_skip(scanner_files(folder)) else { return };
        read_back(&files, 4);
    }
}
