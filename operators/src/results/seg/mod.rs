//! Writes a label map as a DICOM Segmentation (PS3.3 A.51): BINARY, Explicit VR Little Endian, on the grid of its
//! source, one segment a lesion.
//!
//! What cannot be a valid object is an error, never a file. Reading back and checking is `results::check`'s.

mod frames;
mod groups;
mod segments;
#[cfg(test)]
mod tests;

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::ArrayView3;
use thiserror::Error;

use super::{
    RESEARCH_USE,
    dicom::{
        Algorithm, Header, Kind, Object, ObjectError, begin, check_uid,
        elements::{sequence, short, text as text_element},
        part_10, patient, strings,
    },
};
use crate::{
    rows::{Finding, LesionRow},
    volume::{FrameRef, Grid},
};

/// Everything that a segmentation says.
#[derive(Clone, Copy, Debug)]
pub struct SegInput<'a> {
    /// Whose object it is, and which.
    pub header: Header<'a>,
    /// The volume's grid.
    pub grid: &'a Grid,
    /// The source of each slice.
    pub frames: &'a [FrameRef],
    /// FrameOfReferenceUID of the volume.
    pub frame_of_reference_uid: &'a str,
    /// Lesion labels, axes (slice, row, column); 0 is background.
    pub labels: ArrayView3<'a, u16>,
    /// The lesions, by ascending label; segment numbers are their places in this list, from 1.
    pub lesions: &'a [LesionRow],
    /// What readers said of the run's lesions; those that they rejected are neither in `labels` nor in `lesions`.
    pub findings: &'a [Finding],
    /// The model.
    pub algorithm: Algorithm<'a>,
}

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
    /// SegmentNumber is 16 bits wide.
    #[error("{0} lesions do not fit into one segmentation; at most 65535 do, so raise the smallest lesion size")]
    TooManySegments(usize),
    /// The length of PixelData is 32 bits wide.
    #[error(
        "{frames} frames make {bytes} bytes of pixel data, more than one segmentation holds; raise the smallest lesion size"
    )]
    TooLarge {
        /// Frames.
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

/// Writes the segmentation.
pub fn encode(input: &SegInput<'_>) -> Result<Object, SegError> {
    verify(input)?;
    let mut notes = Vec::new();
    let kind =
        Kind { sop_class_uid: uids::SEGMENTATION_STORAGE, modality: "SEG", series_description: "Sulcus lesions" };
    let (mut object, inherited) = begin(&input.header, &kind, &mut notes)?;
    let frames = frames::Frames::new(input.labels, input.lesions)?;
    for element in patient::inherit_image(input.header.source, &inherited.charset, &mut notes)? {
        object.put(element);
    }
    put_content(&mut object, input);
    put_image(&mut object, input, frames.frames.len());
    object.put(groups::referenced_series(&inherited.series_uid, input.frames));
    for element in groups::dimensions(input.header.sop_instance_uid) {
        object.put(element);
    }
    let charset = inherited.charset.as_str();
    let segments = segments::segments(input.lesions, input.findings, &input.algorithm, charset, &mut notes);
    object.put(sequence(tags::SEGMENT_SEQUENCE, segments));
    object.put(groups::shared(input.grid)?);
    object.put(groups::per_frame(input.grid, input.frames, &frames.frames)?);
    Ok(Object { bytes: part_10(&object, Some(&frames.bits))?, notes })
}

fn verify(input: &SegInput<'_>) -> Result<(), SegError> {
    let (slices, rows, columns) = input.labels.dim();
    let labels = [columns, rows, slices];
    let fits = labels.iter().all(|&extent| extent > 0) && columns.max(rows) <= usize::from(u16::MAX);
    if labels != input.grid.size || !fits {
        return Err(SegError::Shape { labels, grid: input.grid.size });
    }
    if input.frames.len() != slices {
        return Err(SegError::Frames { slices, frames: input.frames.len() });
    }
    if input.grid.affine.iter().flatten().any(|value| !value.is_finite()) {
        return Err(SegError::Grid("an affine that is not finite".into()));
    }
    if input.frame_of_reference_uid.is_empty() {
        return Err(SegError::NoFrameOfReference);
    }
    let sources = input.frames.iter().flat_map(|frame| {
        [("SOPClassUID of a source", &frame.sop_class_uid), ("SOPInstanceUID of a source", &frame.sop_instance_uid)]
    });
    let tracking = input.lesions.iter().map(|lesion| ("tracking UID", &lesion.tracking_uid));
    check_uid("FrameOfReferenceUID", input.frame_of_reference_uid)?;
    for (what, uid) in sources.chain(tracking) {
        check_uid(what, uid)?;
    }
    Ok(())
}

/// Frame of reference and content (PS3.3 C.7.4.1, 10.9).
fn put_content(object: &mut InMemDicomObject, input: &SegInput<'_>) {
    let description = format!("Lesions, revision {}; {}", input.header.revision, RESEARCH_USE.to_lowercase());
    for (tag, vr, value) in [
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, input.frame_of_reference_uid),
        (tags::IMAGE_COMMENTS, VR::LT, RESEARCH_USE),
        (tags::CONTENT_LABEL, VR::CS, "LESIONS"),
        (tags::CONTENT_DESCRIPTION, VR::LO, &description),
        (tags::CONTENT_CREATOR_NAME, VR::PN, "Sulcus^"),
    ] {
        object.put(text_element(tag, vr, value));
    }
}

/// Image pixel and segmentation image (PS3.3 C.8.20.2).
fn put_image(object: &mut InMemDicomObject, input: &SegInput<'_>, frames: usize) {
    let [columns, rows, _] = input.grid.size.map(|extent| u16::try_from(extent).unwrap_or(u16::MAX));
    object.put(DataElement::new(tags::IMAGE_TYPE, VR::CS, strings(&["DERIVED", "PRIMARY"])));
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, 1),
        (tags::BITS_STORED, 1),
        (tags::HIGH_BIT, 0),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(short(tag, value));
    }
    object.put(text_element(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"));
    object.put(text_element(tags::NUMBER_OF_FRAMES, VR::IS, frames.to_string()));
    object.put(text_element(tags::SEGMENTATION_TYPE, VR::CS, "BINARY"));
    object.put(text_element(tags::SEGMENTS_OVERLAP, VR::CS, "NO"));
}
