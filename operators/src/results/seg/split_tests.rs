//! Kinds of segmentation, and segmentations in several objects.

#![allow(clippy::unwrap_used)]
use dicom_object::FileDicomObject;
use ndarray::Array3;

use super::tests::{encode, ints, items, read};
use super::*;
use crate::results::fixture::Sample;

const BOXES: [([usize; 3], [usize; 3]); 3] = [([1, 1, 1], [3, 2, 2]), ([4, 3, 4], [2, 2, 2]), ([0, 0, 0], [1, 1, 3])];

fn text(object: &InMemDicomObject, tag: dicom_core::Tag) -> String {
    object.element(tag).unwrap().to_str().unwrap().trim_end().to_owned()
}

fn pixel_data(object: &InMemDicomObject) -> Vec<u8> {
    object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned()
}

/// A probability for each voxel: high in lesions, different everywhere.
fn probability(sample: &Sample) -> Array3<f32> {
    Array3::from_shape_fn(sample.labels.raw_dim(), |(s, r, c)| {
        let within = f32::from(u8::from(sample.labels[[s, r, c]] > 0));
        0.55 * within + ((s * 31 + r * 7 + c * 3) % 97) as f32 / 250.0
    })
}

#[test]
fn all_lesions_as_one_segment_have_every_slice() {
    let sample = Sample::new([7, 5, 7], &BOXES);
    let object = read(&encode(&SegInput { kind: SegKind::AllAsOne, ..sample.input() }).unwrap());
    assert_eq!(ints(&object, tags::NUMBER_OF_FRAMES), [7]);
    let segments = items(&object, tags::SEGMENT_SEQUENCE);
    assert_eq!((segments.len(), text(&segments[0], tags::SEGMENT_LABEL)), (1, "All lesions".into()));
    assert_eq!(text(&segments[0], tags::SEGMENT_DESCRIPTION), "3 lesions, 15.939 mm3");
    let bits = pixel_data(&object);
    for (voxel, label) in sample.labels.iter().enumerate() {
        assert_eq!((bits[voxel / 8] >> (voxel % 8)) & 1 == 1, *label > 0, "voxel {voxel}");
    }
}

#[test]
fn a_probability_map_is_written_to_the_nearest_step_of_255() {
    let sample = Sample::new([7, 5, 3], &BOXES[2..]);
    let map = probability(&sample);
    let steps = map.mapv(|p| (p * 255.0).round() as u8);
    let kind = SegKind::Probability(Probability::Unit(map.view()));
    let written = encode(&SegInput { kind, ..sample.input() }).unwrap();
    let object = read(&written);
    assert_eq!(text(&object, tags::SEGMENTATION_TYPE), "FRACTIONAL");
    assert_eq!(text(&object, tags::SEGMENTATION_FRACTIONAL_TYPE), "PROBABILITY");
    assert_eq!(ints(&object, tags::MAXIMUM_FRACTIONAL_VALUE), [255]);
    assert_eq!((ints(&object, tags::NUMBER_OF_FRAMES), ints(&object, tags::BITS_ALLOCATED)), (vec![3], vec![8]));
    let stored = pixel_data(&object);
    // 105 voxels and a byte that makes the length even.
    assert_eq!((stored.len(), stored[..105].to_vec()), (106, steps.iter().copied().collect::<Vec<_>>()));
    let kind = SegKind::Probability(Probability::Steps(steps.view()));
    assert_eq!(encode(&SegInput { kind, ..sample.input() }).unwrap().bytes, written.bytes);
    let turned = steps.view().reversed_axes().as_standard_layout().into_owned();
    let kind = SegKind::Probability(Probability::Steps(turned.view().reversed_axes()));
    assert_eq!(encode(&SegInput { kind, ..sample.input() }).unwrap().bytes, written.bytes, "whatever its layout");
}

#[test]
fn what_is_no_probability_is_refused() {
    let sample = Sample::new([7, 5, 3], &BOXES[2..]);
    for wrong in [f32::NAN, 1.5, -0.5, f32::INFINITY] {
        let mut map = probability(&sample);
        map[[2, 3, 4]] = wrong;
        let kind = SegKind::Probability(Probability::Unit(map.view()));
        let error = encode(&SegInput { kind, ..sample.input() }).unwrap_err();
        assert_eq!(error, SegError::NoProbability { slice: 2 });
    }
    let other = Array3::zeros([3, 7, 5]);
    let kind = SegKind::Probability(Probability::Steps(other.view()));
    let error = encode(&SegInput { kind, ..sample.input() }).unwrap_err();
    assert_eq!(error, SegError::ProbabilityShape { map: [5, 7, 3], grid: [7, 5, 3] });
}

#[test]
fn a_label_map_holds_segment_numbers_and_describes_its_background() {
    let mut sample = Sample::new([7, 5, 7], &BOXES);
    // The second lesion is gone; the third becomes segment 2.
    sample.labels.mapv_inplace(|label| if label == 2 { 0 } else { label });
    sample.lesions.remove(1);
    let object = read(&encode(&SegInput { kind: SegKind::LabelMap, ..sample.input() }).unwrap());
    assert_eq!(text(&object, tags::SOP_CLASS_UID), uids::LABEL_MAP_SEGMENTATION_STORAGE);
    assert_eq!((ints(&object, tags::PIXEL_PADDING_VALUE), ints(&object, tags::BITS_ALLOCATED)), (vec![0], vec![8]));
    let segments = items(&object, tags::SEGMENT_SEQUENCE);
    let described: Vec<_> =
        segments.iter().map(|s| (ints(s, tags::SEGMENT_NUMBER)[0], text(s, tags::SEGMENT_LABEL))).collect();
    assert_eq!(described, [(0, "Background".into()), (1, "Lesion 1".into()), (2, "Lesion 3".into())]);
    let expected: Vec<u8> = sample.labels.iter().map(|label| [0, 1, 9, 2][usize::from(*label)]).collect();
    assert_eq!(pixel_data(&object)[..245], expected);
    let frame = &items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE)[3];
    assert!(frame.element(tags::SEGMENT_IDENTIFICATION_SEQUENCE).is_err());
    assert_eq!(ints(&items(frame, tags::FRAME_CONTENT_SEQUENCE)[0], tags::DIMENSION_INDEX_VALUES), [4]);
}

#[test]
fn a_label_map_of_more_than_255_lesions_has_16_bits() {
    let voxels: Vec<_> = (0..300).map(|at| ([at % 20, at / 20, 0], [1; 3])).collect();
    let sample = Sample::new([20, 15, 1], &voxels);
    let object = read(&encode(&SegInput { kind: SegKind::LabelMap, ..sample.input() }).unwrap());
    assert_eq!((ints(&object, tags::BITS_STORED), ints(&object, tags::HIGH_BIT)), (vec![16], vec![15]));
    let samples = object.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
    assert_eq!(samples, (1..=300).collect::<Vec<u16>>());
}

#[test]
fn no_lesion_is_one_described_segment_of_zeros_in_every_kind() {
    let sample = Sample::new([5, 3, 4], &[]);
    let zeros = Array3::<f32>::zeros(sample.labels.raw_dim());
    for (kind, label) in [
        (SegKind::AllAsOne, "No lesion found"),
        (SegKind::Probability(Probability::Unit(zeros.view())), "Lesion probability"),
        (SegKind::LabelMap, "No lesion found"),
    ] {
        let object = read(&encode(&SegInput { kind, ..sample.input() }).unwrap());
        let segments = items(&object, tags::SEGMENT_SEQUENCE);
        let described =
            segments.iter().filter(|s| ints(s, tags::SEGMENT_NUMBER) != [0]).map(|s| text(s, tags::SEGMENT_LABEL));
        assert_eq!(described.collect::<Vec<_>>(), [label]);
        assert_eq!(ints(&object, tags::NUMBER_OF_FRAMES), [4]);
        assert!(pixel_data(&object).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn parts_are_segmentations_by_themselves_and_tell_which_they_are() {
    let sample = Sample::new([7, 5, 7], &BOXES);
    for kind in [SegKind::Lesions, SegKind::LabelMap] {
        let input = SegInput { kind, ..sample.input() };
        let written = encode_within(&input, &Limits { segments: 2, ..Limits::DICOM }).unwrap();
        let place = |part, segment| Place { part, segment };
        assert_eq!(written.places, [place(1, 1), place(1, 2), place(2, 1)]);
        let parts: Vec<_> = written.parts.iter().map(read).collect();
        let all = |tag| parts.iter().map(|part| text(part, tag)).collect::<Vec<_>>();
        assert_eq!(all(tags::SOP_INSTANCE_UID), ["2.25.11".to_owned(), part_uid("2.25.11", 2)]);
        assert_eq!(all(tags::SERIES_INSTANCE_UID), ["2.25.12", "2.25.12"]);
        assert_eq!(all(tags::INSTANCE_NUMBER), ["3", "4"], "two for each revision");
        let said = |part| format!("Lesions, revision 2, part {part} of 2; research use only");
        assert_eq!(all(tags::CONTENT_DESCRIPTION), [said(1), said(2)]);
        assert!(parts.iter().all(|part| part.element(tags::CONCATENATION_UID).is_err()));
        let ids = |part: &FileDicomObject<InMemDicomObject>| {
            let of = |s: &InMemDicomObject| Some(s.element(tags::TRACKING_ID).ok()?.to_str().ok()?.trim().to_owned());
            items(part, tags::SEGMENT_SEQUENCE).iter().filter_map(of).collect::<Vec<_>>()
        };
        let labels: Vec<_> = parts.iter().map(ids).collect();
        assert_eq!(labels, [vec!["Lesion 1", "Lesion 2"], vec!["Lesion 3"]]);
    }
}

#[test]
fn a_part_is_full_when_its_pixel_data_are_and_a_segment_is_never_cut() {
    let sample = Sample::new([7, 5, 7], &BOXES);
    // Segments of 2, 2 and 3 frames of 35 bits: 10, 10 and 14 bytes alone, 18 the first two together.
    let within = |pixel_bytes| encode_within(&sample.input(), &Limits { segments: 9, pixel_bytes });
    let parts = |pixel_bytes| within(pixel_bytes).unwrap().places.iter().map(|p| p.part).collect::<Vec<_>>();
    assert_eq!(parts(32), [1, 1, 1]);
    assert_eq!(parts(30), [1, 1, 2]);
    assert_eq!(parts(16), [1, 2, 3]);
    assert_eq!(within(12).unwrap_err(), SegError::TooLarge { frames: 3, bytes: 14 });
    for kind in [SegKind::AllAsOne, SegKind::LabelMap] {
        let error = encode_within(&SegInput { kind, ..sample.input() }, &Limits { segments: 9, pixel_bytes: 30 });
        assert!(matches!(error.unwrap_err(), SegError::TooLarge { frames: 7, .. }));
    }
}

#[test]
fn as_many_lesions_as_labels_can_tell_make_two_objects() {
    let row = Sample::new([2, 2, 1], &[([0, 0, 0], [1, 1, 1])]).lesions.remove(0);
    let lesions: Vec<_> = (1..=65_535).map(|label| LesionRow { label, ..row.clone() }).collect();
    let labels = Array3::from_shape_fn([1, 256, 256], |(_, r, c)| u16::try_from(r * 256 + c).unwrap());
    let sample = Sample::new([256, 256, 1], &[]);
    for kind in [SegKind::Lesions, SegKind::LabelMap] {
        let input = SegInput { kind, labels: labels.view(), lesions: &lesions, ..sample.input() };
        let places = places(&input).unwrap();
        assert_eq!((places[65_533].part, places[65_533].segment), (1, 65_534));
        assert_eq!((places[65_534].part, places[65_534].segment), (2, 1));
    }
    let too_many: Vec<_> = (1..=65_536).map(|label| LesionRow { label, ..row.clone() }).collect();
    let input = SegInput { labels: labels.view(), lesions: &too_many, ..sample.input() };
    assert_eq!(places(&input).unwrap_err(), SegError::LabelOrder(65_536));
}
