//! Where a written segmentation and what it was made from disagree.

use thiserror::Error;

/// Where the file and what it was made from disagree. Such a file must not leave.
#[derive(Debug, Error, PartialEq)]
pub enum Mismatch {
    /// The file cannot be read, or lacks something.
    #[error("the written segmentation cannot be read back: {0}")]
    File(String),
    /// A source cannot be read.
    #[error("source instance {uid} cannot be read: {reason}; send the series again")]
    Source {
        /// SOPInstanceUID.
        uid: String,
        /// Why.
        reason: String,
    },
    /// Frame and source differ in matrix, spacing, orientation, study or frame of reference.
    #[error("frame {frame} differs from its source instance in {what}; nothing was sent, report this as a fault")]
    Plane {
        /// Frame number from 1.
        frame: usize,
        /// In what.
        what: &'static str,
    },
    /// A frame lies elsewhere than its source.
    #[error(
        "frame {frame} lies {distance_mm:.3} mm from its source instance; nothing was sent, report this as a fault"
    )]
    Position {
        /// Frame number from 1.
        frame: usize,
        /// How far.
        distance_mm: f64,
    },
    /// A mask is not that of the label map, or probabilities are not those of the map.
    #[error(
        "frame {frame} differs from the map that it was made of in {voxels} voxels; nothing was sent, report this as a fault"
    )]
    Mask {
        /// Frame number from 1.
        frame: usize,
        /// In how many voxels.
        voxels: usize,
    },
    /// A segment has other voxels than its lesion.
    #[error(
        "lesion {label} has {found} voxels in the file, {expected} measured; nothing was sent, report this as a fault"
    )]
    Voxels {
        /// The lesion.
        label: u32,
        /// In the file.
        found: u64,
        /// Measured.
        expected: u64,
    },
    /// A segment lies over other intensities than its lesion.
    #[error(
        "lesion {label} lies over a mean of {found_milli} (thousandths) in the source, {expected_milli} measured; nothing was sent, report this as a fault"
    )]
    Mean {
        /// The lesion.
        label: u32,
        /// In the source, under the file's mask.
        found_milli: i64,
        /// Measured.
        expected_milli: i64,
    },
    /// A lesion lies over other probabilities than were measured.
    #[error(
        "lesion {label} lies over a {what} probability of {found_permille} (thousandths) in the file, {expected_permille} measured; nothing was sent, report this as a fault"
    )]
    Probability {
        /// The lesion.
        label: u32,
        /// Mean or peak.
        what: &'static str,
        /// In the file, under the lesion of the label map.
        found_permille: u32,
        /// Measured.
        expected_permille: u32,
    },
}
