//! Dimensions, functional groups and references (PS3.3 C.7.6.16, C.7.6.17, C.12.1.1.15).

use std::collections::BTreeSet;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::{SegError, parts::Frame};
use crate::{
    results::{
        dicom::{
            codes::{SEGMENTATION, SOURCE_IMAGE},
            elements::{Element, coded, decimals, sequence, short, single, text},
        },
        uid::dimension_organization_uid,
    },
    volume::{FrameRef, Grid},
};

/// Dimension Organization and Index: by segment where frames are of one, then by position.
pub(super) fn dimensions(sop_instance_uid: &str, by_segment: bool) -> [Element; 2] {
    let uid = dimension_organization_uid(sop_instance_uid);
    let index = |pointer: Tag, group: Tag, label: &str| {
        InMemDicomObject::from_element_iter([
            text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, uid.clone()),
            DataElement::new(tags::DIMENSION_INDEX_POINTER, VR::AT, PrimitiveValue::from(pointer)),
            DataElement::new(tags::FUNCTIONAL_GROUP_POINTER, VR::AT, PrimitiveValue::from(group)),
            text(tags::DIMENSION_DESCRIPTION_LABEL, VR::LO, label),
        ])
    };
    let segment = index(tags::REFERENCED_SEGMENT_NUMBER, tags::SEGMENT_IDENTIFICATION_SEQUENCE, "Segment Number");
    let position = index(tags::IMAGE_POSITION_PATIENT, tags::PLANE_POSITION_SEQUENCE, "Image Position (Patient)");
    let indices = if by_segment { vec![segment, position] } else { vec![position] };
    [
        single(tags::DIMENSION_ORGANIZATION_SEQUENCE, [text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, uid.clone())]),
        sequence(tags::DIMENSION_INDEX_SEQUENCE, indices),
    ]
}

/// Shared functional groups: orientation and spacing of the grid.
pub(super) fn shared(grid: &Grid) -> Result<Element, SegError> {
    let spacing = grid.spacing();
    if spacing.iter().any(|mm| !mm.is_finite() || *mm < 1e-3) {
        return Err(SegError::Grid(format!("voxel spacing of {spacing:?} mm")));
    }
    let along = |axis: usize| -> [f64; 3] { std::array::from_fn(|row| grid.affine[row][axis] / spacing[axis]) };
    let (columns, rows, slices) = (along(0), along(1), along(2));
    let dot = |a: &[f64; 3], b: &[f64; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    if dot(&columns, &rows).abs() > 1e-4 {
        return Err(SegError::Grid("rows and columns that are not at right angles".into()));
    }
    if dot(&columns, &slices).abs() > 0.999 || dot(&rows, &slices).abs() > 0.999 {
        return Err(SegError::Grid("slices that lie within their own plane".into()));
    }
    let cosines: Vec<f64> = columns.into_iter().chain(rows).collect();
    Ok(single(
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        [
            single(tags::PLANE_ORIENTATION_SEQUENCE, [decimals(tags::IMAGE_ORIENTATION_PATIENT, &cosines)]),
            single(
                tags::PIXEL_MEASURES_SEQUENCE,
                [
                    decimals(tags::SLICE_THICKNESS, &[spacing[2]]),
                    decimals(tags::SPACING_BETWEEN_SLICES, &[spacing[2]]),
                    // Between rows, then between columns.
                    decimals(tags::PIXEL_SPACING, &[spacing[1], spacing[0]]),
                ],
            ),
        ],
    ))
}

/// Per-frame functional groups: derivation, content, position and, where the frame is of one, segment.
pub(super) fn per_frame(grid: &Grid, sources: &[FrameRef], frames: &[Frame]) -> Result<Element, SegError> {
    // Dimension index values count the positions that are there, without gaps.
    let present: BTreeSet<usize> = frames.iter().map(|frame| frame.slice).collect();
    let mut rank = vec![0u32; sources.len()];
    for (number, &slice) in (1..).zip(&present) {
        if let Some(place) = rank.get_mut(slice) {
            *place = number;
        }
    }
    let mut items = Vec::with_capacity(frames.len());
    for frame in frames {
        let (Some(source), Some(&rank)) = (sources.get(frame.slice), rank.get(frame.slice)) else {
            return Err(SegError::Frames { slices: frame.slice + 1, frames: sources.len() });
        };
        let index = PrimitiveValue::U32(frame.segment.map(u32::from).into_iter().chain([rank]).collect());
        let mut item = InMemDicomObject::from_element_iter([
            derivation(source),
            single(tags::FRAME_CONTENT_SEQUENCE, [DataElement::new(tags::DIMENSION_INDEX_VALUES, VR::UL, index)]),
            single(
                tags::PLANE_POSITION_SEQUENCE,
                [decimals(tags::IMAGE_POSITION_PATIENT, &grid.point([0.0, 0.0, frame.slice as f64]))],
            ),
        ]);
        if let Some(segment) = frame.segment {
            let number = short(tags::REFERENCED_SEGMENT_NUMBER, segment);
            item.put(single(tags::SEGMENT_IDENTIFICATION_SEQUENCE, [number]));
        }
        items.push(item);
    }
    Ok(sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, items))
}

fn derivation(source: &FrameRef) -> Element {
    let mut image = InMemDicomObject::from_element_iter([
        text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, source.sop_class_uid.as_str()),
        text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, source.sop_instance_uid.as_str()),
        text(tags::SPATIAL_LOCATIONS_PRESERVED, VR::CS, "YES"),
        coded(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, SOURCE_IMAGE),
    ]);
    if let Some(frame) = source.frame {
        image.put(text(tags::REFERENCED_FRAME_NUMBER, VR::IS, frame.to_string()));
    }
    single(
        tags::DERIVATION_IMAGE_SEQUENCE,
        [sequence(tags::SOURCE_IMAGE_SEQUENCE, vec![image]), coded(tags::DERIVATION_CODE_SEQUENCE, SEGMENTATION)],
    )
}

/// Common Instance Reference: every source instance of the volume, once.
pub(super) fn referenced_series(series_uid: &str, sources: &[FrameRef]) -> Element {
    let instances: BTreeSet<(&str, &str)> =
        sources.iter().map(|s| (s.sop_instance_uid.as_str(), s.sop_class_uid.as_str())).collect();
    let items = instances
        .into_iter()
        .map(|(instance, class)| {
            InMemDicomObject::from_element_iter([
                text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, class),
                text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance),
            ])
        })
        .collect();
    single(
        tags::REFERENCED_SERIES_SEQUENCE,
        [sequence(tags::REFERENCED_INSTANCE_SEQUENCE, items), text(tags::SERIES_INSTANCE_UID, VR::UI, series_uid)],
    )
}
