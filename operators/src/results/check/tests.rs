//! Planted errors are caught, right files pass.
#![allow(clippy::unwrap_used)]

use ndarray::{Array3, Axis, Slice};

use super::*;
use crate::{
    results::{
        dicom::Object,
        fixture::Sample,
        judged::without_rejected,
        seg::{SegError, SegInput, SegKind},
    },
    rows::LesionVerdict,
    volume::Grid,
};

const BOXES: [([usize; 3], [usize; 3]); 2] = [([1, 1, 1], [3, 2, 2]), ([4, 3, 4], [2, 2, 2])];

fn sample() -> Sample {
    Sample::new([7, 5, 7], &BOXES)
}

/// The only object of a segmentation.
fn encode(input: &SegInput<'_>) -> Result<Object, SegError> {
    crate::results::seg::encode(input).map(|mut written| written.parts.remove(0))
}

/// Writes `input` and checks the file against what `truth` measured.
fn checked(input: &SegInput<'_>, truth: &Sample) -> Result<Checked, Mismatch> {
    against(&encode(input).unwrap().bytes, truth, truth.labels.view())
}

fn against(file: &[u8], truth: &Sample, labels: ArrayView3<'_, u16>) -> Result<Checked, Mismatch> {
    let source = |uid: &str| truth.source(uid);
    let (frames, lesions) = (truth.frames.as_slice(), truth.lesions.as_slice());
    check(&[file], &Expected { kind: SegKind::Lesions, source: &source, frames, labels, lesions, findings: &[] })
}

/// What is checked where a reader rejected these lesions.
fn after_rejection(file: &[u8], truth: &Sample, rejected: &[&LesionRow]) -> Result<Checked, Mismatch> {
    let source = |uid: &str| truth.source(uid);
    let findings = rejections(rejected);
    let (labels, lesions, frames) = (truth.labels.view(), &truth.lesions, truth.frames.as_slice());
    let (kind, findings) = (SegKind::Lesions, findings.as_slice());
    check(&[file], &Expected { kind, source: &source, frames, labels, lesions, findings })
}

fn rejections(rejected: &[&LesionRow]) -> Vec<Finding> {
    let finding = |lesion: &&LesionRow| Finding {
        tracking_uid: lesion.tracking_uid.clone(),
        verdict: LesionVerdict::Rejected,
        reader: "A. Reader".into(),
        comment: String::new(),
    };
    rejected.iter().map(finding).collect()
}

#[test]
fn a_rejected_lesion_must_be_out_and_every_other_in() {
    let sample = sample();
    let [first, second] = &sample.lesions[..] else { panic!("{:?}", sample.lesions) };
    let whole = encode(&sample.input()).unwrap().bytes;
    let without = |rejected: &[&LesionRow]| {
        let findings = rejections(rejected);
        let (lesions, labels) = without_rejected(&findings, &sample.lesions, sample.labels.clone());
        let input = SegInput { labels: labels.view(), lesions: &lesions, findings: &findings, ..sample.input() };
        encode(&input).unwrap().bytes
    };
    let checked = after_rejection(&without(&[first]), &sample, &[first]).unwrap();
    assert_eq!((checked.frames, checked.voxels), (2, second.voxels));
    let none = after_rejection(&without(&[first, second]), &sample, &[first, second]).unwrap();
    assert_eq!((none.frames, none.voxels), (7, 0), "as for no lesion");
    for (file, rejected) in [
        (&whole, &[first][..]),
        (&whole, &[first, second]),
        (&without(&[first]), &[]),
        (&without(&[first]), &[second]),
        (&without(&[first, second]), &[first]),
    ] {
        assert!(after_rejection(file, &sample, rejected).is_err(), "{rejected:?}");
    }
}

fn flipped(labels: &Array3<u16>, axis: usize) -> Array3<u16> {
    labels.slice_axis(Axis(axis), Slice::new(0, None, -1)).to_owned()
}

#[test]
fn a_right_file_passes_within_half_a_unit() {
    let sample = sample();
    let checked = checked(&sample.input(), &sample).unwrap();
    assert_eq!((checked.frames, checked.voxels), (4, 20));
    assert!(checked.position_error_mm < 1e-5 && checked.mean_error_milli <= 0.5, "{checked:?}");
}

#[test]
fn an_empty_result_passes_and_a_lesion_hidden_in_it_does_not() {
    let empty = Sample::new([7, 5, 3], &[]);
    assert_eq!(checked(&empty.input(), &empty).unwrap().voxels, 0);
    let found = Sample::new([7, 5, 3], &[([1, 1, 1], [2, 2, 1])]);
    let file = encode(&found.input()).unwrap().bytes;
    assert!(against(&file, &empty, empty.labels.view()).is_err());
}

#[test]
fn a_mask_that_was_flipped_is_caught_even_where_the_label_map_was_flipped_with_it() {
    let sample = sample();
    for axis in 0..3 {
        let labels = flipped(&sample.labels, axis);
        let file = encode(&SegInput { labels: labels.view(), ..sample.input() }).unwrap().bytes;
        assert!(matches!(against(&file, &sample, sample.labels.view()), Err(Mismatch::Mask { .. })), "axis {axis}");
        // Here the label map that the check is given is wrong too: only the raw pixels can tell.
        assert!(matches!(against(&file, &sample, labels.view()), Err(Mismatch::Mean { .. })), "axis {axis}");
    }
}

#[test]
fn a_shift_by_one_slice_is_caught() {
    let sample = sample();
    let mut labels = Array3::zeros(sample.labels.raw_dim());
    labels.slice_axis_mut(Axis(0), Slice::from(1..)).assign(&sample.labels.slice_axis(Axis(0), Slice::from(..-1)));
    let file = encode(&SegInput { labels: labels.view(), ..sample.input() }).unwrap().bytes;
    assert!(matches!(against(&file, &sample, sample.labels.view()), Err(Mismatch::Mask { .. })));
    assert!(matches!(against(&file, &sample, labels.view()), Err(Mismatch::Mean { .. })));
}

#[test]
fn references_that_were_swapped_are_caught() {
    let sample = sample();
    let mut frames = sample.frames.clone();
    frames.swap(1, 2);
    let error = checked(&SegInput { frames: &frames, ..sample.input() }, &sample).unwrap_err();
    assert!(matches!(error, Mismatch::Position { frame: 1, .. }), "{error}");
    // All references by one, as when frames are counted from 0.
    frames = sample.frames.clone();
    frames.rotate_left(1);
    let error = checked(&SegInput { frames: &frames, ..sample.input() }, &sample).unwrap_err();
    assert!(matches!(error, Mismatch::Position { .. }), "{error}");
}

#[test]
fn a_grid_that_is_not_the_sources_is_caught() {
    let sample = sample();
    let changed = |change: fn(&mut [[f64; 4]; 4])| {
        let mut affine = sample.grid.affine;
        change(&mut affine);
        let grid = Grid { affine, ..sample.grid.clone() };
        checked(&SegInput { grid: &grid, ..sample.input() }, &sample).unwrap_err()
    };
    // Half a millimetre off; RAS for LPS; rows and columns exchanged; a wrong spacing.
    assert!(matches!(changed(|a| a[0][3] += 0.5), Mismatch::Position { .. }));
    assert!(matches!(
        changed(|a| a[..2].iter_mut().flatten().for_each(|value| *value = -*value)),
        Mismatch::Plane { what: "orientation", .. }
    ));
    assert!(matches!(
        changed(|a| a.iter_mut().for_each(|row| row.swap(0, 1))),
        Mismatch::Plane { what: "orientation", .. }
    ));
    assert!(matches!(changed(|a| a[2][1] *= 1.01), Mismatch::Plane { what: "pixel spacing", .. }));
}

#[test]
fn another_patients_space_is_caught() {
    let sample = sample();
    let error = checked(&SegInput { frame_of_reference_uid: "1.2.3.6", ..sample.input() }, &sample).unwrap_err();
    assert_eq!(error, Mismatch::Plane { frame: 1, what: "frame of reference" });
}

#[test]
fn bits_that_changed_after_writing_are_caught() {
    let sample = sample();
    let mut file = encode(&sample.input()).unwrap().bytes;
    let at = file.len() - 10;
    file[at] ^= 4;
    assert!(matches!(against(&file, &sample, sample.labels.view()), Err(Mismatch::Mask { voxels: 1, .. })));
}

#[test]
fn a_source_that_is_gone_or_a_cut_file_is_an_error() {
    let mut sample = sample();
    let file = encode(&sample.input()).unwrap().bytes;
    for cut in [0, 100, 200, 700, file.len() / 2, file.len() - 8] {
        assert!(against(&file[..cut], &sample, sample.labels.view()).is_err(), "cut at {cut}");
    }
    sample.instances.remove(1);
    let error = against(&file, &sample, sample.labels.view()).unwrap_err();
    assert!(matches!(error, Mismatch::Source { .. }), "{error}");
}
