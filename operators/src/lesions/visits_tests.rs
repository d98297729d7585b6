//! Promises of tracking across visits.
#![allow(clippy::unwrap_used)]

use ndarray::Array3;

use super::super::tracking::affine_nm;
use super::*;
use crate::phantom::{Field, Motion, Phantom, PhantomSpec, Sequence, Visit};
use crate::rows::LesionRow;
use crate::volume::Grid;

fn lesion(run: u32, label: u16) -> LesionRow {
    LesionRow {
        label: u32::from(label),
        tracking_uid: format!("2.25.{run}.{label}"),
        voxels: 1,
        volume_nl: 0,
        centroid_um: [0; 3],
        box_first: [0; 3],
        box_size: [1; 3],
        mean_intensity_milli: 0,
        probability_permille: 0,
        peak_probability_permille: 0,
    }
}

/// Label map and lesions of a run on a grid.
struct Run(Array3<u16>, Grid, Vec<LesionRow>);

impl Run {
    fn new(run: u32, labels: Array3<u16>, grid: &Grid) -> Self {
        let present: BTreeSet<u16> = labels.iter().copied().filter(|label| *label != 0).collect();
        let lesions = present.into_iter().map(|label| lesion(run, label)).collect();
        Run(labels, grid.clone(), lesions)
    }

    fn found(&self) -> Found<'_> {
        Found { labels: self.0.view(), affine_nm: affine_nm(&self.1), lesions: &self.2 }
    }

    /// Which earlier label each lesion is, by its new label.
    fn as_in(&self, earlier: &Run, motion: &Rigid) -> Vec<(u32, u32)> {
        let mut followed = Followed::new();
        follow_moved(&self.found(), &earlier.found(), motion, &mut followed);
        let label = |uid: String| uid.rsplit('.').next().unwrap().parse().unwrap();
        followed.into_iter().map(|(new, uid)| (new, label(uid))).collect()
    }
}

/// Takes a point of the visit's patient space to where it was at the first.
fn way_back(first: &Phantom, motion: &Motion) -> Rigid {
    let middle = first.grid.point(first.grid.size.map(|extent| (extent as f64 - 1.0) / 2.0));
    let middle = [middle[0], middle[1] - 2.0, middle[2] + 6.0];
    let forth = motion.rotation();
    let shift_mm =
        std::array::from_fn(|i| middle[i] + motion.shift_mm[i] - (0..3).map(|j| forth[i][j] * middle[j]).sum::<f64>());
    Rigid { rotation: forth, shift_mm }.inverse()
}

#[test]
fn lesions_persist_grow_go_and_come_across_a_motion_and_a_small_error_of_it() {
    let first = PhantomSpec { lesions: 9..=9, ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 8) };
    let motion = Motion { turn_degrees: [7.0, -5.0, 12.0], shift_mm: [6.0, -9.0, 14.0] };
    let visit = Visit { motion, scan: 4, gone: vec![2, 7], grown: vec![(4, 1.5)], new: 2 };
    let later = PhantomSpec { spacing_mm: [0.9, 1.0, 1.1], size: [210, 170, 160], ..first.clone() };
    let (was, is) = (Phantom::generate(&first).unwrap(), Phantom::revisit(&first, &later, &visit).unwrap());
    let (earlier, new) = (Run::new(1, was.labels.clone(), &was.grid), Run::new(2, is.labels.clone(), &is.grid));
    let kept: Vec<(u32, u32)> = [1, 3, 4, 5, 6, 8, 9].map(|label| (label, label)).to_vec();
    assert_eq!(new.2.iter().map(|lesion| lesion.label).collect::<Vec<_>>(), [1, 3, 4, 5, 6, 8, 9, 10, 11]);
    let exact = way_back(&was, &motion);
    assert_eq!(new.as_in(&earlier, &exact), kept);
    for error in [[0.8, 0.0, 0.0], [0.0, -0.6, 0.6], [-0.5, 0.5, 0.5]] {
        let shift_mm = std::array::from_fn(|i| exact.shift_mm[i] + error[i]);
        assert_eq!(new.as_in(&earlier, &Rigid { shift_mm, ..exact }), kept, "{error:?}");
    }
    let wrong = Rigid { rotation: crate::registration::Rigid::from(&exact.row()).rotation, shift_mm: [0.0, 90.0, 0.0] };
    assert!(new.as_in(&earlier, &wrong).len() < 3, "a wrong motion gives next to nothing");
}

/// Boxes of (first voxel, last voxel), columns, rows, slices, in order of their labels.
fn boxes_of(run: u32, boxes: &[([usize; 3], [usize; 3])]) -> Run {
    let labels = Array3::from_shape_fn([20, 20, 20], |(z, y, x)| {
        let at = [x, y, z];
        let holds = |(first, last): &([usize; 3], [usize; 3])| (0..3).all(|i| (first[i]..=last[i]).contains(&at[i]));
        boxes.iter().position(holds).map_or(0, |number| number as u16 + 1)
    });
    let affine = [[1.0, 0.0, 0.0, -3.0], [0.0, 1.0, 0.0, 8.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]];
    Run::new(run, labels, &Grid { size: [20; 3], affine })
}

fn still() -> Rigid {
    Rigid { rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], shift_mm: [0.0; 3] }
}

#[test]
fn of_a_split_lesion_the_larger_part_keeps_the_identity_and_a_merged_one_that_of_the_larger() {
    let whole = boxes_of(1, &[([2, 2, 2], [9, 4, 4])]);
    let parts = boxes_of(2, &[([2, 2, 2], [4, 4, 4]), ([6, 2, 2], [9, 4, 4])]);
    assert_eq!(parts.as_in(&whole, &still()), [(2, 1)], "the smaller part is new");
    assert_eq!(whole.as_in(&parts, &still()), [(1, 2)], "the merged lesion is the larger one");
}

#[test]
fn a_thin_lesion_that_just_misses_itself_is_the_same_and_one_farther_away_another() {
    let earlier = boxes_of(1, &[([5, 5, 5], [9, 9, 5]), ([5, 5, 12], [9, 9, 12])]);
    let beside = boxes_of(2, &[([5, 5, 6], [9, 9, 6]), ([5, 5, 15], [9, 9, 15])]);
    assert_eq!(beside.as_in(&earlier, &still()), [(1, 1)], "1 mm away is near, 3 mm are not");
    let between = boxes_of(2, &[([5, 5, 7], [9, 9, 7]), ([5, 5, 4], [9, 9, 4])]);
    assert_eq!(between.as_in(&earlier, &still()), [(2, 1)], "the nearer one is it");
    let over = boxes_of(2, &[([5, 5, 6], [9, 9, 6]), ([5, 9, 5], [5, 9, 5])]);
    assert_eq!(over.as_in(&earlier, &still()), [(2, 1)], "what overlaps goes before what is near");
}

#[test]
fn what_was_followed_within_the_study_keeps_its_identity() {
    let earlier = boxes_of(1, &[([2, 2, 2], [4, 4, 4]), ([8, 8, 8], [9, 9, 9])]);
    let new = boxes_of(2, &[([2, 2, 2], [4, 4, 4]), ([8, 8, 8], [9, 9, 9])]);
    let mut followed = Followed::from([(1, "2.25.9.9".to_owned())]);
    follow_moved(&new.found(), &earlier.found(), &still(), &mut followed);
    assert_eq!(followed, Followed::from([(1, "2.25.9.9".to_owned()), (2, "2.25.1.2".to_owned())]));
    let mut unplaced = earlier.found();
    unplaced.affine_nm = None;
    let mut none = Followed::new();
    follow_moved(&new.found(), &unplaced, &still(), &mut none);
    assert_eq!(none, Followed::new(), "without its place an old outcome is not compared");
}
