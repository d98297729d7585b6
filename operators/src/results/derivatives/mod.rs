//! NIfTI and BIDS derivatives (BIDS 1.9) of one revision: label map, probability map, what is known of the lesions, and
//! the data set's description.
//!
//! ```text
//! dataset_description.json
//! sub-<16 digits>/ses-<16 digits>/anat/sub-.._ses-.._seg-lesion_desc-<pipeline>_dseg.nii.gz   lesion numbers
//!                                                                               _dseg.tsv      a row a lesion
//!                                                                               _dseg.json
//!                                                                               _probseg.nii.gz, _probseg.json
//! ```
//!
//! No name, id or birth date leaves: the digits are of digests of PatientID with its issuer, and of StudyInstanceUID. That
//! is a pseudonym and no more, since whoever holds a list of ids can try them. A withdrawn report has no map: its
//! `_dseg.json` says so and why, and the table that BIDS wants beside it holds one row, index 0, `Withdrawn`. File names are
//! `names`', the one file that all of it travels in is `archive`'s; putting it in place is the connectors' (`bids`).

mod archive;
mod names;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use ndarray::ArrayView3;
use serde_json::{Map, Value, json};
use thiserror::Error;

pub use self::archive::{Unpacked, archive, unpack};
use self::names::Place;
pub use self::names::{DESCRIPTION, subject};
use super::{
    RESEARCH_USE,
    report::{Judgement, Lesion, Report, Run, Status},
    uid::is_valid_uid,
};
use crate::{
    nifti_file::{self, NiftiError},
    volume::Grid,
};

/// Name of this software in GeneratedBy; what has another there is another's data set.
pub const GENERATED_BY: &str = "Sulcus";

/// What the files are made from.
#[derive(Clone, Copy, Debug)]
pub struct DerivativesInput<'a> {
    /// What the revision says.
    pub report: &'a Report,
    /// The maps; none where the report is withdrawn.
    pub maps: Option<Maps<'a>>,
    /// Version of Sulcus.
    pub software_version: &'a str,
}

/// What lies on the volume's grid.
#[derive(Clone, Copy, Debug)]
pub struct Maps<'a> {
    /// The volume's grid.
    pub grid: &'a Grid,
    /// Lesion labels, axes (slice, row, column), without those that readers rejected; 0 is background.
    pub labels: ArrayView3<'a, u16>,
    /// Probabilities of a lesion in 255ths, axes (slice, row, column).
    pub probabilities: Option<ArrayView3<'a, u8>>,
}

/// One file below the data set's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path, with `/` between the parts.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why no files were made or read.
#[derive(Debug, Error)]
pub enum DerivativesError {
    /// A final report has maps.
    #[error("a final report has no run or no label map; run the series again")]
    NoMaps,
    /// Map and grid differ.
    #[error(
        "{what} of {found:?} voxels (columns, rows, slices) does not fit a volume of {grid:?}; use the maps of this volume's run"
    )]
    Shape {
        /// Which map.
        what: &'static str,
        /// Columns, rows, slices of the map.
        found: [usize; 3],
        /// Columns, rows, slices of the grid.
        grid: [usize; 3],
    },
    /// The label map is not the report's.
    #[error(
        "label {label} has {found} voxels in the label map and {expected} in the report; measure the label map again"
    )]
    Voxels {
        /// The label.
        label: u32,
        /// Voxels in the label map.
        found: u64,
        /// Voxels in the report.
        expected: u64,
    },
    /// A UID that PS3.5 9.1 forbids.
    #[error("{what} {uid:?} is not a valid UID (at most 64 characters, digits and dots)")]
    Uid {
        /// Which.
        what: &'static str,
        /// Its value.
        uid: String,
    },
    /// The volume does not fit the format.
    #[error(transparent)]
    Nifti(#[from] NiftiError),
    /// The archive cannot be written or read.
    #[error("the archive of derivatives cannot be used: {0}; encode the revision again")]
    Archive(String),
    /// A path that no archive of ours holds.
    #[error("the archive names a file outside its study's place ({0}); nothing of it was written")]
    Path(&'static str),
}

/// The files of one revision, the same bytes for equal input.
///
/// # Errors
/// [`DerivativesError`] where maps, grid and report do not belong together.
pub fn files(input: &DerivativesInput<'_>) -> Result<Vec<File>, DerivativesError> {
    let report = input.report;
    check_uid("StudyInstanceUID", &report.study_instance_uid)?;
    let place = Place::of(&report.patient, &report.study_instance_uid, &report.pipeline);
    let description = description(report.run.as_ref(), input.software_version);
    let mut files = vec![File { path: DESCRIPTION.to_owned(), bytes: json_bytes(&description) }];
    let mut add = |suffix: &str, bytes| files.push(File { path: place.file(suffix), bytes });
    if report.status == Status::Withdrawn {
        let mut sidecar = identity(report);
        sidecar.insert("Withdrawn".into(), true.into());
        sidecar.insert("WithdrawnBecause".into(), report.withdrawn_because.clone().into());
        sidecar.insert("Description".into(), "Withdrawn: there is no label map, and no lesion is to be read".into());
        sidecar.extend(columns());
        add("dseg.json", json_bytes(&Value::Object(sidecar)));
        add("dseg.tsv", format!("{HEADER}0\tWithdrawn{}\n", "\tn/a".repeat(7)).into_bytes());
        return Ok(files);
    }
    let (run, maps) = report.run.as_ref().zip(input.maps).ok_or(DerivativesError::NoMaps)?;
    check_uid("SeriesInstanceUID", &run.series_instance_uid)?;
    fits("a label map", maps.labels.dim(), maps.grid)?;
    check_labels(maps.labels, &report.lesions)?;
    add("dseg.nii.gz", nifti_file::labels_gz(maps.labels, maps.grid)?);
    add("dseg.tsv", table(&report.lesions).into_bytes());
    let mut sidecar = of_run(report, run);
    sidecar.insert("Description".into(), "Lesions by number; 0 is background".into());
    sidecar.insert("IntensityScale".into(), run.intensity_scale.clone().into());
    sidecar.extend(columns());
    add("dseg.json", json_bytes(&Value::Object(sidecar)));
    if let Some(probabilities) = maps.probabilities {
        fits("a probability map", probabilities.dim(), maps.grid)?;
        add("probseg.nii.gz", nifti_file::probabilities_gz(probabilities, maps.grid)?);
        let mut sidecar = of_run(report, run);
        sidecar.insert("Description".into(), "Probability of a lesion, 0 to 1, in steps of 1/255".into());
        add("probseg.json", json_bytes(&Value::Object(sidecar)));
    }
    Ok(files)
}

fn check_uid(what: &'static str, uid: &str) -> Result<(), DerivativesError> {
    if is_valid_uid(uid) { Ok(()) } else { Err(DerivativesError::Uid { what, uid: uid.to_owned() }) }
}

fn fits(
    what: &'static str,
    (slices, rows, columns): (usize, usize, usize),
    grid: &Grid,
) -> Result<(), DerivativesError> {
    let found = [columns, rows, slices];
    if found == grid.size { Ok(()) } else { Err(DerivativesError::Shape { what, found, grid: grid.size }) }
}

/// Every label is a lesion of the report, and has as many voxels as it says.
fn check_labels(labels: ArrayView3<'_, u16>, lesions: &[Lesion]) -> Result<(), DerivativesError> {
    let mut found = vec![0u64; 1 << 16];
    for label in &labels {
        if let Some(count) = found.get_mut(usize::from(*label)) {
            *count += 1;
        }
    }
    let mut expected = vec![0u64; 1 << 16];
    for lesion in lesions {
        let wrong = DerivativesError::Voxels { label: lesion.label, found: 0, expected: lesion.voxels };
        *expected.get_mut(lesion.label as usize).ok_or(wrong)? += lesion.voxels;
    }
    for (label, (found, expected)) in found.into_iter().zip(expected).enumerate().skip(1) {
        if found != expected {
            return Err(DerivativesError::Voxels { label: label as u32, found, expected });
        }
    }
    Ok(())
}

/// The root's description.
fn description(run: Option<&Run>, software_version: &str) -> Value {
    let mut made_by = vec![json!({ "Name": GENERATED_BY, "Version": software_version, "Description": RESEARCH_USE })];
    made_by.extend(run.map(|run| {
        let digest = format!("Model package, BLAKE3 {}", run.model_digest);
        json!({ "Name": run.model_name, "Version": run.model_version, "Description": digest })
    }));
    json!({
        "Name": format!("Lesions found by Sulcus. {RESEARCH_USE}"),
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": made_by,
    })
}

/// Which revision a sidecar belongs to.
fn identity(report: &Report) -> Map<String, Value> {
    let mut sidecar = Map::new();
    for (key, value) in [
        ("ReportUID", json!(report.uid)),
        ("Revision", json!(report.revision)),
        ("Pipeline", json!(report.pipeline)),
        ("ResearchUse", json!(report.research_use)),
    ] {
        sidecar.insert(key.to_owned(), value);
    }
    sidecar
}

fn of_run(report: &Report, run: &Run) -> Map<String, Value> {
    let source = format!("urn:oid:{}", run.series_instance_uid);
    let mut sidecar = identity(report);
    for (key, value) in [
        ("Sources", json!([source])),
        ("RawSources", json!([source])),
        ("SpatialReference", json!(source)),
        ("Manual", json!(false)),
        ("RunKey", json!(run.run_key)),
        ("Model", json!({ "Name": run.model_name, "Version": run.model_version, "Digest": run.model_digest })),
        ("Notes", json!(report.notes)),
    ] {
        sidecar.insert(key.to_owned(), value);
    }
    sidecar
}

/// What the columns of the table mean that BIDS does not define.
fn columns() -> Map<String, Value> {
    let said = |what: &str| json!({ "Description": what });
    let with = |what: &str, units: &str| json!({ "Description": what, "Units": units });
    let columns = [
        ("tracking_uid", said("DICOM Tracking Unique Identifier, the same across revisions and visits")),
        ("voxels", said("Number of voxels")),
        ("volume_mm3", with("Volume", "mm^3")),
        ("mean_intensity", said("Mean intensity in IntensityScale")),
        ("mean_probability", said("Mean probability of a lesion, 0 to 1")),
        ("peak_probability", said("Highest probability of a lesion, 0 to 1")),
        ("verdict", said("What a reader said of it: accepted, relabelled, or n/a")),
    ];
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

const HEADER: &str =
    "index\tname\ttracking_uid\tvoxels\tvolume_mm3\tmean_intensity\tmean_probability\tpeak_probability\tverdict\n";

/// A row a lesion. `index` is the number in the label map, `name` a reader's words where one renamed it.
fn table(lesions: &[Lesion]) -> String {
    let rows = lesions.iter().map(|lesion| {
        let verdict = lesion.verdict.as_ref();
        let name = verdict.and_then(|verdict| verdict.relabelled.as_deref()).map(one_cell);
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("Lesion {}", lesion.label));
        let verdict = match verdict.map(|verdict| verdict.verdict) {
            None => "n/a",
            Some(Judgement::Accepted) => "accepted",
            Some(Judgement::Rejected) => "rejected",
            Some(Judgement::Relabelled) => "relabelled",
        };
        format!(
            "{}\t{name}\t{}\t{}\t{}\t{}\t{}\t{}\t{verdict}\n",
            lesion.label,
            one_cell(&lesion.tracking_uid),
            lesion.voxels,
            lesion.volume_mm3,
            lesion.mean_intensity,
            lesion.mean_probability,
            lesion.peak_probability
        )
    });
    std::iter::once(HEADER.to_owned()).chain(rows).collect()
}

/// A text without what ends a cell.
fn one_cell(text: &str) -> String {
    text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

fn json_bytes(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
