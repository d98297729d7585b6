//! The plain rows that cross between rooms, defined once.
//!
//! Rows hold integers (micrometres, nanolitres, per-mille), strings and digests, never floats: the dataflow needs a
//! total order and sums must not drift. Pixels never enter a row.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use sulcus_config::Role;

use crate::digest::Digest;
pub use crate::{
    domain::DomainDistance,
    keywords::Keywords,
    registration::{Alignment, RigidRow},
    run_order::{RunInput, RunOrder},
    visits::{VisitChange, VisitRow},
};

/// A sequence number of the ledger: 1 for the first event, then without gaps.
pub type Seq = u64;

/// Milliseconds since 1970-01-01 UTC, as recorded in an event.
pub type Millis = i64;

/// Whose scan it is: PatientID within its issuer, or within the source where no issuer is given, so that equal ids
/// of two sites never merge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PatientKey {
    /// IssuerOfPatientID, else `source:` and the name of the source; without PatientID, `demographics:` and digits that
    /// tell persons apart by name and birth date.
    pub issuer: String,
    /// PatientID; may be empty.
    pub id: String,
}

impl PatientKey {
    /// True where the header named an issuer: else one patient comes under another key from each source.
    fn is_issued(&self) -> bool {
        !self.issuer.starts_with("source:")
    }

    /// The issuer, empty where the header named none, and the id; none without an id.
    pub fn named(&self) -> Option<[&str; 2]> {
        let issuer = if self.is_issued() { self.issuer.as_str() } else { "" };
        (!self.id.is_empty()).then_some([issuer, &self.id])
    }

    /// How many patients these keys are of, within one series or study: ids that differ, and issuers that are both
    /// named and differ. An issuer that is not named contradicts none.
    pub fn count<'k>(keys: impl IntoIterator<Item = &'k PatientKey>) -> usize {
        let mut issuers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for key in keys {
            let named = issuers.entry(&key.id).or_default();
            named.extend(key.is_issued().then_some(key.issuer.as_str()));
        }
        issuers.values().map(|named| named.len().max(1)).sum()
    }
}

/// One frame's place in space and the volume that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FrameFacts {
    /// What tells the volumes of one series apart (ImageType, ComplexImageComponent, Siemens ImageTypeText,
    /// InversionTime, EchoTime, temporal position, acquisition), in readable form.
    pub stack: String,
    /// ImagePositionPatient, micrometres, LPS; none where the frame has no position.
    pub position_um: Option<[i64; 3]>,
    /// ImageOrientationPatient, row then column cosines, in millionths; none where the frame has none.
    pub orientation: Option<[i32; 6]>,
    /// PixelSpacing (between rows, between columns), micrometres.
    pub spacing_um: Option<[i64; 2]>,
}

/// What is known of one SOP Instance from its header alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// SOPClassUID.
    pub sop_class_uid: String,
    /// SOPInstanceUID.
    pub sop_instance_uid: String,
    /// StudyInstanceUID.
    pub study_uid: String,
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// TransferSyntaxUID of the stored bytes.
    pub transfer_syntax: String,
    /// Digest of the data set's bytes as received, without group 0002.
    pub data_set_digest: Digest,
    /// Digest of what a computation sees: pixel bytes, geometry, pixel format, rescale. A corrected name leaves it
    /// unchanged.
    pub content_digest: Digest,
    /// Digest of what identifies patient and study in an output (names, ids, dates, accession number, character set).
    pub demographics_digest: Digest,
    /// Whose scan.
    pub patient: PatientKey,
    /// InstanceNumber.
    pub instance_number: Option<i64>,
    /// FrameOfReferenceUID; empty where missing.
    pub frame_of_reference_uid: String,
    /// Columns, then Rows.
    pub matrix: [u32; 2],
    /// True for a multi-frame Enhanced object, whose own frames are counted evidence.
    pub enhanced: bool,
    /// True where the image is a Siemens mosaic, which is recognised and never converted.
    pub mosaic: bool,
    /// How many instances (classic) the header says the series has; see `counted_by`.
    pub expected_instances: Option<u32>,
    /// The attribute that gave `expected_instances`, in words.
    pub counted_by: String,
    /// Place within a concatenation (0020,9162) and the number of its parts (0020,9163), for Enhanced objects.
    pub concatenation: Option<[u32; 2]>,
    /// One entry a frame, in stored order.
    pub frames: Vec<FrameFacts>,
    /// What tells the series of one acquisition: acquisition date and time, else AcquisitionNumber. Empty: unknown.
    pub acquisition: String,
    /// Values that pipeline rules may use, by DICOM keyword (`Modality`, `SeriesDescription`, `ImageType`, ...).
    /// Several values are joined by a backslash, as in the file.
    pub keywords: Keywords,
}

/// One volume of a series as far as headers tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StackState {
    /// `FrameFacts::stack` of its frames.
    pub stack: String,
    /// Number of frames.
    pub frames: u32,
    /// Distance between slices along the normal, micrometres; 0 for a single slice.
    pub step_um: i64,
    /// Slices that are missing inside (a gap), counted from the step.
    pub missing: u32,
    /// Positions that hold more than one frame.
    pub doubled: u32,
    /// True where all frames share orientation, matrix and spacing and the steps are even.
    pub uniform: bool,
}

/// A series as far as its instances tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesState {
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// StudyInstanceUID.
    pub study_uid: String,
    /// Whose scan; the first in order where instances disagree (then `patients` exceeds 1).
    pub patient: PatientKey,
    /// Name of the source it came from; the first in order where several sent parts.
    pub source: String,
    /// How many patients its instances name.
    pub patients: u32,
    /// Number of instances.
    pub instances: u32,
    /// When the first of `members` was received.
    pub received: Millis,
    /// Events (`InstanceReceived`) that brought its instances, ascending.
    pub members: Vec<Seq>,
    /// Digest over the sorted content digests: equal sets give equal digests.
    pub content_digest: Digest,
    /// Demographics of the series' first instance (by SOPInstanceUID).
    pub demographics_digest: Digest,
    /// Its volumes, by `stack`.
    pub stacks: Vec<StackState>,
    /// Counted evidence: how many instances the headers promise, and by which attribute.
    pub expected: Option<(u32, String)>,
    /// True where every instance is Enhanced and its concatenation, if any, is whole.
    pub enhanced_whole: bool,
    /// True where InstanceNumber runs from 1 to N without holes.
    pub numbered: bool,
    /// True where an instance is a mosaic.
    pub mosaic: bool,
    /// FrameOfReferenceUID.
    pub frame_of_reference_uid: String,
    /// See `InstanceFacts::acquisition`.
    pub acquisition: String,
    /// Keywords of the series' first instance (by SOPInstanceUID), for pipeline rules.
    pub keywords: Keywords,
}

impl SeriesState {
    /// The event that brought its first member; 0 where there is none.
    pub fn first_member(&self) -> Seq {
        self.members.first().copied().unwrap_or(0)
    }

    /// The last event that changed this series' instances by addition; 0 where there is none.
    pub fn last_member(&self) -> Seq {
        self.members.last().copied().unwrap_or(0)
    }
}

/// Whether a series may be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It is whole, by the reasons given.
    Complete,
    /// More may come; the reasons say what is waited for.
    Waiting,
    /// Nothing more is expected, and it cannot be used as it is.
    Stalled,
}

/// The verdict on one series, with its reasons in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Completeness {
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, strongest evidence first.
    pub reasons: Vec<String>,
}

/// One lesion of one run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LesionRow {
    /// The component's number in the run's label map, from 1, in order of its first voxel (z, y, x).
    pub label: u32,
    /// Tracking Unique Identifier (0062,0021).
    pub tracking_uid: String,
    /// Number of voxels.
    pub voxels: u64,
    /// Volume in nanolitres (1 mm3 = 1,000 nl).
    pub volume_nl: u64,
    /// Centre of mass, micrometres, LPS.
    pub centroid_um: [i64; 3],
    /// Bounding box, first voxel (column, row, slice).
    pub box_first: [u32; 3],
    /// Bounding box, extent in voxels (columns, rows, slices).
    pub box_size: [u32; 3],
    /// Mean intensity in thousandths of the volume's unit.
    pub mean_intensity_milli: i64,
    /// Mean foreground probability, per mille.
    pub probability_permille: u32,
    /// Highest foreground probability, per mille.
    pub peak_probability_permille: u32,
}

/// What a reader says of a lesion.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LesionVerdict {
    /// It is a lesion.
    Accepted,
    /// It is none.
    Rejected,
    /// It is something else, or goes by another name: the reader's words.
    Relabelled(String),
    /// Nothing: what was said before is taken back.
    Open,
}

/// What a reader said of one lesion, as it stands: the newest verdict, which is never [`LesionVerdict::Open`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// Tracking UID of the lesion.
    pub tracking_uid: String,
    /// The verdict.
    pub verdict: LesionVerdict,
    /// Who gave it; never logged.
    pub reader: String,
    /// What the reader adds; may be empty.
    pub comment: String,
}

/// What a finished run gave.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunOutcome {
    /// The run.
    pub run_key: Digest,
    /// Label map (component numbers on the scanner's grid) in the results store.
    pub mask: Digest,
    /// Probability of a lesion (255ths, on the same grid) in the results store; none in outcomes of before it was kept.
    #[serde(default)]
    pub probability: Option<Digest>,
    /// Volume's size (columns, rows, slices).
    pub size: [u32; 3],
    /// Voxel spacing (columns, rows, slices), micrometres.
    pub spacing_um: [i64; 3],
    /// Rows of the matrix that takes a voxel index (column, row, slice, 1) to LPS nanometres; none in outcomes of
    /// before it was recorded.
    #[serde(default)]
    pub affine_nm: Option<[[i64; 4]; 3]>,
    /// FrameOfReferenceUID of the volume; empty where missing, and in outcomes of before it was recorded.
    #[serde(default)]
    pub frame_of_reference_uid: String,
    /// Which scale intensities are in, in words.
    pub intensity_scale: String,
    /// What a reader should know: quality notes and warnings.
    pub notes: Vec<String>,
    /// The lesions, by label.
    pub lesions: Vec<LesionRow>,
    /// The visits of the patient before that the lesions were compared with, in this order.
    #[serde(default)]
    pub alignments: Vec<Alignment>,
    /// True where an earlier run of the study lent an identity that it may have had from another visit.
    #[serde(default)]
    pub of_visits: bool,
    /// How far the scan is from those that the model learned from; none where the model cannot tell, and in outcomes of
    /// before it was recorded.
    #[serde(default)]
    pub domain: Option<DomainDistance>,
}

impl RunOutcome {
    /// True where its lesions may have identities from other visits, directly or through earlier runs of the study.
    pub fn knows_visits(&self) -> bool {
        self.of_visits || !self.alignments.is_empty()
    }
}

/// Whether a report stands or was taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReportStatus {
    /// The result of a run.
    Final,
    /// What it was made from is gone or can no longer be used; the reason says why.
    Withdrawn(String),
}

/// What one revision of a study's report by one pipeline should say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReportRow {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Standing or withdrawn.
    pub status: ReportStatus,
    /// The run reported on; none when withdrawn.
    pub run: Option<RunOrder>,
    /// Demographics that the outputs carry.
    pub demographics_digest: Digest,
    /// Series of the study that were not used, each with the reason.
    pub not_used: Vec<(String, String)>,
    /// Why the series that was used may not be whole, in words; empty where evidence says that it is.
    pub doubts: Vec<String>,
    /// What readers said of the report's lesions, by tracking UID.
    pub verdicts: Vec<Finding>,
    /// The patient's visits by date, this one last; empty where no earlier one is known.
    #[serde(default)]
    pub visits: Vec<VisitRow>,
    /// What the run did without, in words: further inputs that did not come in time.
    #[serde(default)]
    pub without: Vec<String>,
    /// Digest of all the above but the members of runs: equal content is the same revision.
    pub content: Digest,
}

/// One object on its way to one destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// ObjectKey.
    pub object: Digest,
    /// Name of the destination.
    pub destination: String,
    /// StudyInstanceUID.
    pub study_uid: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Revision of the report that the object belongs to.
    pub revision: u32,
    /// What the object is.
    pub role: Role,
    /// SOPInstanceUID; for a report, its `2.25.` identity.
    pub uid: String,
    /// The encoded bytes in the results store.
    pub bytes: Digest,
}

/// A failure as a row: retracted when it is cured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fault {
    /// Stage of the graph or lane that found it.
    pub stage: String,
    /// What it concerns: a UID, a RunKey, a destination.
    pub key: String,
    /// What failed.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

#[cfg(test)]
mod tests {
    use super::PatientKey;

    #[test]
    fn an_issuer_that_is_not_named_contradicts_none() {
        let key = |issuer: &str, id: &str| PatientKey { issuer: issuer.to_owned(), id: id.to_owned() };
        let (scanner, archive, named) = (key("source:scanner", "1"), key("source:archive", "1"), key("hospital", "1"));
        assert_eq!(PatientKey::count([&scanner, &archive, &named]), 1);
        assert_eq!(PatientKey::count([&named, &key("other", "1")]), 2);
        assert_eq!(PatientKey::count([&scanner, &key("source:scanner", "2")]), 2);
        assert_eq!(PatientKey::count([]), 0);
    }
}
