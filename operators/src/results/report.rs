//! `report.json`: what was found in a study by one pipeline, in one revision, for people and programs.
//!
//! Numbers in mm and mm3 are derived from the integer rows. An empty result is said in words and as an empty list.

mod run;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::run::{Input, Run};
use super::{
    RESEARCH_USE,
    dicom::text::iso_8601,
    judged::{finding, is_rejected},
};
use crate::{
    digest::Digest,
    rows::{
        Finding, LesionRow, LesionVerdict, Millis, PatientKey, ReportRow, ReportStatus, RunOutcome, VisitChange,
        VisitRow,
    },
};

/// Version of the layout of `report.json`; it grows with every change that a reader would notice.
pub const SCHEMA_VERSION: u32 = 4;

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct ReportInput<'a> {
    /// What the revision says.
    pub row: &'a ReportRow,
    /// The run's outcome; none for a withdrawn report.
    pub outcome: Option<&'a RunOutcome>,
    /// Whose study.
    pub patient: &'a PatientKey,
    /// Identity of this report (`2.25.`).
    pub uid: &'a str,
    /// Revision, from 1.
    pub revision: u32,
    /// Identity of the report that this one supersedes; none for the first.
    pub supersedes: Option<&'a str>,
    /// When the revision was issued.
    pub created: Millis,
    /// The model's name and version; empty where the report is withdrawn.
    pub model: (&'a str, &'a str),
    /// SOPInstanceUID of the segmentation of this revision.
    pub segmentation: Option<&'a str>,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "A Sulcus lesion report")]
pub struct Report {
    /// Version of this layout.
    pub schema_version: u32,
    /// What the report may be used for.
    pub research_use: String,
    /// Identity of this report.
    pub uid: String,
    /// Revision, from 1.
    pub revision: u32,
    /// Identity of the report that this one supersedes.
    pub supersedes: Option<String>,
    /// When the revision was issued, UTC, ISO 8601.
    pub created: String,
    /// Whether it stands.
    pub status: Status,
    /// Why it was withdrawn.
    pub withdrawn_because: Option<String>,
    /// The result in one sentence.
    pub result: String,
    /// Whose study.
    pub patient: Patient,
    /// StudyInstanceUID.
    pub study_instance_uid: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The run reported on.
    pub run: Option<Run>,
    /// SOPInstanceUID of the DICOM Segmentation of this revision.
    pub segmentation_sop_instance_uid: Option<String>,
    /// Series of the study that were not used.
    pub series_not_used: Vec<NotUsed>,
    /// The lesions, by label; empty where none was found, or readers rejected them all.
    pub lesions: Vec<Lesion>,
    /// Volume of those lesions, mm3.
    pub lesion_volume_mm3: f64,
    /// What the model took for lesions and a reader rejected, by label: in no count, no volume and no segmentation.
    #[serde(default)]
    pub lesions_rejected: Vec<Lesion>,
    /// What a reader should know of the images.
    pub notes: Vec<String>,
    /// The patient's visits by date, this one last, as they stand now; empty where no earlier one is known.
    #[serde(default)]
    pub visits: Vec<Visit>,
}

/// One visit of the patient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Visit {
    /// StudyInstanceUID.
    pub study_instance_uid: String,
    /// StudyDate, `YYYYMMDD`.
    pub study_date: String,
    /// Lesions that no reader rejected.
    pub lesions: u32,
    /// Their volume, mm3.
    pub lesion_volume_mm3: f64,
    /// What changed since the visit before; none for the first, and where the two scans were not compared.
    pub change: Option<VisitChange>,
}

/// Whether a report stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It stands.
    Final,
    /// It was taken back.
    Withdrawn,
}

/// Whose study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Patient {
    /// PatientID.
    pub id: String,
    /// IssuerOfPatientID, else `source:` and the name of the source; without PatientID, `demographics:` and digits that
    /// tell persons apart by name and birth date.
    pub issuer: String,
}

/// A series that was not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotUsed {
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// Why.
    pub reason: String,
}

/// One lesion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lesion {
    /// Number within the run, from 1; `Lesion N` in the segmentation.
    pub label: u32,
    /// Tracking Unique Identifier.
    pub tracking_uid: String,
    /// Number of voxels.
    pub voxels: u64,
    /// Volume, mm3.
    pub volume_mm3: f64,
    /// Centre of mass, mm, LPS.
    pub centroid_mm: [f64; 3],
    /// First voxel of the bounding box (column, row, slice), from 0.
    pub box_first: [u32; 3],
    /// Extent of the bounding box in voxels (columns, rows, slices).
    pub box_size: [u32; 3],
    /// Mean intensity, in the run's intensity scale.
    pub mean_intensity: f64,
    /// Mean foreground probability, 0 to 1.
    pub mean_probability: f64,
    /// Highest foreground probability, 0 to 1.
    pub peak_probability: f64,
    /// What a reader said of it.
    pub verdict: Option<Verdict>,
}

/// A reader's verdict on a lesion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// What it says.
    pub verdict: Judgement,
    /// What the lesion is to be called, where it was relabelled; its SegmentLabel.
    pub relabelled: Option<String>,
    /// Who gave it.
    pub reader: String,
    /// What the reader added.
    pub comment: Option<String>,
}

/// What a verdict says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// It is a lesion.
    Accepted,
    /// It is none.
    Rejected,
    /// It goes by another name.
    Relabelled,
}

/// Why no report was made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReportError {
    /// A final report needs its run and outcome.
    #[error("a final report has no run or no outcome; run the series again")]
    NoOutcome,
    /// The outcome is another run's.
    #[error("the outcome is of run {found}, the report of run {expected}; run the series again")]
    OtherRun {
        /// The outcome's run.
        found: Digest,
        /// The report's run.
        expected: Digest,
    },
}

impl Report {
    /// The report of one revision.
    ///
    /// # Errors
    /// [`ReportError`] where row and outcome do not belong together.
    pub fn new(input: &ReportInput<'_>) -> Result<Self, ReportError> {
        let row = input.row;
        let (status, withdrawn_because) = match &row.status {
            ReportStatus::Final => (Status::Final, None),
            ReportStatus::Withdrawn(reason) => (Status::Withdrawn, Some(reason.clone())),
        };
        let (run, found, notes) = match status {
            Status::Withdrawn => (None, [].as_slice(), Vec::new()),
            Status::Final => {
                let (order, outcome) = row.run.as_ref().zip(input.outcome).ok_or(ReportError::NoOutcome)?;
                if order.run_key != outcome.run_key {
                    return Err(ReportError::OtherRun { found: outcome.run_key, expected: order.run_key });
                }
                let run = Run::new(order, outcome, input.model);
                let far = run.domain.filter(|domain| domain.beyond).map(|domain| domain.note());
                let notes = row.doubts.iter().chain(&row.without).chain(&outcome.notes).cloned().chain(far).collect();
                (Some(run), outcome.lesions.as_slice(), notes)
            }
        };
        let (rejected, kept): (Vec<_>, Vec<_>) = found.iter().partition(|lesion| is_rejected(&row.verdicts, lesion));
        let volume_nl: u64 = kept.iter().map(|lesion| lesion.volume_nl).sum();
        let listed = |lesions: Vec<&LesionRow>| -> Vec<Lesion> {
            lesions.into_iter().map(|lesion| Lesion::new(lesion, finding(&row.verdicts, lesion))).collect()
        };
        let not_used = row
            .not_used
            .iter()
            .map(|(series, reason)| NotUsed { series_instance_uid: series.clone(), reason: reason.clone() });
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            research_use: RESEARCH_USE.to_owned(),
            uid: input.uid.to_owned(),
            revision: input.revision,
            supersedes: input.supersedes.map(str::to_owned),
            created: iso_8601(input.created),
            result: sentence(status, kept.len(), rejected.len(), !row.doubts.is_empty()),
            status,
            withdrawn_because,
            patient: Patient { id: input.patient.id.clone(), issuer: input.patient.issuer.clone() },
            study_instance_uid: row.study_uid.clone(),
            pipeline: row.pipeline.clone(),
            run,
            segmentation_sop_instance_uid: input.segmentation.map(str::to_owned),
            series_not_used: not_used.collect(),
            lesions: listed(kept),
            lesion_volume_mm3: volume_nl as f64 / 1000.0,
            lesions_rejected: listed(rejected),
            notes,
            visits: row.visits.iter().map(Visit::new).collect(),
        })
    }

    /// The file's bytes: indented JSON with a newline at the end, the same for equal reports.
    ///
    /// # Errors
    /// Where a number is not finite, which integer rows do not give.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The JSON Schema of `report.json`, as committed in `docs/reference/report.schema.json`.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Report).to_value()
    }
}

impl Lesion {
    fn new(row: &LesionRow, finding: Option<&Finding>) -> Self {
        Self {
            label: row.label,
            tracking_uid: row.tracking_uid.clone(),
            voxels: row.voxels,
            volume_mm3: row.volume_nl as f64 / 1000.0,
            centroid_mm: row.centroid_um.map(thousandths),
            box_first: row.box_first,
            box_size: row.box_size,
            mean_intensity: thousandths(row.mean_intensity_milli),
            mean_probability: f64::from(row.probability_permille) / 1000.0,
            peak_probability: f64::from(row.peak_probability_permille) / 1000.0,
            verdict: finding.and_then(Verdict::of),
        }
    }
}

impl Visit {
    fn new(row: &VisitRow) -> Self {
        Self {
            study_instance_uid: row.study_uid.clone(),
            study_date: row.study_date.clone(),
            lesions: row.lesions,
            lesion_volume_mm3: row.volume_nl as f64 / 1000.0,
            change: row.change,
        }
    }
}

impl Verdict {
    /// None for what was taken back.
    fn of(finding: &Finding) -> Option<Self> {
        let (verdict, relabelled) = match &finding.verdict {
            LesionVerdict::Accepted => (Judgement::Accepted, None),
            LesionVerdict::Rejected => (Judgement::Rejected, None),
            LesionVerdict::Relabelled(text) => (Judgement::Relabelled, Some(text.clone())),
            LesionVerdict::Open => return None,
        };
        let comment = (!finding.comment.is_empty()).then(|| finding.comment.clone());
        Some(Self { verdict, relabelled, reader: finding.reader.clone(), comment })
    }
}

fn thousandths(value: i64) -> f64 {
    value as f64 / 1000.0
}

fn sentence(status: Status, lesions: usize, rejected: usize, doubtful: bool) -> String {
    let found = match (status, lesions, rejected) {
        (Status::Withdrawn, ..) => return "This report was withdrawn.".to_owned(),
        (Status::Final, 0, 0) => "No lesion was found".to_owned(),
        (Status::Final, 0, _) => "No lesion remains".to_owned(),
        (Status::Final, 1, _) => "1 lesion was found".to_owned(),
        (Status::Final, count, _) => format!("{count} lesions were found"),
    };
    let found = if doubtful { format!("{found} in a series that may be incomplete") } else { found };
    match rejected {
        0 => format!("{found}."),
        1 => format!("{found}; 1 was rejected by a reader."),
        count => format!("{found}; {count} were rejected by a reader."),
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
