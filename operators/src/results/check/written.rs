//! The written segmentation, read back from its bytes: frames, references, planes, stored values.

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::{Mismatch, source::Source};
use crate::{
    header, part10,
    prescan::{EXPLICIT_LE, Limits, prescan},
    results::seg::SegKind,
    volume::Encoded,
};

/// How far a plane may lie from that of its source, mm.
const POSITION_TOLERANCE_MM: f64 = 1e-3;
/// How far a direction cosine may be from that of its source.
const COSINE_TOLERANCE: f64 = 1e-4;

/// One frame as the file describes it.
pub(super) struct WrittenFrame {
    /// From 1; none in a label map.
    pub(super) segment: Option<u16>,
    /// SOPInstanceUID of its source.
    pub(super) source_uid: String,
    /// From 1.
    pub(super) source_frame: u32,
    position: [f64; 3],
}

/// The file, read back.
pub(super) struct Written<'a> {
    rows: usize,
    columns: usize,
    bits_allocated: usize,
    /// SOPInstanceUID.
    pub(super) sop_instance_uid: String,
    /// SeriesInstanceUID.
    pub(super) series_uid: String,
    /// Segment Number of each segment.
    pub(super) numbers: Vec<u16>,
    /// Tracking UID of each segment, where it has one.
    pub(super) tracking: Vec<Option<String>>,
    orientation: Vec<f64>,
    spacing: Vec<f64>,
    study_uid: String,
    frame_of_reference_uid: String,
    /// In stored order.
    pub(super) frames: Vec<WrittenFrame>,
    pixel_data: &'a [u8],
}

impl<'a> Written<'a> {
    /// Reads a Part-10 file that must be of this kind.
    pub(super) fn read(file: &'a [u8], kind: SegKind<'_>) -> Result<Self, Mismatch> {
        let unreadable = |error: &dyn std::fmt::Display| Mismatch::File(error.to_string());
        let parts = part10::split(file).map_err(|error| unreadable(&error))?;
        if parts.transfer_syntax != EXPLICIT_LE {
            return Err(Mismatch::File("its transfer syntax is not Explicit VR Little Endian".into()));
        }
        let encoded = Encoded { transfer_syntax: &parts.transfer_syntax, data_set: parts.data_set };
        // Of our own making, with as many frames as lesions need.
        let limits = Limits { elements: usize::MAX, ..Limits::default() };
        let object = header::read_within(encoded, &limits).map_err(|error| unreadable(&error))?;
        let scan = prescan(encoded, &limits).map_err(|error| unreadable(&error))?;
        let pixel_data = scan.find(tags::PIXEL_DATA).and_then(|e| parts.data_set.get(e.value..e.end));
        let shared = first(&object, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE)?;
        let frames = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)?
            .iter()
            .map(|item| WrittenFrame::read(item, kind))
            .collect::<Result<Vec<_>, _>>()?;
        let segments = items(&object, tags::SEGMENT_SEQUENCE)?;
        let seg = Self {
            rows: integer(&object, tags::ROWS)?,
            columns: integer(&object, tags::COLUMNS)?,
            bits_allocated: integer(&object, tags::BITS_ALLOCATED)?,
            sop_instance_uid: text(&object, tags::SOP_INSTANCE_UID)?,
            series_uid: text(&object, tags::SERIES_INSTANCE_UID)?,
            numbers: segments
                .iter()
                .map(|segment| u16::try_from(integer(segment, tags::SEGMENT_NUMBER)?).map_err(|e| unreadable(&e)))
                .collect::<Result<_, _>>()?,
            tracking: segments.iter().map(|segment| text(segment, tags::TRACKING_UID).ok()).collect(),
            orientation: numbers(first(shared, tags::PLANE_ORIENTATION_SEQUENCE)?, tags::IMAGE_ORIENTATION_PATIENT)?,
            spacing: numbers(first(shared, tags::PIXEL_MEASURES_SEQUENCE)?, tags::PIXEL_SPACING)?,
            study_uid: text(&object, tags::STUDY_INSTANCE_UID)?,
            frame_of_reference_uid: text(&object, tags::FRAME_OF_REFERENCE_UID)?,
            frames,
            pixel_data: pixel_data.unwrap_or_default(),
        };
        if integer(&object, tags::NUMBER_OF_FRAMES)? != seg.frames.len() {
            return Err(Mismatch::File("its number of frames is not that of its functional groups".into()));
        }
        seg.compare_kind(&object, kind)?;
        Ok(seg)
    }

    fn compare_kind(&self, object: &InMemDicomObject, kind: SegKind<'_>) -> Result<(), Mismatch> {
        let class = text(object, tags::SOP_CLASS_UID)?;
        let stored = text(object, tags::SEGMENTATION_TYPE)?;
        let right = match (kind, self.bits_allocated) {
            (SegKind::Lesions | SegKind::AllAsOne, 1) => stored == "BINARY" && class == uids::SEGMENTATION_STORAGE,
            (SegKind::Probability(_), 8) => {
                stored == "FRACTIONAL"
                    && class == uids::SEGMENTATION_STORAGE
                    && text(object, tags::SEGMENTATION_FRACTIONAL_TYPE)? == "PROBABILITY"
                    && integer(object, tags::MAXIMUM_FRACTIONAL_VALUE)? == 255
            }
            (SegKind::LabelMap, 8 | 16) => stored == "LABELMAP" && class == uids::LABEL_MAP_SEGMENTATION_STORAGE,
            _ => false,
        };
        if right { Ok(()) } else { Err(Mismatch::File("it is a segmentation of another kind".into())) }
    }

    /// The stored values of a frame, counted from 1, by rows; of a mask, 0 or 1.
    pub(super) fn stored(&self, number: usize) -> Result<Vec<u16>, Mismatch> {
        let size = self.rows * self.columns;
        let first = number.saturating_sub(1) * size;
        let bytes = |width: usize| self.pixel_data.get(first * width..(first + size) * width);
        let stored: Option<Vec<u16>> = match self.bits_allocated {
            1 => (first..first + size)
                .map(|bit| self.pixel_data.get(bit / 8).map(|byte| u16::from((byte >> (bit % 8)) & 1)))
                .collect(),
            8 => bytes(1).map(|bytes| bytes.iter().copied().map(u16::from).collect()),
            _ => bytes(2).map(|bytes| bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()),
        };
        stored.ok_or_else(|| Mismatch::File("its pixel data are too short".into()))
    }

    /// Compares where a frame says that it lies with where its source lies; the distance in mm.
    pub(super) fn compare_plane(
        &self,
        number: usize,
        frame: &WrittenFrame,
        source: &Source<'_>,
    ) -> Result<f64, Mismatch> {
        if frame.segment.is_some_and(|segment| !self.numbers.contains(&segment)) {
            return Err(Mismatch::File(format!("frame {number} names a segment that is not there")));
        }
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
    fn read(item: &InMemDicomObject, kind: SegKind<'_>) -> Result<Self, Mismatch> {
        let image = first(first(item, tags::DERIVATION_IMAGE_SEQUENCE)?, tags::SOURCE_IMAGE_SEQUENCE)?;
        let source_frame = match image.get(tags::REFERENCED_FRAME_NUMBER) {
            Some(element) => element.to_int::<u32>().map_err(|error| Mismatch::File(error.to_string()))?,
            None => 1,
        };
        let segment = match kind {
            SegKind::LabelMap => None,
            _ => {
                let group = first(item, tags::SEGMENT_IDENTIFICATION_SEQUENCE)?;
                let number = integer(group, tags::REFERENCED_SEGMENT_NUMBER)?;
                let number = u16::try_from(number).ok().filter(|number| *number > 0);
                Some(
                    number
                        .ok_or_else(|| Mismatch::File(format!("{} is no segment", tags::REFERENCED_SEGMENT_NUMBER)))?,
                )
            }
        };
        let position = numbers(first(item, tags::PLANE_POSITION_SEQUENCE)?, tags::IMAGE_POSITION_PATIENT)?;
        Ok(Self {
            segment,
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
