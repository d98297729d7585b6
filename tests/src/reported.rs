//! A report of a series with lesions that are set by hand, for tests of what is made from reports.

use std::path::PathBuf;

use ndarray::Array3;
use sulcus_operators::{
    convert,
    digest::Digest,
    lesions::measure,
    part10,
    results::report::{Report, ReportInput},
    rows::{Finding, LesionRow, PatientKey, ReportRow, ReportStatus, RunOrder, RunOutcome},
    volume::{Encoded, Volume},
};

use crate::peer::PeerError;
use crate::segmented::ellipsoids;

/// A series, its volume, and lesions in it.
#[derive(Debug)]
pub struct Reported {
    instance: (String, Vec<u8>),
    study_uid: String,
    series_uid: String,
    /// The volume.
    pub volume: Volume,
    /// Lesion numbers, axes (slice, row, column).
    pub labels: Array3<u16>,
    /// Probabilities in 255ths, axes (slice, row, column).
    pub probabilities: Array3<u8>,
    /// The lesions.
    pub lesions: Vec<LesionRow>,
}

/// What one revision says beyond the lesions.
#[derive(Debug, Clone, Copy)]
pub struct Revision<'a> {
    /// Its number.
    pub number: u32,
    /// Its identity.
    pub uid: &'a str,
    /// Identity of the one before.
    pub supersedes: Option<&'a str>,
}

impl Reported {
    /// Reads a series and sets `count` ellipsoids along the volume's diagonal.
    ///
    /// # Errors
    /// Where the series cannot be read.
    pub fn new(files: &[PathBuf], count: u16) -> Result<Reported, PeerError> {
        let failed = |error: &dyn std::fmt::Display| PeerError::failed(error.to_string());
        let mut instances = Vec::new();
        for file in files {
            let bytes = std::fs::read(file)?;
            let file = part10::split(&bytes).map_err(|error| failed(&error))?;
            instances.push((file.transfer_syntax.clone(), file.data_set.to_vec()));
        }
        let encoded = |(transfer_syntax, data_set)| Encoded { transfer_syntax, data_set };
        let data_sets: Vec<Encoded<'_>> =
            instances.iter().map(|(syntax, bytes)| encoded((syntax.as_str(), bytes.as_slice()))).collect();
        let mut volumes = convert::volumes(&data_sets).map_err(|error| failed(&error))?;
        let header = dicom_object::open_file(&files[0]).map_err(|error| failed(&error))?;
        let uid = |tag| {
            let element = header.element(tag).map_err(|error| failed(&error))?;
            element.to_str().map(|uid| uid.trim_end_matches('\0').to_owned()).map_err(|error| failed(&error))
        };
        let volume = volumes.remove(0);
        let labels = ellipsoids(&volume, count);
        let probability = labels.mapv(|label| if label > 0 { 0.75 } else { 0.0 });
        let lesions = measure::lesions(labels.view(), &volume, probability.view(), &Digest::of(b"run"))
            .map_err(|error| failed(&error))?;
        let probabilities =
            Array3::from_shape_fn(labels.raw_dim(), |(s, r, c)| ((s * 31 + r * 17 + c * 7) % 256) as u8);
        Ok(Reported {
            instance: instances.swap_remove(0),
            study_uid: uid(dicom_dictionary_std::tags::STUDY_INSTANCE_UID)?,
            series_uid: uid(dicom_dictionary_std::tags::SERIES_INSTANCE_UID)?,
            volume,
            labels,
            probabilities,
            lesions,
        })
    }

    /// One instance of the series.
    pub fn source(&self) -> Encoded<'_> {
        Encoded { transfer_syntax: &self.instance.0, data_set: &self.instance.1 }
    }

    /// The report of one revision.
    ///
    /// # Panics
    /// Where no report can be made, which these facts do not give.
    pub fn report(&self, revision: Revision<'_>, status: ReportStatus, verdicts: Vec<Finding>) -> Report {
        let run_key = Digest::of(b"run");
        let run = RunOrder {
            run_key,
            study_uid: self.study_uid.clone(),
            series_uid: self.series_uid.clone(),
            stack: self.volume.stack.clone(),
            model: Digest::of(b"model"),
            members: vec![1],
            inputs: Vec::new(),
        };
        let row = ReportRow {
            study_uid: self.study_uid.clone(),
            pipeline: "cortical-lesions".to_owned(),
            run: (status == ReportStatus::Final).then_some(run),
            status,
            demographics_digest: Digest::of(b"demographics"),
            not_used: Vec::new(),
            doubts: Vec::new(),
            verdicts,
            visits: Vec::new(),
            without: Vec::new(),
            content: Digest::of(revision.uid.as_bytes()),
        };
        let outcome = RunOutcome {
            run_key,
            mask: Digest::of(b"mask"),
            probability: None,
            size: self.volume.grid.size.map(|side| side as u32),
            spacing_um: self.volume.grid.spacing().map(|mm| (mm * 1000.0).round() as i64),
            affine_nm: None,
            frame_of_reference_uid: self.volume.frame_of_reference_uid.clone(),
            intensity_scale: self.volume.intensity_scale.clone(),
            notes: self.volume.notes.clone(),
            lesions: self.lesions.clone(),
            alignments: Vec::new(),
            of_visits: false,
            domain: None,
        };
        let input = ReportInput {
            row: &row,
            outcome: Some(&outcome),
            patient: &PatientKey { issuer: "1.2.840.99".to_owned(), id: "P-17".to_owned() },
            uid: revision.uid,
            revision: revision.number,
            supersedes: revision.supersedes,
            created: 1_709_164_799_999,
            model: ("blob-filter", "1"),
            segmentation: None,
        };
        match Report::new(&input) {
            Ok(report) => report,
            Err(error) => panic!("{error}"),
        }
    }
}
