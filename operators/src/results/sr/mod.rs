//! Writes a report as a Comprehensive 3D SR (PS3.3 A.35.13): a Measurement Report (PS3.16 TID 1500) with one
//! Volumetric ROI group (TID 1411) a lesion.
//!
//! | part of the document | what stands there |
//! | --- | --- |
//! | Image Library | the source instances |
//! | Imaging Measurements | the lesions that no reader rejected; without lesions it is left out |
//! | Qualitative Evaluations | the result in words, the algorithm, what readers rejected, notes, the permitted use |
//!
//! Uncertainty is the entropy of a lesion's mean foreground probability, under a code of our own, since PS3.16 has
//! none. What is in a report is `results::report`'s; how axes are measured is said in `axes`.

mod axes;
mod codes;
mod lesion;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use ndarray::ArrayView3;
use thiserror::Error;

use self::{axes::Extent, codes::*};
use super::{
    dicom::{
        Header, Kind, Object, ObjectError, Reference, begin, check_reference, check_uid,
        content::{
            Items, Relation, Words, code, coding_scheme, container, context, hierarchy, number, object, root, text,
            with,
        },
        elements::{sequence, text as text_element},
        part_10,
        patient::Inherited,
    },
    report::{Lesion, Report, Run, Status},
};
use crate::{
    domain::ToldDistance,
    volume::{FrameRef, Grid},
};

/// Everything that a structured report says.
#[derive(Clone, Copy, Debug)]
pub struct SrInput<'a> {
    /// Whose object it is, and which; its source is an instance of the series that was run.
    pub header: Header<'a>,
    /// The finished report of the same revision; not a withdrawn one.
    pub report: &'a Report,
    /// The volume's grid.
    pub grid: &'a Grid,
    /// The source of each slice.
    pub frames: &'a [FrameRef],
    /// FrameOfReferenceUID of the volume.
    pub frame_of_reference_uid: &'a str,
    /// Labels of the lesions that no reader rejected, axes (slice, row, column); 0 is background.
    pub labels: ArrayView3<'a, u16>,
    /// The segmentation of the same revision; its segments are the report's lesions in their order, from 1.
    pub segmentation: Reference<'a>,
    /// The structured report that this one supersedes.
    pub supersedes: Option<Reference<'a>>,
}

/// Why no object was written.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SrError {
    /// It says that there is no result.
    #[error("a withdrawn report has no measurements; send a rejection note of what it superseded instead")]
    Withdrawn,
    /// A final report needs its run.
    #[error("a final report has no run; make the report again")]
    NoRun,
    /// Report, source and references are not of one result.
    #[error("{what} is {found} in one place and {expected} in another; make all objects from one revision")]
    Apart {
        /// What differs.
        what: &'static str,
        /// What the other says.
        found: String,
        /// What the report says.
        expected: String,
    },
    /// Label map and volume differ.
    #[error(
        "{what} is of {found:?} voxels (columns, rows, slices) and the volume of {grid:?}; use the label map of this report's run"
    )]
    Shape {
        /// What does not fit.
        what: &'static str,
        /// Its columns, rows, slices.
        found: [usize; 3],
        /// Those of the grid.
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
    /// Nothing can be measured on such a grid.
    #[error("the volume has voxels without extent, or an affine that is not finite; convert the series again")]
    Grid,
    /// A label without a lesion.
    #[error(
        "label {label} on slice {slice} (from 0) belongs to no lesion of the report; use the label map of this report's run"
    )]
    UnknownLabel {
        /// The label.
        label: u16,
        /// The first slice that it is on.
        slice: usize,
    },
    /// A lesion whose voxels are not those of the label map.
    #[error(
        "lesion {label} should have {expected} voxels and the label map has {found}; use the label map of this report's run"
    )]
    Voxels {
        /// The lesion.
        label: u32,
        /// What the report says.
        expected: u64,
        /// What the label map holds.
        found: u64,
    },
    /// A measurement that no number can say.
    #[error("lesion {0} has a measurement that is not finite; measure the label map again")]
    NotFinite(u32),
    /// ReferencedSegmentNumber is 16 bits wide.
    #[error("{0} lesions do not fit into one report; at most 65535 do, so raise the smallest lesion size")]
    TooManyLesions(usize),
    /// A point must say which space it lies in.
    #[error("the source has no FrameOfReferenceUID, so lesions cannot be placed; have the scanner send it")]
    NoFrameOfReference,
    /// What holds for every object.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Writes the structured report.
///
/// # Errors
/// [`SrError`] where it could not be valid, or would contradict the objects that it speaks of.
pub fn encode(input: &SrInput<'_>) -> Result<Object, SrError> {
    let run = match (input.report.status, &input.report.run) {
        (Status::Withdrawn, _) => return Err(SrError::Withdrawn),
        (Status::Final, None) => return Err(SrError::NoRun),
        (Status::Final, Some(run)) => run,
    };
    verify(input, run)?;
    let mut notes = Vec::new();
    let kind = Kind {
        sop_class_uid: uids::COMPREHENSIVE3_DSR_STORAGE,
        modality: "SR",
        series_description: "Sulcus lesion report",
    };
    let (mut document, inherited) = begin(&input.header, &kind, &mut notes)?;
    verify_source(input, run, &inherited)?;
    let extents = measure(input)?;
    for (tag, value) in [(tags::COMPLETION_FLAG, "COMPLETE"), (tags::VERIFICATION_FLAG, "UNVERIFIED")] {
        document.put(text_element(tag, VR::CS, value));
    }
    for tag in [tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, tags::PERFORMED_PROCEDURE_CODE_SEQUENCE] {
        document.put(sequence(tag, Vec::new()));
    }
    document.put(coding_scheme());
    let sources = input.frames.iter().map(|frame| Reference {
        study_instance_uid: &inherited.study_uid,
        series_instance_uid: &inherited.series_uid,
        sop_class_uid: &frame.sop_class_uid,
        sop_instance_uid: &frame.sop_instance_uid,
    });
    let evidence = sources.chain([input.segmentation]);
    document.put(hierarchy(tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, evidence));
    if let Some(superseded) = input.supersedes {
        document.put(hierarchy(tags::PREDECESSOR_DOCUMENTS_SEQUENCE, [superseded]));
    }
    let mut words = Words { charset: &inherited.charset, notes: &mut notes };
    for element in root(REPORT, "1500", content(input, run, &extents, &mut words)) {
        document.put(element);
    }
    Ok(Object { bytes: part_10(&document, None)?, notes })
}

/// What the document holds.
fn content(input: &SrInput<'_>, run: &Run, extents: &BTreeMap<u16, Extent>, words: &mut Words<'_>) -> Items {
    let mut items = context(&input.header.equipment);
    items.push(code(Relation::ConceptMod, PROCEDURE_REPORTED, MRI));
    let sources: BTreeMap<&str, &str> =
        input.frames.iter().map(|frame| (frame.sop_instance_uid.as_str(), frame.sop_class_uid.as_str())).collect();
    let library = sources.into_iter().map(|(instance, class)| object("IMAGE", None, (class, instance), None)).collect();
    items.push(container(IMAGE_LIBRARY, None, vec![container(IMAGE_LIBRARY_GROUP, None, library)]));
    let groups: Items = (1..=u16::MAX)
        .zip(&input.report.lesions)
        .map(|(segment, lesion)| {
            let extent = u16::try_from(lesion.label).ok().and_then(|label| extents.get(&label));
            lesion::group(input, run, (segment, lesion), &extent.copied().unwrap_or_default(), words)
        })
        .collect();
    if !groups.is_empty() {
        items.push(container(IMAGING_MEASUREMENTS, None, groups));
    }
    items.push(container(QUALITATIVE_EVALUATIONS, None, evaluations(input.report, run, words)));
    items
}

/// What is said in words.
fn evaluations(report: &Report, run: &Run, words: &mut Words<'_>) -> Items {
    let mut said =
        |what: &str, name, text_: &str| words.long(what, text_).map(|bytes| text(Relation::Contains, name, bytes));
    let mut items: Items = Vec::new();
    if let Some(result) = said("The result", FINDING, &report.result) {
        let mut of_result = lesion::algorithm(run);
        let volume = number(Relation::Properties, VOLUME, report.lesion_volume_mm3, CUBIC_MILLIMETRE);
        of_result.push(with(volume, vec![code(Relation::ConceptMod, DERIVATION, TOTAL)]));
        of_result.extend(run.domain.as_ref().map(distance));
        items.push(with(result, of_result));
    }
    items.extend(said("The permitted use", PERMITTED_USE, &report.research_use));
    items.extend(said("The scale of intensities", INTENSITY_SCALE, &run.intensity_scale));
    items.extend(report.notes.iter().filter_map(|note| said("A note on the images", NOTE, note)));
    items.extend(report.series_not_used.iter().filter_map(|not_used| {
        let words = format!("{}: {}", not_used.series_instance_uid, not_used.reason);
        said("A reason why a series was not used", NOT_USED, &words)
    }));
    items.extend(report.lesions_rejected.iter().filter_map(|lesion| lesion::rejected(lesion, words)));
    items
}

/// How far the scan is from the training scans, and what that is by comparison with theirs from each other.
fn distance(domain: &ToldDistance) -> InMemDicomObject {
    let said = |name, value| number(Relation::Properties, name, value, NO_UNITS);
    let compared = vec![
        said(FARTHER_THAN, f64::from(domain.farther_than)),
        said(TRAINING_SCANS, f64::from(domain.training_scans)),
    ];
    with(said(DOMAIN_DISTANCE, domain.distance), compared)
}

fn verify(input: &SrInput<'_>, run: &Run) -> Result<(), SrError> {
    let grid = input.grid.size;
    let (slices, rows, columns) = input.labels.dim();
    for (what, found) in
        [("the label map", [columns, rows, slices]), ("the report's run", run.size.map(|extent| extent as usize))]
    {
        if found != grid || found.contains(&0) {
            return Err(SrError::Shape { what, found, grid });
        }
    }
    if input.frames.len() != slices {
        return Err(SrError::Frames { slices, frames: input.frames.len() });
    }
    let finite = input.grid.affine.iter().flatten().all(|value| value.is_finite());
    if !finite || input.grid.spacing().iter().any(|mm| *mm < 1e-3) {
        return Err(SrError::Grid);
    }
    if input.frame_of_reference_uid.is_empty() {
        return Err(SrError::NoFrameOfReference);
    }
    check_uid("FrameOfReferenceUID", input.frame_of_reference_uid)?;
    for frame in input.frames {
        check_uid("SOPClassUID of a source", &frame.sop_class_uid)?;
        check_uid("SOPInstanceUID of a source", &frame.sop_instance_uid)?;
    }
    for reference in [Some(&input.segmentation), input.supersedes.as_ref()].into_iter().flatten() {
        check_reference(reference)?;
    }
    if input.report.lesions.len() > usize::from(u16::MAX) {
        return Err(SrError::TooManyLesions(input.report.lesions.len()));
    }
    let distance = run.domain.as_ref().map_or(0.0, |domain| domain.distance);
    if !(input.report.lesion_volume_mm3 + distance).is_finite() {
        return Err(SrError::NotFinite(0));
    }
    for lesion in input.report.lesions.iter().chain(&input.report.lesions_rejected) {
        check_uid("tracking UID", &lesion.tracking_uid)?;
        if !is_finite(lesion) {
            return Err(SrError::NotFinite(lesion.label));
        }
    }
    Ok(())
}

/// That report, source and segmentation are of one result.
fn verify_source(input: &SrInput<'_>, run: &Run, inherited: &Inherited) -> Result<(), SrError> {
    let study = &input.report.study_instance_uid;
    let mut same = vec![
        ("the study", inherited.study_uid.as_str(), study.as_str()),
        ("the series", inherited.series_uid.as_str(), run.series_instance_uid.as_str()),
        ("the study of the segmentation", input.segmentation.study_instance_uid, study.as_str()),
    ];
    if let Some(segmentation) = &input.report.segmentation_sop_instance_uid {
        same.push(("the segmentation", input.segmentation.sop_instance_uid, segmentation.as_str()));
    }
    if let Some(superseded) = &input.supersedes {
        same.push(("the study of the superseded report", superseded.study_instance_uid, study.as_str()));
    }
    match same.into_iter().find(|(_, found, expected)| found != expected) {
        Some((what, found, expected)) => {
            Err(SrError::Apart { what, found: found.to_owned(), expected: expected.to_owned() })
        }
        None => Ok(()),
    }
}

/// The extents of the lesions, which must be those of the report.
fn measure(input: &SrInput<'_>) -> Result<BTreeMap<u16, Extent>, SrError> {
    let extents = axes::extents(input.labels, input.grid);
    let known = |label: u16| input.report.lesions.iter().any(|lesion| lesion.label == u32::from(label));
    if let Some((&label, extent)) = extents.iter().find(|(label, _)| !known(**label)) {
        return Err(SrError::UnknownLabel { label, slice: extent.slice });
    }
    for lesion in &input.report.lesions {
        let extent = u16::try_from(lesion.label).ok().and_then(|label| extents.get(&label));
        let found = extent.map_or(0, |extent| extent.voxels);
        if found != lesion.voxels || found == 0 {
            return Err(SrError::Voxels { label: lesion.label, expected: lesion.voxels, found });
        }
    }
    Ok(extents)
}

fn is_finite(lesion: &Lesion) -> bool {
    let numbers = [lesion.volume_mm3, lesion.mean_intensity, lesion.mean_probability, lesion.peak_probability];
    numbers.iter().chain(&lesion.centroid_mm).all(|number| number.is_finite())
}
