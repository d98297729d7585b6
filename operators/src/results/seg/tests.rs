//! Segmentations that must come out right, and those that must be refused.

#![allow(clippy::unwrap_used)]
use dicom_core::Tag;
use dicom_object::{FileDicomObject, from_reader};
use ndarray::Array3;
use proptest::prelude::*;

use super::*;
use crate::{
    results::{dicom::ObjectError, fixture::Sample},
    rows::LesionVerdict,
    volume::Encoded,
};

/// The only object of a segmentation.
pub(super) fn encode(input: &SegInput<'_>) -> Result<Object, SegError> {
    let mut written = super::encode(input)?;
    assert_eq!(written.parts.len(), 1);
    Ok(written.parts.remove(0))
}

pub(super) fn read(object: &Object) -> FileDicomObject<InMemDicomObject> {
    from_reader(object.bytes.as_slice()).unwrap()
}

pub(super) fn ints(object: &InMemDicomObject, tag: Tag) -> Vec<u32> {
    object.element(tag).unwrap().to_multi_int().unwrap()
}

pub(super) fn items(object: &InMemDicomObject, tag: Tag) -> &[InMemDicomObject] {
    object.element(tag).unwrap().items().unwrap()
}

#[test]
fn a_written_segmentation_reads_back_with_its_own_frames_and_bits() {
    // 7 x 5 voxels a frame: frames begin inside a byte.
    let sample = Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2]), ([4, 3, 4], [2, 2, 2])]);
    let written = encode(&sample.input()).unwrap();
    assert_eq!(written.notes, Vec::<String>::new());
    let object = read(&written);
    assert_eq!(ints(&object, tags::NUMBER_OF_FRAMES), [4]);
    let per_frame = items(&object, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let indices: Vec<_> = per_frame
        .iter()
        .map(|frame| ints(&items(frame, tags::FRAME_CONTENT_SEQUENCE)[0], tags::DIMENSION_INDEX_VALUES))
        .collect();
    assert_eq!(indices, [[1, 1], [1, 2], [2, 3], [2, 4]]);
    let sources: Vec<_> = per_frame
        .iter()
        .map(|frame| {
            let derivation = &items(frame, tags::DERIVATION_IMAGE_SEQUENCE)[0];
            let image = &items(derivation, tags::SOURCE_IMAGE_SEQUENCE)[0];
            image.element(tags::REFERENCED_SOP_INSTANCE_UID).unwrap().to_str().unwrap().into_owned()
        })
        .collect();
    assert_eq!(sources, ["1.2.3.4.2", "1.2.3.4.3", "1.2.3.4.5", "1.2.3.4.6"]);

    let bits = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().into_owned();
    assert_eq!(bits.len(), 18);
    for (number, (segment, slice)) in [(1, 1), (1, 2), (2, 4), (2, 5)].into_iter().enumerate() {
        for (voxel, label) in sample.labels.index_axis(ndarray::Axis(0), slice).iter().enumerate() {
            let bit = number * 35 + voxel;
            assert_eq!((bits[bit / 8] >> (bit % 8)) & 1 == 1, *label == segment, "frame {number} voxel {voxel}");
        }
    }
}

#[test]
fn a_relabelled_lesion_goes_by_its_readers_words() {
    let sample = Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2]), ([4, 3, 4], [2, 2, 2]), ([0, 0, 0], [1, 1, 1])]);
    let finding = |label: usize, verdict| Finding {
        tracking_uid: sample.lesions[label - 1].tracking_uid.clone(),
        verdict,
        reader: "A. Reader".into(),
        comment: "seen on FLAIR".into(),
    };
    let findings = [
        finding(1, LesionVerdict::Relabelled("l\u{e9}sion".into())),
        finding(2, LesionVerdict::Accepted),
        finding(3, LesionVerdict::Relabelled("\u{75c5}\u{5909}".into())),
    ];
    let written = encode(&SegInput { findings: &findings, ..sample.input() }).unwrap();
    assert_eq!(written.notes.len(), 1, "{:?}", written.notes);
    assert!(written.notes[0].contains("Lesion 3") && !written.notes[0].contains('\u{75c5}'), "{:?}", written.notes);
    let object = read(&written);
    let text = |tag| {
        let of = |item: &InMemDicomObject| item.element(tag).unwrap().to_str().unwrap().trim_end().to_owned();
        items(&object, tags::SEGMENT_SEQUENCE).iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(text(tags::SEGMENT_LABEL), ["l\u{e9}sion", "Lesion 2", "__"]);
    assert_eq!(text(tags::TRACKING_ID), ["Lesion 1", "Lesion 2", "Lesion 3"]);
    let bytes = written.bytes.windows(6).any(|window| window == b"Reader");
    assert!(!bytes, "no reader is named in the object");
}

#[test]
fn that_readers_rejected_everything_is_said_where_no_lesion_is_left() {
    let sample = Sample::new([4, 4, 2], &[]);
    let said = |findings: &[Finding]| {
        let object = read(&encode(&SegInput { findings, ..sample.input() }).unwrap());
        let segments = items(&object, tags::SEGMENT_SEQUENCE);
        assert_eq!((segments.len(), ints(&object, tags::NUMBER_OF_FRAMES)), (1, vec![2]));
        segments[0].element(tags::SEGMENT_LABEL).unwrap().to_str().unwrap().trim_end().to_owned()
    };
    let (tracking_uid, verdict) = ("2.25.101".to_owned(), LesionVerdict::Rejected);
    let rejected = Finding { tracking_uid, verdict, reader: "A. Reader".into(), comment: String::new() };
    assert_eq!((said(&[]).as_str(), said(&[rejected]).as_str()), ("No lesion found", "No lesion left"));
}

#[test]
fn names_are_carried_as_stored() {
    let sample = Sample::new([4, 4, 2], &[]);
    let written = encode(&sample.input()).unwrap();
    assert!(written.bytes.windows(8).any(|window| window == b"M\xfcller^A"));
    assert_eq!(read(&written).element(tags::PATIENT_NAME).unwrap().to_str().unwrap(), "M\u{fc}ller^A");
}

#[test]
fn no_lesion_is_one_described_segment_with_every_frame_zero() {
    let sample = Sample::new([5, 3, 4], &[]);
    let object = read(&encode(&sample.input()).unwrap());
    assert_eq!(ints(&object, tags::NUMBER_OF_FRAMES), [4]);
    let segments = items(&object, tags::SEGMENT_SEQUENCE);
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].element(tags::SEGMENT_LABEL).unwrap().to_str().unwrap(), "No lesion found");
    assert!(object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn the_bytes_of_one_segment_a_lesion_are_frozen() {
    let sample = Sample::new([7, 5, 6], &[([1, 1, 1], [3, 2, 2]), ([4, 3, 4], [2, 2, 2])]);
    let none = Sample::new([7, 5, 6], &[]);
    let digest = |sample: &Sample| crate::digest::Digest::of(&encode(&sample.input()).unwrap().bytes).to_string();
    assert_eq!(digest(&sample), "69eb28058fabdf3aa7cc30666ff9ea35c7a4755bdae44882e6e28e2921093cba");
    assert_eq!(digest(&none), "a02cfffec3adb70ad86c53d63705136bde5a75843d7fb7084defc9dbf2d28821");
}

#[test]
fn equal_input_gives_equal_bytes() {
    let sample = Sample::new([5, 3, 4], &[([0, 0, 0], [2, 2, 2])]);
    assert_eq!(encode(&sample.input()).unwrap().bytes, encode(&sample.input()).unwrap().bytes);
}

#[test]
fn what_cannot_be_a_valid_object_is_refused() {
    let sample = Sample::new([5, 3, 4], &[([0, 0, 0], [2, 2, 2])]);
    let good = sample.input();
    let refused = |input: SegInput<'_>| encode(&input).map(|_| ()).unwrap_err();
    let other = Array3::zeros([4, 3, 6]);
    let empty = Array3::zeros([4, 3, 5]);
    let mut two = sample.lesions.clone();
    two.push(LesionRow { label: 2, ..two[0].clone() });
    let long = "1.".repeat(32) + "1";
    let flat = Grid { affine: [[0.0; 4]; 4], ..sample.grid.clone() };
    let cut = Encoded { data_set: &good.header.source.data_set[..40], ..good.header.source };
    assert!(matches!(refused(SegInput { labels: other.view(), ..good }), SegError::Shape { .. }));
    assert_eq!(refused(SegInput { frames: &sample.frames[1..], ..good }), SegError::Frames { slices: 4, frames: 3 });
    assert_eq!(refused(SegInput { lesions: &[], ..good }), SegError::UnknownLabel { label: 1, slice: 0 });
    assert_eq!(
        refused(SegInput { labels: empty.view(), ..good }),
        SegError::Voxels { label: 1, expected: 8, found: 0 }
    );
    assert!(matches!(refused(SegInput { lesions: &two, ..good }), SegError::Voxels { label: 2, .. }));
    assert_eq!(refused(SegInput { frame_of_reference_uid: "", ..good }), SegError::NoFrameOfReference);
    assert!(matches!(
        refused(SegInput { header: Header { sop_instance_uid: &long, ..good.header }, ..good }),
        SegError::Object(ObjectError::Uid { .. })
    ));
    assert!(matches!(refused(SegInput { grid: &flat, ..good }), SegError::Grid(_)));
    assert!(matches!(
        refused(SegInput { header: Header { source: cut, ..good.header }, ..good }),
        SegError::Object(ObjectError::Source(_))
    ));
}

proptest! {
    #[test]
    fn every_voxel_of_every_matrix_is_packed_where_it_belongs(
        (slices, rows, columns) in (1usize..5, 1usize..12, 1usize..12),
        seed in proptest::collection::vec(0u16..4, 0..600),
    ) {
        let labels = Array3::from_shape_fn((slices, rows, columns), |(s, r, c)| {
            seed.get((s * rows + r) * columns + c).copied().unwrap_or(0)
        });
        let template = Sample::new([2, 2, 1], &[([0, 0, 0], [1, 1, 1])]).lesions.remove(0);
        let lesions: Vec<_> = (1..4u32)
            .map(|label| (label, labels.iter().filter(|l| u32::from(**l) == label).count() as u64))
            .filter(|(_, voxels)| *voxels > 0)
            .map(|(label, voxels)| LesionRow { label, voxels, ..template.clone() })
            .collect();
        let sample = Sample::new([2, 2, 1], &[]);
        let input = SegInput { labels: labels.view(), lesions: &lesions, ..sample.input() };
        let layout = Layout::new(&input, &Limits::DICOM).unwrap();
        let [part] = &layout.parts[..] else { panic!("{:?}", layout.parts) };
        let bits = samples::samples(&input, &layout, part).unwrap();
        let mut set = 0;
        for (number, frame) in part.frames.iter().enumerate() {
            let label = lesions.get(usize::from(frame.segment.unwrap()) - 1).map_or(0, |l| l.label);
            let mut any = false;
            for (voxel, found) in labels.index_axis(ndarray::Axis(0), frame.slice).iter().enumerate() {
                let bit = number * rows * columns + voxel;
                let on = (bits[bit / 8] >> (bit % 8)) & 1 == 1;
                prop_assert_eq!(on, label != 0 && u32::from(*found) == label);
                any |= on;
                set += u64::from(on);
            }
            prop_assert!(any || lesions.is_empty(), "an empty frame");
        }
        prop_assert_eq!(set, labels.iter().filter(|l| **l != 0).count() as u64);
        prop_assert_eq!(bits.len(), (part.frames.len() * rows * columns).div_ceil(16) * 2);
    }
}
