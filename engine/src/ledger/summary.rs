//! What a seal says of its study, so that changed rules can be compared with it and the study need not be read.

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{Keywords, Millis, PatientKey, Role, Seq},
};

/// What stands of a study that is at rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StudySummary {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// Whose.
    pub patient: PatientKey,
    /// Its series, by UID.
    pub series: Vec<SeriesSummary>,
    /// Its reports, by pipeline.
    pub reports: Vec<ReportSummary>,
}

/// One series of a study at rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesSummary {
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// How many instances it holds.
    pub instances: u32,
    /// The event that brought its first member.
    pub first_member: Seq,
    /// When that was; 0 in the first ledgers that had seals.
    #[serde(default)]
    pub received: Millis,
    /// Values that rules may use, by DICOM keyword.
    pub keywords: Keywords,
    /// The pipelines that took it, each with its model.
    pub taken: Vec<(String, Digest)>,
}

/// One pipeline's report on a study at rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReportSummary {
    /// Name of the pipeline.
    pub pipeline: String,
    /// SeriesInstanceUID of the series that was used; none where the report is withdrawn.
    pub series_uid: Option<String>,
    /// Digest of the model package; none where the report is withdrawn.
    pub model: Option<Digest>,
    /// Number of lesions; those that readers rejected are no part of this and of the volume.
    pub lesions: u32,
    /// Their volume in nanolitres.
    pub volume_nl: u64,
    /// Where its objects went, by role.
    pub routes: Vec<(Role, String)>,
    /// False where the rules did not name the pipeline, so that nothing was taken back whatever became of its series.
    #[serde(default = "named")]
    pub named: bool,
}

/// What seals of before it was recorded are taken to say.
fn named() -> bool {
    true
}
