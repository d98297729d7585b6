//! Writes a label map as a DICOM Segmentation (PS3.3 A.51): BINARY, Explicit VR Little Endian, on the grid of its
//! source, one segment a lesion.
//!
//! What cannot be a valid object is an error, never a file. Reading back and checking is `results::check`'s.

mod codes;
mod frames;
mod groups;
mod patient;
mod segments;
#[cfg(test)]
mod tests;
mod text;

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use ndarray::ArrayView3;
use thiserror::Error;

use self::codes::{sequence, short, text as text_element};
pub(crate) use self::text::date_time;
use super::{RESEARCH_USE, uid::is_valid_uid};
use crate::{
    digest::Digest,
    part10,
    rows::{Finding, LesionRow, Millis},
    volume::{Encoded, FrameRef, Grid},
};

/// The model that made the label map.
#[derive(Clone, Copy, Debug)]
pub struct Algorithm<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Digest of the model package.
    pub digest: Digest,
}

/// The installation that writes the object (Enhanced General Equipment, PS3.3 C.7.5.2).
#[derive(Clone, Copy, Debug)]
pub struct Equipment<'a> {
    /// DeviceSerialNumber: names the installation.
    pub serial_number: &'a str,
    /// SoftwareVersions.
    pub software_version: &'a str,
}

/// Everything that a segmentation says.
#[derive(Clone, Copy, Debug)]
pub struct SegInput<'a> {
    /// One instance of the source series, as stored; patient and study are copied from it.
    pub source: Encoded<'a>,
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
    /// SOPInstanceUID of the object.
    pub sop_instance_uid: &'a str,
    /// SeriesInstanceUID of the object.
    pub series_instance_uid: &'a str,
    /// SeriesNumber of the object.
    pub series_number: u32,
    /// Revision of the report that the object belongs to; also its InstanceNumber.
    pub revision: u32,
    /// When the revision was issued.
    pub created: Millis,
    /// The model.
    pub algorithm: Algorithm<'a>,
    /// The installation.
    pub equipment: Equipment<'a>,
}

/// A written object.
#[derive(Clone, Debug)]
pub struct SegObject {
    /// The Part-10 file.
    pub bytes: Vec<u8>,
    /// What of the source could not be copied as it was; names attributes, never their values.
    pub notes: Vec<String>,
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
    /// A UID that PS3.5 9.1 forbids.
    #[error("{what} {uid:?} is not a valid UID (at most 64 characters, digits and dots)")]
    Uid {
        /// Which.
        what: &'static str,
        /// Its value.
        uid: String,
    },
    /// The source's bytes cannot be read.
    #[error("the source instance cannot be read: {0}")]
    Source(String),
    /// The encoder failed.
    #[error("the segmentation cannot be encoded: {0}")]
    Encoding(String),
}

/// Writes the segmentation.
pub fn encode(input: &SegInput<'_>) -> Result<SegObject, SegError> {
    verify(input)?;
    let mut notes = Vec::new();
    let inherited = patient::inherit(input.source, &mut notes)?;
    let frames = frames::Frames::new(input.labels, input.lesions)?;

    let mut object = InMemDicomObject::from_element_iter(inherited.elements);
    put_instance(&mut object, input, inherited.offset_minutes);
    put_image(&mut object, input, frames.frames.len());
    object.put(groups::referenced_series(&inherited.series_uid, input.frames));
    for element in groups::dimensions(input.sop_instance_uid) {
        object.put(element);
    }
    let charset = inherited.charset.as_str();
    let segments = segments::segments(input.lesions, input.findings, &input.algorithm, charset, &mut notes);
    object.put(sequence(tags::SEGMENT_SEQUENCE, segments));
    object.put(groups::shared(input.grid)?);
    object.put(groups::per_frame(input.grid, input.frames, &frames.frames)?);
    Ok(SegObject { bytes: part_10(object, input.sop_instance_uid, &frames.bits)?, notes })
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
    let own = [
        ("FrameOfReferenceUID", input.frame_of_reference_uid),
        ("SOPInstanceUID", input.sop_instance_uid),
        ("SeriesInstanceUID", input.series_instance_uid),
    ];
    for (what, uid) in own.into_iter().chain(sources.chain(tracking).map(|(what, uid)| (what, uid.as_str()))) {
        if !is_valid_uid(uid) {
            return Err(SegError::Uid { what, uid: uid.to_owned() });
        }
    }
    Ok(())
}

/// Series, equipment, content and SOP common.
fn put_instance(object: &mut InMemDicomObject, input: &SegInput<'_>, offset_minutes: i64) {
    let (date, time) = date_time(input.created, offset_minutes);
    let description = format!("Lesions, revision {}; {}", input.revision, RESEARCH_USE.to_lowercase());
    for (tag, vr, value) in [
        (tags::INSTANCE_CREATION_DATE, VR::DA, date.clone()),
        (tags::INSTANCE_CREATION_TIME, VR::TM, time.clone()),
        (tags::SOP_CLASS_UID, VR::UI, uids::SEGMENTATION_STORAGE.to_owned()),
        (tags::SOP_INSTANCE_UID, VR::UI, input.sop_instance_uid.to_owned()),
        (tags::SERIES_DATE, VR::DA, date.clone()),
        (tags::CONTENT_DATE, VR::DA, date),
        (tags::SERIES_TIME, VR::TM, time.clone()),
        (tags::CONTENT_TIME, VR::TM, time),
        (tags::MODALITY, VR::CS, "SEG".to_owned()),
        (tags::MANUFACTURER, VR::LO, "Sulcus".to_owned()),
        (tags::SERIES_DESCRIPTION, VR::LO, format!("Sulcus lesions; {}", RESEARCH_USE.to_lowercase())),
        (tags::MANUFACTURER_MODEL_NAME, VR::LO, "Sulcus".to_owned()),
        (tags::DEVICE_SERIAL_NUMBER, VR::LO, text::ascii(input.equipment.serial_number, 64)),
        (tags::SOFTWARE_VERSIONS, VR::LO, text::ascii(input.equipment.software_version, 64)),
        (tags::SERIES_INSTANCE_UID, VR::UI, input.series_instance_uid.to_owned()),
        (tags::SERIES_NUMBER, VR::IS, input.series_number.min(i32::MAX as u32).to_string()),
        (tags::INSTANCE_NUMBER, VR::IS, input.revision.min(i32::MAX as u32).to_string()),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, input.frame_of_reference_uid.to_owned()),
        (tags::IMAGE_COMMENTS, VR::LT, RESEARCH_USE.to_owned()),
        (tags::CONTENT_LABEL, VR::CS, "LESIONS".to_owned()),
        (tags::CONTENT_DESCRIPTION, VR::LO, description),
        (tags::CONTENT_CREATOR_NAME, VR::PN, "Sulcus^".to_owned()),
    ] {
        object.put(text_element(tag, vr, value));
    }
}

/// Image pixel and segmentation image (PS3.3 C.8.20.2).
fn put_image(object: &mut InMemDicomObject, input: &SegInput<'_>, frames: usize) {
    let [columns, rows, _] = input.grid.size.map(|extent| u16::try_from(extent).unwrap_or(u16::MAX));
    let image_type = ["DERIVED", "PRIMARY"].map(str::to_owned);
    object.put(DataElement::new(
        tags::IMAGE_TYPE,
        VR::CS,
        dicom_core::PrimitiveValue::Strs(image_type.as_slice().into()),
    ));
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

/// The file. The pixel data come last in it and are appended to the data set as they are.
fn part_10(object: InMemDicomObject, sop_instance_uid: &str, bits: &[u8]) -> Result<Vec<u8>, SegError> {
    let mut bytes = Vec::new();
    object
        .write_dataset_with_ts(&mut bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased())
        .map_err(|error| SegError::Encoding(error.to_string()))?;
    let length = u32::try_from(bits.len()).map_err(|error| SegError::Encoding(error.to_string()))?;
    bytes.reserve_exact(bits.len() + 12);
    bytes.extend_from_slice(b"\xE0\x7F\x10\x00OB\0\0");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(bits);
    Ok(part10::wrap(uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::SEGMENTATION_STORAGE, sop_instance_uid, &bytes))
}
