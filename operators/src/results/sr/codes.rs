//! The codes of the report (PS3.16), and those of our own where PS3.16 has none.

use crate::results::dicom::{codes::Code, content::PRIVATE_SCHEME};

pub(super) const REPORT: Code = Code("126000", "DCM", "Imaging Measurement Report");
pub(super) const PROCEDURE_REPORTED: Code = Code("121058", "DCM", "Procedure reported");
/// CID 100; which part of the body was asked for is not known here.
pub(super) const MRI: Code = Code("25056-3", "LN", "MRI unspecified body region");
pub(super) const IMAGE_LIBRARY: Code = Code("111028", "DCM", "Image Library");
pub(super) const IMAGE_LIBRARY_GROUP: Code = Code("126200", "DCM", "Image Library Group");
pub(super) const IMAGING_MEASUREMENTS: Code = Code("126010", "DCM", "Imaging Measurements");
pub(super) const QUALITATIVE_EVALUATIONS: Code = Code("C0034375", "UMLS", "Qualitative Evaluations");
pub(super) const MEASUREMENT_GROUP: Code = Code("125007", "DCM", "Measurement Group");

pub(super) const TRACKING_IDENTIFIER: Code = Code("112039", "DCM", "Tracking Identifier");
pub(super) const TRACKING_UID: Code = Code("112040", "DCM", "Tracking Unique Identifier");
pub(super) const FINDING_CATEGORY: Code = Code("276214006", "SCT", "Finding category");
pub(super) const FINDING: Code = Code("121071", "DCM", "Finding");
pub(super) const FINDING_SITE: Code = Code("363698007", "SCT", "Finding Site");
pub(super) const REFERENCED_SEGMENT: Code = Code("121191", "DCM", "Referenced Segment");
pub(super) const SOURCE_SERIES: Code = Code("121232", "DCM", "Source Series for Segmentation");
pub(super) const IMAGE_REGION: Code = Code("111030", "DCM", "Image Region");
pub(super) const CENTER: Code = Code("111010", "DCM", "Center");
pub(super) const COMMENT: Code = Code("121106", "DCM", "Comment");

pub(super) const ALGORITHM_NAME: Code = Code("111001", "DCM", "Algorithm Name");
pub(super) const ALGORITHM_VERSION: Code = Code("111003", "DCM", "Algorithm Version");
pub(super) const ALGORITHM_PARAMETERS: Code = Code("111002", "DCM", "Algorithm Parameters");

pub(super) const DERIVATION: Code = Code("121401", "DCM", "Derivation");
pub(super) const MEAN: Code = Code("373098007", "SCT", "Mean");
pub(super) const MAXIMUM: Code = Code("56851009", "SCT", "Maximum");
pub(super) const TOTAL: Code = Code("255619001", "SCT", "Total");
pub(super) const VOLUME: Code = Code("118565006", "SCT", "Volume");
pub(super) const LONG_AXIS: Code = Code("103339001", "SCT", "Long Axis");
pub(super) const SHORT_AXIS: Code = Code("103340004", "SCT", "Short Axis");
pub(super) const SIGNAL_INTENSITY: Code = Code("110852", "DCM", "MR signal intensity");
/// What the model holds each voxel of the lesion to be lesion by, 0 to 1.
pub(super) const PROBABILITY: Code = Code("probability", PRIVATE_SCHEME, "Foreground probability of the model");
/// -p log2 p - (1 - p) log2 (1 - p) of the lesion's mean foreground probability p.
pub(super) const ENTROPY: Code =
    Code("entropy", PRIVATE_SCHEME, "Uncertainty: entropy of the mean foreground probability");

/// In units of the median distance of a training scan from the others.
pub(super) const DOMAIN_DISTANCE: Code =
    Code("domain-distance", PRIVATE_SCHEME, "Distance of the scan from the model's training scans");
pub(super) const FARTHER_THAN: Code =
    Code("farther-than", PRIVATE_SCHEME, "Training scans that are nearer to the other training scans");
pub(super) const TRAINING_SCANS: Code = Code("training-scans", PRIVATE_SCHEME, "Training scans of the model");

pub(super) const CUBIC_MILLIMETRE: Code = Code("mm3", "UCUM", "cubic millimeter");
pub(super) const MILLIMETRE: Code = Code("mm", "UCUM", "millimeter");
pub(super) const NO_UNITS: Code = Code("1", "UCUM", "no units");
pub(super) const BIT: Code = Code("bit", "UCUM", "bit");

pub(super) const VERDICT: Code = Code("verdict", PRIVATE_SCHEME, "Verdict of a reader");
pub(super) const ACCEPTED: Code = Code("accepted", PRIVATE_SCHEME, "Accepted as a lesion");
pub(super) const REJECTED: Code = Code("rejected", PRIVATE_SCHEME, "Rejected: no lesion");
pub(super) const RELABELLED: Code = Code("relabelled", PRIVATE_SCHEME, "Given another name");
pub(super) const READERS_NAME_FOR_IT: Code = Code("label", PRIVATE_SCHEME, "Name given by the reader");
pub(super) const PERMITTED_USE: Code = Code("use", PRIVATE_SCHEME, "Permitted use");
pub(super) const INTENSITY_SCALE: Code = Code("scale", PRIVATE_SCHEME, "Scale of intensities");
pub(super) const NOTE: Code = Code("note", PRIVATE_SCHEME, "Note on the images");
pub(super) const NOT_USED: Code = Code("not-used", PRIVATE_SCHEME, "Series that was not used");
