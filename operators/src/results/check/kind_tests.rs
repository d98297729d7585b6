//! Planted errors are caught in every kind of segmentation, and in every part.
#![allow(clippy::unwrap_used)]

use ndarray::{Array3, Slice};

use super::*;
use crate::results::{
    dicom::Header,
    fixture::Sample,
    seg::{Limits, SegInput, encode, encode_within},
};

/// Two lesions of equal size and one of another.
const BOXES: [([usize; 3], [usize; 3]); 3] = [([1, 1, 1], [2, 2, 2]), ([4, 2, 4], [2, 2, 2]), ([0, 0, 3], [1, 1, 2])];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Name {
    Lesions,
    AllAsOne,
    Probability,
    LabelMap,
}
use Name::{AllAsOne, LabelMap, Lesions as EachLesion, Probability as Chance};

const KINDS: [Name; 4] = [EachLesion, AllAsOne, Chance, LabelMap];

/// A series, its maps, and rows measured on them.
struct Truth {
    sample: Sample,
    map: Array3<f32>,
}

fn truth() -> Truth {
    let mut sample = Sample::new([7, 5, 7], &BOXES);
    let map = Array3::from_shape_fn(sample.labels.raw_dim(), |(s, r, c)| {
        let within = if sample.labels[[s, r, c]] > 0 { 0.5 } else { 0.0 };
        within + ((s * 59 + r * 17 + c * 41) % 101) as f32 / 203.0
    });
    for row in &mut sample.lesions {
        let labels = sample.labels.iter().zip(&map);
        let under: Vec<f32> = labels.filter(|(l, _)| u32::from(**l) == row.label).map(|(_, p)| *p).collect();
        row.probability_permille = (1000.0 * under.iter().sum::<f32>() / under.len() as f32).round() as u32;
        row.peak_probability_permille = (1000.0 * under.iter().copied().fold(0.0, f32::max)).round() as u32;
    }
    Truth { sample, map }
}

fn kind(name: Name, map: &Array3<f32>) -> SegKind<'_> {
    match name {
        EachLesion => SegKind::Lesions,
        AllAsOne => SegKind::AllAsOne,
        Chance => SegKind::Probability(Probability::Unit(map.view())),
        LabelMap => SegKind::LabelMap,
    }
}

impl Truth {
    /// Files of one kind, with the maps that are given, in as many parts as two segments each make.
    fn files(&self, name: Name, labels: &Array3<u16>, map: &Array3<f32>) -> Vec<Vec<u8>> {
        let input = SegInput { kind: kind(name, map), labels: labels.view(), ..self.sample.input() };
        let limits = Limits { segments: 2, ..Limits::DICOM };
        encode_within(&input, &limits).unwrap().parts.into_iter().map(|part| part.bytes).collect()
    }

    /// Checks files against these maps and the rows.
    fn check(
        &self,
        name: Name,
        files: &[Vec<u8>],
        labels: &Array3<u16>,
        map: &Array3<f32>,
    ) -> Result<Checked, Mismatch> {
        let source = |uid: &str| self.sample.source(uid);
        let (frames, lesions) = (self.sample.frames.as_slice(), self.sample.lesions.as_slice());
        let (kind, labels) = (kind(name, map), labels.view());
        check(files, &Expected { kind, source: &source, frames, labels, lesions, findings: &[] })
    }

    /// What is said of files that were made of changed maps: against the right maps, then against the changed ones.
    fn caught(&self, name: Name, labels: &Array3<u16>, map: &Array3<f32>) -> [Mismatch; 2] {
        let files = self.files(name, labels, map);
        let against = |labels, map| self.check(name, &files, labels, map).unwrap_err();
        [against(&self.sample.labels, &self.map), against(labels, map)]
    }
}

fn moved<T: Clone + Default>(map: &Array3<T>, axis: usize) -> Array3<T> {
    let mut moved = Array3::from_elem(map.raw_dim(), T::default());
    moved.slice_axis_mut(Axis(axis), Slice::from(1..)).assign(&map.slice_axis(Axis(axis), Slice::from(..-1)));
    moved
}

fn flipped<T: Clone>(map: &Array3<T>, axis: usize) -> Array3<T> {
    map.slice_axis(Axis(axis), Slice::new(0, None, -1)).to_owned()
}

#[test]
fn right_files_pass() {
    let truth = truth();
    for name in KINDS {
        let files = truth.files(name, &truth.sample.labels, &truth.map);
        let parts = if matches!(name, EachLesion | LabelMap) { 2 } else { 1 };
        assert_eq!(files.len(), parts, "{name:?}");
        let checked = truth.check(name, &files, &truth.sample.labels, &truth.map).unwrap();
        assert!(checked.mean_error_milli <= 0.5, "{name:?} {checked:?}");
        let voxels = truth.map.iter().filter(|p| (**p * 255.0).round() > 0.0).count() as u64;
        assert_eq!(checked.voxels, if name == Chance { voxels } else { 18 }, "{name:?}");
    }
}

#[test]
fn flips_are_caught_in_every_kind_even_where_the_maps_were_flipped_with_them() {
    let truth = truth();
    for name in KINDS {
        for axis in 0..3 {
            let caught = truth.caught(name, &flipped(&truth.sample.labels, axis), &flipped(&truth.map, axis));
            assert!(matches!(caught, [Mismatch::Mask { .. }, Mismatch::Mean { .. }]), "{name:?} {axis} {caught:?}");
        }
    }
}

#[test]
fn shifts_by_a_voxel_or_a_slice_are_caught_in_every_kind() {
    let truth = truth();
    for name in KINDS {
        for axis in 0..3 {
            let caught = truth.caught(name, &moved(&truth.sample.labels, axis), &moved(&truth.map, axis));
            assert!(matches!(caught, [Mismatch::Mask { .. }, Mismatch::Mean { .. }]), "{name:?} {axis} {caught:?}");
        }
    }
}

#[test]
fn a_probability_map_that_lies_elsewhere_than_the_labels_is_caught() {
    let truth = truth();
    let labels = &truth.sample.labels;
    for axis in 0..3 {
        for map in [flipped(&truth.map, axis), moved(&truth.map, axis)] {
            let files = truth.files(Chance, labels, &map);
            let error = truth.check(Chance, &files, labels, &map).unwrap_err();
            assert!(matches!(error, Mismatch::Probability { .. }), "{axis} {error}");
        }
    }
}

#[test]
fn labels_that_changed_places_are_caught_in_every_kind() {
    let truth = truth();
    let permuted = truth.sample.labels.mapv(|label| [0, 2, 1, 3][usize::from(label)]);
    for name in KINDS {
        let files = truth.files(name, &permuted, &truth.map);
        let right = truth.check(name, &files, &truth.sample.labels, &truth.map);
        match name {
            EachLesion | LabelMap => assert!(matches!(right, Err(Mismatch::Mask { .. })), "{name:?} {right:?}"),
            // One segment of all says the same whatever the lesions are called.
            AllAsOne | Chance => assert!(right.is_ok(), "{name:?} {right:?}"),
        }
        let error = truth.check(name, &files, &permuted, &truth.map).unwrap_err();
        assert!(matches!(error, Mismatch::Mean { .. }), "{name:?} {error}");
    }
}

#[test]
fn references_that_were_swapped_are_caught_in_every_kind() {
    let truth = truth();
    let mut swapped = truth.sample.frames.clone();
    swapped.swap(1, 2);
    let mut turned = truth.sample.frames.clone();
    turned.rotate_left(1);
    for name in KINDS {
        for frames in [&swapped, &turned] {
            let input = SegInput { kind: kind(name, &truth.map), frames, ..truth.sample.input() };
            let files: Vec<_> = encode(&input).unwrap().parts.into_iter().map(|part| part.bytes).collect();
            let error = truth.check(name, &files, &truth.sample.labels, &truth.map).unwrap_err();
            assert!(matches!(error, Mismatch::Position { .. }), "{name:?} {error}");
        }
    }
}

#[test]
fn bits_that_changed_after_writing_are_caught_in_every_kind_and_part() {
    let truth = truth();
    for name in KINDS {
        let right = truth.files(name, &truth.sample.labels, &truth.map);
        for part in 0..right.len() {
            let mut files = right.clone();
            // Within the last frame, before what makes the length even.
            let at = files[part].len() - 6;
            files[part][at] ^= 1;
            let error = truth.check(name, &files, &truth.sample.labels, &truth.map).unwrap_err();
            assert!(matches!(error, Mismatch::Mask { voxels: 1, .. }), "{name:?} {part} {error}");
        }
    }
}

#[test]
fn parts_that_are_missing_doubled_or_out_of_order_are_caught() {
    let truth = truth();
    for name in [EachLesion, LabelMap] {
        let files = truth.files(name, &truth.sample.labels, &truth.map);
        let [first, second] = &files[..] else { panic!("{} parts", files.len()) };
        for wrong in [vec![first], vec![second], vec![second, first], vec![first, first], vec![]] {
            let wrong: Vec<Vec<u8>> = wrong.into_iter().cloned().collect();
            let error = truth.check(name, &wrong, &truth.sample.labels, &truth.map).unwrap_err();
            assert!(matches!(error, Mismatch::File(_)), "{name:?} {error}");
        }
        let header = Header { series_instance_uid: "2.25.13", ..truth.sample.header() };
        let input = SegInput { header, kind: kind(name, &truth.map), ..truth.sample.input() };
        let other = encode_within(&input, &Limits { segments: 2, ..Limits::DICOM }).unwrap();
        let mixed = [first.clone(), other.parts[1].bytes.clone()];
        let error = truth.check(name, &mixed, &truth.sample.labels, &truth.map).unwrap_err();
        assert_eq!(error, Mismatch::File("its parts are of two series".into()));
    }
}

#[test]
fn another_kind_than_was_asked_for_is_caught() {
    let truth = truth();
    for written in KINDS {
        let files = truth.files(written, &truth.sample.labels, &truth.map);
        for asked in KINDS.into_iter().filter(|asked| *asked != written) {
            let error = truth.check(asked, &files, &truth.sample.labels, &truth.map).unwrap_err();
            assert!(matches!(error, Mismatch::File(_)), "{written:?} for {asked:?}: {error}");
        }
    }
}

#[test]
fn no_lesion_passes_in_every_kind_and_a_hidden_one_does_not() {
    let sample = Sample::new([7, 5, 3], &[]);
    let mut nothing = Truth { map: Array3::zeros(sample.labels.raw_dim()), sample };
    let found = Sample::new([7, 5, 3], &[([1, 1, 1], [2, 2, 1])]);
    for name in KINDS {
        let files = nothing.files(name, &nothing.sample.labels, &nothing.map);
        assert_eq!(nothing.check(name, &files, &nothing.sample.labels, &nothing.map).unwrap().voxels, 0, "{name:?}");
        let map = found.labels.mapv(f32::from);
        let lesions = std::mem::replace(&mut nothing.sample.lesions, found.lesions.clone());
        let hidden = nothing.files(name, &found.labels, &map);
        nothing.sample.lesions = lesions;
        assert!(nothing.check(name, &hidden, &nothing.sample.labels, &nothing.map).is_err(), "{name:?}");
    }
}
