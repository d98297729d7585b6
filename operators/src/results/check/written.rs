//! The written segmentation, read back from its bytes: frames, references, planes, masks.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{Mismatch, source::Source};
use crate::{
    header, part10,
    prescan::{Limits, prescan},
    volume::Encoded,
};

/// How far a plane may lie from that of its source, mm.
const POSITION_TOLERANCE_MM: f64 = 1e-3;
/// How far a direction cosine may be from that of its source.
const COSINE_TOLERANCE: f64 = 1e-4;

/// One frame as the file describes it.
pub(super) struct WrittenFrame {
    /// From 0.
    pub(super) segment: usize,
    /// SOPInstanceUID of its source.
    pub(super) source_uid: String,
    /// From 1.
    pub(super) source_frame: u32,
    position: [f64; 3],
}

/// The file, read back.
pub(super) struct Written {
    rows: usize,
    columns: usize,
    /// Tracking UID of each segment, where it has one.
    pub(super) tracking: Vec<Option<String>>,
    orientation: Vec<f64>,
    spacing: Vec<f64>,
    study_uid: String,
    frame_of_reference_uid: String,
    /// In stored order.
    pub(super) frames: Vec<WrittenFrame>,
    bits: Vec<u8>,
}

impl Written {
    /// Reads a Part-10 file.
    pub(super) fn read(file: &[u8]) -> Result<Self, Mismatch> {
        let unreadable = |error: &dyn std::fmt::Display| Mismatch::File(error.to_string());
        let parts = part10::split(file).map_err(|error| unreadable(&error))?;
        let encoded = Encoded { transfer_syntax: &parts.transfer_syntax, data_set: parts.data_set };
        let object = header::read(encoded).map_err(|error| unreadable(&error))?;
        let scan = prescan(encoded, &Limits::default()).map_err(|error| unreadable(&error))?;
        let bits = scan.find(tags::PIXEL_DATA).map(|element| scan.value(element).to_vec()).unwrap_or_default();
        let shared = first(&object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)?;
        let frames = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)?
            .iter()
            .map(WrittenFrame::read)
            .collect::<Result<Vec<_>, _>>()?;
        let seg = Self {
            rows: integer(&object, tags::ROWS)?,
            columns: integer(&object, tags::COLUMNS)?,
            tracking: items(&object, tags::SEGMENT_SEQUENCE)?
                .iter()
                .map(|segment| text(segment, tags::TRACKING_UID).ok())
                .collect(),
            orientation: numbers(first(shared, tags::PLANE_ORIENTATION_SEQUENCE)?, tags::IMAGE_ORIENTATION_PATIENT)?,
            spacing: numbers(first(shared, tags::PIXEL_MEASURES_SEQUENCE)?, tags::PIXEL_SPACING)?,
            study_uid: text(&object, tags::STUDY_INSTANCE_UID)?,
            frame_of_reference_uid: text(&object, tags::FRAME_OF_REFERENCE_UID)?,
            frames,
            bits,
        };
        if integer(&object, tags::NUMBER_OF_FRAMES)? != seg.frames.len() {
            return Err(Mismatch::File("its number of frames is not that of its functional groups".into()));
        }
        Ok(seg)
    }

    /// The mask of a frame, counted from 1, by rows.
    pub(super) fn mask(&self, number: usize) -> Result<Vec<bool>, Mismatch> {
        let size = self.rows * self.columns;
        let bits = (number - 1) * size..number * size;
        bits.map(|bit| self.bits.get(bit / 8).map(|byte| (byte >> (bit % 8)) & 1 == 1))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Mismatch::File("its pixel data are too short".into()))
    }

    /// Compares where a frame says that it lies with where its source lies; the distance in mm.
    pub(super) fn compare_plane(
        &self,
        number: usize,
        frame: &WrittenFrame,
        source: &Source<'_>,
    ) -> Result<f64, Mismatch> {
        let differs = |what| Err(Mismatch::Plane { frame: number, what });
        if self.study_uid != source.study_uid {
            return differs("study");
        }
        if self.frame_of_reference_uid != source.frame_of_reference_uid {
            return differs("frame of reference");
        }
        let Some(plane) = source.frame(frame.source_frame) else { return differs("the number of frames") };
        let (Some(position), Some(orientation), Some(spacing)) = (plane.position, plane.orientation, plane.spacing)
        else {
            return differs("that the source has no geometry");
        };
        if !close(&self.orientation, &orientation, COSINE_TOLERANCE) {
            return differs("orientation");
        }
        if !close(&self.spacing, &spacing, POSITION_TOLERANCE_MM) {
            return differs("pixel spacing");
        }
        let distance_mm = position.iter().zip(frame.position).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        if distance_mm.is_nan() || distance_mm > POSITION_TOLERANCE_MM {
            return Err(Mismatch::Position { frame: number, distance_mm });
        }
        Ok(distance_mm)
    }
}

impl WrittenFrame {
    fn read(item: &InMemDicomObject) -> Result<Self, Mismatch> {
        let image = first(first(item, tags::DERIVATION_IMAGE_SEQUENCE)?, tags::SOURCE_IMAGE_SEQUENCE)?;
        let source_frame = match image.get(tags::REFERENCED_FRAME_NUMBER) {
            Some(element) => element.to_int::<u32>().map_err(|error| Mismatch::File(error.to_string()))?,
            None => 1,
        };
        let segment = integer(first(item, tags::SEGMENT_IDENTIFICATION_SEQUENCE)?, tags::REFERENCED_SEGMENT_NUMBER)?;
        let position = numbers(first(item, tags::PLANE_POSITION_SEQUENCE)?, tags::IMAGE_POSITION_PATIENT)?;
        Ok(Self {
            segment: segment.checked_sub(1).ok_or_else(|| Mismatch::File("a frame names segment 0".into()))?,
            source_uid: text(image, tags::REFERENCED_SOP_INSTANCE_UID)?,
            source_frame,
            position: position.try_into().map_err(|_| Mismatch::File("a position without three numbers".into()))?,
        })
    }
}

fn close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
}

fn missing(tag: Tag) -> Mismatch {
    Mismatch::File(format!("{tag} is missing or empty"))
}

fn items(object: &InMemDicomObject, tag: Tag) -> Result<&[InMemDicomObject], Mismatch> {
    object.get(tag).and_then(|element| element.items()).ok_or_else(|| missing(tag))
}

fn first(object: &InMemDicomObject, tag: Tag) -> Result<&InMemDicomObject, Mismatch> {
    items(object, tag)?.first().ok_or_else(|| missing(tag))
}

fn text(object: &InMemDicomObject, tag: Tag) -> Result<String, Mismatch> {
    let value = object.get(tag).and_then(|element| element.to_str().ok()).ok_or_else(|| missing(tag))?;
    Ok(value.trim_matches([' ', '\0']).to_owned())
}

fn integer(object: &InMemDicomObject, tag: Tag) -> Result<usize, Mismatch> {
    object.get(tag).and_then(|element| element.to_int().ok()).ok_or_else(|| missing(tag))
}

fn numbers(object: &InMemDicomObject, tag: Tag) -> Result<Vec<f64>, Mismatch> {
    object.get(tag).and_then(|element| element.to_multi_float64().ok()).ok_or_else(|| missing(tag))
}
