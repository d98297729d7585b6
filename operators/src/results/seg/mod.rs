//! Writes a label map or a probability map as a DICOM Segmentation (PS3.3 A.51): Explicit VR Little Endian, on the
//! grid of its source, in one object or, where one cannot hold it, in several.
//!
//! What cannot be a valid object is an error, never a file. Reading back and checking is `results::check`'s.

#[cfg(test)]
mod bad_input_tests;
mod error;
mod groups;
mod kind;
mod parts;
mod samples;
mod segments;
#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests;

use dicom_core::{DataElement, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::ArrayView3;

use self::parts::{Layout, Part};
pub use self::{
    error::SegError,
    kind::{Probability, SegKind},
    parts::Place,
};
pub(super) use self::{kind::step, parts::Limits};
use super::{
    RESEARCH_USE,
    dicom::{
        Algorithm, Header, Kind, Object, begin, check_uid,
        elements::{sequence, short, text as text_element},
        part_10, patient, strings,
        text::ascii,
    },
    uid::part_uid,
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
    /// What is written.
    pub kind: SegKind<'a>,
    /// The volume's grid.
    pub grid: &'a Grid,
    /// The source of each slice.
    pub frames: &'a [FrameRef],
    /// FrameOfReferenceUID of the volume.
    pub frame_of_reference_uid: &'a str,
    /// Lesion labels, axes (slice, row, column); 0 is background.
    pub labels: ArrayView3<'a, u16>,
    /// The lesions, by ascending label.
    pub lesions: &'a [LesionRow],
    /// What readers said of the run's lesions; those that they rejected are neither in `labels` nor in `lesions`.
    pub findings: &'a [Finding],
    /// The model.
    pub algorithm: Algorithm<'a>,
}

/// A written segmentation.
#[derive(Clone, Debug)]
pub struct Segmentation {
    /// The objects, at least one. The first has the SOPInstanceUID of the header, each other one
    /// [`part_uid`]; all share the series.
    pub parts: Vec<Object>,
    /// Where each lesion is, by its place in the list of lesions.
    pub places: Vec<Place>,
}

/// Writes the segmentation. It is split before an object has 65,535 segments or 2^32 - 2 bytes of pixel data; then
/// each part is a segmentation by itself, of some of the lesions, whose segments are numbered from 1.
///
/// InstanceNumber is the revision; of `n` parts it is `(revision - 1) n + part`, so that parts of one series differ.
///
/// # Errors
/// [`SegError`] where the input cannot be a valid object, and where one segment alone is too large for one.
pub fn encode(input: &SegInput<'_>) -> Result<Segmentation, SegError> {
    encode_within(input, &Limits::DICOM)
}

/// Which object and segment each lesion is in, by its place in the list: what [`encode`] gives, without writing it.
///
/// # Errors
/// As [`encode`], as far as labels and lesions are concerned.
pub fn places(input: &SegInput<'_>) -> Result<Vec<Place>, SegError> {
    Ok(Layout::new(input, &Limits::DICOM)?.places(input.kind))
}

/// [`encode`] with limits of one's own.
pub(super) fn encode_within(input: &SegInput<'_>, limits: &Limits) -> Result<Segmentation, SegError> {
    verify(input)?;
    let layout = Layout::new(input, limits)?;
    let count = u32::try_from(layout.parts.len()).unwrap_or(u32::MAX);
    let parts = (1..=count).zip(&layout.parts).map(|(number, part)| object(input, &layout, part, [number, count]));
    Ok(Segmentation { parts: parts.collect::<Result<_, _>>()?, places: layout.places(input.kind) })
}

/// Writes part `number` of `count`.
fn object(input: &SegInput<'_>, layout: &Layout, part: &Part, [number, count]: [u32; 2]) -> Result<Object, SegError> {
    let mut notes = Vec::new();
    let uid = part_uid(input.header.sop_instance_uid, number);
    let header = Header { sop_instance_uid: &uid, ..input.header };
    let kind = Kind {
        sop_class_uid: match input.kind {
            SegKind::LabelMap => uids::LABEL_MAP_SEGMENTATION_STORAGE,
            _ => uids::SEGMENTATION_STORAGE,
        },
        modality: "SEG",
        series_description: match input.kind {
            SegKind::Probability(_) => "Sulcus lesion probability",
            _ => "Sulcus lesions",
        },
    };
    let (mut object, inherited) = begin(&header, &kind, &mut notes)?;
    let instance = u64::from(header.revision.saturating_sub(1)) * u64::from(count) + u64::from(number);
    if count > 1 {
        let instance = instance.min(i32::MAX as u64).to_string();
        object.put(text_element(tags::INSTANCE_NUMBER, VR::IS, instance));
    }
    for element in patient::inherit_image(input.header.source, &inherited.charset, &mut notes)? {
        object.put(element);
    }
    put_content(&mut object, input, [number, count]);
    put_image(&mut object, input, part);
    object.put(groups::referenced_series(&inherited.series_uid, input.frames));
    let by_segment = !matches!(input.kind, SegKind::LabelMap);
    for element in groups::dimensions(&uid, by_segment) {
        object.put(element);
    }
    let segments = segments::segments(input, part.lesions.clone(), &inherited.charset, &mut notes);
    object.put(sequence(tags::SEGMENT_SEQUENCE, segments));
    object.put(groups::shared(input.grid)?);
    object.put(groups::per_frame(input.grid, input.frames, &part.frames)?);
    let pixel_data = samples::samples(input, layout, part)?;
    Ok(Object { bytes: part_10(&object, Some(&pixel_data))?, notes })
}

fn verify(input: &SegInput<'_>) -> Result<(), SegError> {
    let (slices, rows, columns) = input.labels.dim();
    let labels = [columns, rows, slices];
    let fits = labels.iter().all(|&extent| extent > 0) && columns.max(rows) <= usize::from(u16::MAX);
    if labels != input.grid.size || !fits {
        return Err(SegError::Shape { labels, grid: input.grid.size });
    }
    if let SegKind::Probability(map) = input.kind
        && map.dim() != input.labels.dim()
    {
        let (slices, rows, columns) = map.dim();
        return Err(SegError::ProbabilityShape { map: [columns, rows, slices], grid: input.grid.size });
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
fn put_content(object: &mut InMemDicomObject, input: &SegInput<'_>, [number, count]: [u32; 2]) {
    let (label, what) = match input.kind {
        SegKind::Probability(_) => ("PROBABILITY", "Probability"),
        _ => ("LESIONS", "Lesions"),
    };
    let mut description = format!("{what}, revision {}; {}", input.header.revision, RESEARCH_USE.to_lowercase());
    if count > 1 {
        // 64 characters hold no more.
        description =
            format!("{what}, revision {}, part {number} of {count}; research use only", input.header.revision);
    }
    let description = ascii(&description, 64);
    for (tag, vr, value) in [
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, input.frame_of_reference_uid),
        (tags::IMAGE_COMMENTS, VR::LT, RESEARCH_USE),
        (tags::CONTENT_LABEL, VR::CS, label),
        (tags::CONTENT_DESCRIPTION, VR::LO, &description),
        (tags::CONTENT_CREATOR_NAME, VR::PN, "Sulcus^"),
    ] {
        object.put(text_element(tag, vr, value));
    }
}

/// Image pixel and segmentation image (PS3.3 C.7.6.3, C.8.20.2).
fn put_image(object: &mut InMemDicomObject, input: &SegInput<'_>, part: &Part) {
    let [columns, rows, _] = input.grid.size.map(|extent| u16::try_from(extent).unwrap_or(u16::MAX));
    object.put(DataElement::new(tags::IMAGE_TYPE, VR::CS, strings(&["DERIVED", "PRIMARY"])));
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, part.bits),
        (tags::BITS_STORED, part.bits),
        (tags::HIGH_BIT, part.bits - 1),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(short(tag, value));
    }
    object.put(text_element(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"));
    object.put(text_element(tags::NUMBER_OF_FRAMES, VR::IS, part.frames.len().to_string()));
    let name = match input.kind {
        SegKind::Lesions | SegKind::AllAsOne => "BINARY",
        SegKind::Probability(_) => "FRACTIONAL",
        SegKind::LabelMap => "LABELMAP",
    };
    object.put(text_element(tags::SEGMENTATION_TYPE, VR::CS, name));
    object.put(text_element(tags::SEGMENTS_OVERLAP, VR::CS, "NO"));
    match input.kind {
        SegKind::Probability(_) => {
            object.put(text_element(tags::SEGMENTATION_FRACTIONAL_TYPE, VR::CS, "PROBABILITY"));
            object.put(short(tags::MAXIMUM_FRACTIONAL_VALUE, 255));
        }
        // Marks background.
        SegKind::LabelMap => {
            object.put(short(tags::PIXEL_PADDING_VALUE, 0));
        }
        SegKind::Lesions | SegKind::AllAsOne => {}
    }
}
