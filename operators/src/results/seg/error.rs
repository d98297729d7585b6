//! Why no segmentation was written.

use thiserror::Error;

use crate::results::dicom::ObjectError;

/// Why no object was written.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SegError {
    /// Label map and grid differ.
    #[error(
        "label map of {labels:?} voxels (columns, rows, slices) does not fit a volume of {grid:?}; use the label map of this volume's run"
    )]
    Shape {
        /// Columns, rows, slices of the label map.
        labels: [usize; 3],
        /// Columns, rows, slices of the grid.
        grid: [usize; 3],
    },
    /// Probability map and grid differ.
    #[error(
        "probability map of {map:?} voxels (columns, rows, slices) does not fit a volume of {grid:?}; use the map of this volume's run"
    )]
    ProbabilityShape {
        /// Columns, rows, slices of the probability map.
        map: [usize; 3],
        /// Columns, rows, slices of the grid.
        grid: [usize; 3],
    },
    /// A probability that is none.
    #[error("the probability map holds a value that is not from 0 to 1 on slice {slice} (from 0); run the model again")]
    NoProbability {
        /// Where.
        slice: usize,
    },
    /// Slices and source frames differ in number.
    #[error("{slices} slices but {frames} source frames; convert the series again")]
    Frames {
        /// Slices of the grid.
        slices: usize,
        /// Source frames.
        frames: usize,
    },
    /// The grid cannot be said in DICOM.
    #[error("the volume has {0}; convert the series again")]
    Grid(String),
    /// A label without a lesion.
    #[error("label {label} on slice {slice} (from 0) belongs to no lesion; measure the label map again")]
    UnknownLabel {
        /// The label.
        label: u16,
        /// Where.
        slice: usize,
    },
    /// A lesion whose voxels are not those of the label map.
    #[error("lesion {label} should have {expected} voxels and the label map has {found}; measure the label map again")]
    Voxels {
        /// The lesion.
        label: u32,
        /// What its row says.
        expected: u64,
        /// What the label map holds.
        found: u64,
    },
    /// Labels are not ascending from 1 to 65,535.
    #[error("lesion label {0} is out of order or out of range; list lesions by ascending label from 1 to 65535")]
    LabelOrder(u32),
    /// The length of PixelData is 32 bits wide.
    #[error(
        "{frames} frames of one segment make {bytes} bytes of pixel data, more than an object holds; convert the series on a coarser grid"
    )]
    TooLarge {
        /// Frames that cannot be told apart into several objects.
        frames: usize,
        /// Bytes.
        bytes: u128,
    },
    /// A segmentation must say which space it lies in.
    #[error("the source has no FrameOfReferenceUID, so a segmentation cannot be placed; have the scanner send it")]
    NoFrameOfReference,
    /// What holds for every object.
    #[error(transparent)]
    Object(#[from] ObjectError),
}
