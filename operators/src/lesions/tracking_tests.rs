//! Promises of tracking.
#![allow(clippy::unwrap_used)]

use ndarray::{Array3, Axis, Slice, s};
use proptest::prelude::*;

use super::*;

/// Label map, affine and lesions of a run whose tracking UIDs begin with `run`.
#[derive(Clone, Debug)]
struct Run {
    labels: Array3<u16>,
    affine: Option<AffineNm>,
    lesions: Vec<LesionRow>,
}

/// 0.7 x 0.9 x 1.1 mm, oblique.
fn grid() -> Grid {
    let (c, s) = (0.8, 0.6);
    let affine = [
        [0.7 * c, 0.0, -1.1 * s, -31.25],
        [0.7 * s, 0.0, 1.1 * c, 12.125],
        [0.0, -0.9, 0.0, 47.0],
        [0.0, 0.0, 0.0, 1.0],
    ];
    Grid { size: [0; 3], affine }
}

impl Run {
    fn new(run: u32, labels: Array3<u16>) -> Self {
        let present: BTreeSet<u16> = labels.iter().copied().filter(|label| *label != 0).collect();
        let lesions = present.into_iter().map(|label| LesionRow {
            label: u32::from(label),
            tracking_uid: format!("2.25.{run}.{label}"),
            voxels: labels.iter().filter(|l| **l == label).count() as u64,
            volume_nl: 0,
            centroid_um: [0; 3],
            box_first: [0; 3],
            box_size: [1; 3],
            mean_intensity_milli: 0,
            probability_permille: 0,
            peak_probability_permille: 0,
        });
        Run { affine: affine_nm(&grid()), lesions: lesions.collect(), labels }
    }

    /// Boxes of (first voxel, extent), both as (slice, row, column), in order of their labels.
    fn boxes(run: u32, boxes: &[([usize; 3], [usize; 3])]) -> Self {
        let mut labels = Array3::zeros([8, 10, 12]);
        for (label, (first, extent)) in (1u16..).zip(boxes) {
            let [a, b, c] = *first;
            labels.slice_mut(s![a..a + extent[0], b..b + extent[1], c..c + extent[2]]).fill(label);
        }
        Run::new(run, labels)
    }

    fn found(&self) -> Found<'_> {
        Found { labels: self.labels.view(), affine_nm: self.affine, lesions: &self.lesions }
    }

    /// The same voxels in the same places, stored from the other end of an axis (0 slice, 1 row, 2 column).
    fn flipped(mut self, axis: usize) -> Self {
        let last = self.labels.len_of(Axis(axis)) as i64 - 1;
        self.labels = self.labels.slice_axis(Axis(axis), Slice::new(0, None, -1)).to_owned();
        for row in self.affine.as_mut().unwrap() {
            row[3] += last * row[2 - axis];
            row[2 - axis] = -row[2 - axis];
        }
        self
    }

    /// The same voxels in the same places, rows and slices exchanged.
    fn resliced(mut self) -> Self {
        self.labels.swap_axes(0, 1);
        self.labels = self.labels.as_standard_layout().to_owned();
        self.affine.as_mut().unwrap().iter_mut().for_each(|row| row.swap(1, 2));
        self
    }

    /// With slices before and behind.
    fn extended(mut self, before: usize, behind: usize) -> Self {
        let (slices, rows, columns) = self.labels.dim();
        let mut labels = Array3::zeros([before + slices + behind, rows, columns]);
        labels.slice_mut(s![before..before + slices, .., ..]).assign(&self.labels);
        self.labels = labels;
        self.affine.as_mut().unwrap().iter_mut().for_each(|row| row[3] -= before as i64 * row[2]);
        self
    }
}

fn followed(new: &Run, earlier: &[&Run]) -> Followed {
    let mut followed = Followed::new();
    earlier.iter().for_each(|earlier| follow(&new.found(), &earlier.found(), &mut followed));
    followed
}

fn uids(pairs: &[(u32, &str)]) -> Followed {
    pairs.iter().map(|(label, uid)| (*label, format!("2.25.{uid}"))).collect()
}

const TWO: [([usize; 3], [usize; 3]); 2] = [([1, 1, 1], [2, 3, 3]), ([4, 5, 6], [3, 2, 2])];

#[test]
fn a_lesion_that_moved_a_little_keeps_its_identity_and_one_elsewhere_is_new() {
    let earlier = Run::boxes(1, &TWO);
    let new = Run::boxes(2, &[([0, 7, 9], [1, 1, 1]), ([2, 2, 2], [2, 3, 3]), ([4, 5, 6], [3, 2, 2])]);
    assert_eq!(followed(&new, &[&earlier]), uids(&[(2, "1.1"), (3, "1.2")]));
    assert_eq!(followed(&Run::boxes(2, &[]), &[&earlier]), uids(&[]));
    assert_eq!(followed(&new, &[&Run::boxes(1, &[])]), uids(&[]));
}

#[test]
fn of_a_lesion_that_split_the_larger_part_is_it() {
    let earlier = Run::boxes(1, &[([1, 1, 1], [2, 3, 8])]);
    let new = Run::boxes(2, &[([1, 1, 1], [2, 3, 2]), ([1, 1, 4], [2, 3, 5])]);
    assert_eq!(followed(&new, &[&earlier]), uids(&[(2, "1.1")]));
    let equal = Run::boxes(2, &[([1, 1, 1], [2, 3, 2]), ([1, 1, 4], [2, 3, 2])]);
    assert_eq!(followed(&equal, &[&earlier]), uids(&[(1, "1.1")]), "of equal parts the smaller label");
}

#[test]
fn lesions_that_merged_are_the_one_that_is_most_of_it() {
    let earlier = Run::boxes(1, &[([1, 1, 1], [2, 3, 2]), ([1, 1, 4], [2, 3, 5])]);
    let new = Run::boxes(2, &[([1, 1, 1], [2, 3, 8])]);
    assert_eq!(followed(&new, &[&earlier]), uids(&[(1, "1.2")]));
    let equal = Run::boxes(1, &[([1, 1, 1], [2, 3, 2]), ([1, 1, 4], [2, 3, 2])]);
    assert_eq!(followed(&new, &[&equal]), uids(&[(1, "1.1")]), "of equal parts the smaller label");
}

#[test]
fn the_most_overlapping_pair_comes_first_and_leaves_the_rest_to_others() {
    // The first new lesion covers all of the first earlier one and some of the second, of which the second is most.
    let earlier = Run::boxes(1, &[([1, 1, 1], [2, 3, 3]), ([1, 1, 4], [2, 3, 5])]);
    let new = Run::boxes(2, &[([1, 1, 2], [2, 3, 3]), ([1, 1, 5], [2, 3, 4])]);
    assert_eq!(followed(&new, &[&earlier]), uids(&[(1, "1.1"), (2, "1.2")]));
}

#[test]
fn a_slice_that_was_added_at_either_end_moves_nothing() {
    let earlier = Run::boxes(1, &TWO);
    for (before, behind) in [(1, 0), (0, 1), (3, 2)] {
        let new = Run::boxes(2, &TWO).extended(before, behind);
        assert_eq!(followed(&new, &[&earlier]), uids(&[(1, "1.1"), (2, "1.2")]), "{before} before, {behind} behind");
    }
    let new = Run::boxes(2, &TWO);
    assert_eq!(followed(&new, &[&earlier.extended(1, 0)]), uids(&[(1, "1.1"), (2, "1.2")]), "or was taken away");
}

#[test]
fn axes_that_run_the_other_way_or_change_places_move_nothing() {
    let earlier = Run::boxes(1, &TWO);
    for axis in 0..3 {
        let new = Run::boxes(2, &TWO).flipped(axis);
        assert_eq!(followed(&new, &[&earlier]), uids(&[(1, "1.1"), (2, "1.2")]), "axis {axis}");
    }
    assert_eq!(followed(&Run::boxes(2, &TWO).resliced(), &[&earlier]), uids(&[(1, "1.1"), (2, "1.2")]));
}

#[test]
fn another_resolution_is_compared_in_patient_space() {
    let earlier = Run::boxes(1, &TWO);
    // Twice as fine along the columns: a voxel of before is two of now, whose centres lie a quarter beside its own.
    let fine = Array3::from_shape_fn([8, 10, 24], |(slice, row, column)| earlier.labels[[slice, row, column / 2]]);
    let mut new = Run::new(2, fine);
    for row in new.affine.as_mut().unwrap() {
        row[0] /= 2;
        row[3] -= row[0] / 2;
    }
    assert_eq!(followed(&new, &[&earlier]), uids(&[(1, "1.1"), (2, "1.2")]));
    assert_eq!(followed(&earlier, &[&new]), uids(&[(1, "2.1"), (2, "2.2")]));
}

#[test]
fn without_an_affine_only_equal_sizes_are_compared() {
    let (mut earlier, new) = (Run::boxes(1, &TWO), Run::boxes(2, &TWO));
    earlier.affine = None;
    assert_eq!(followed(&new, &[&earlier]), uids(&[(1, "1.1"), (2, "1.2")]));
    assert_eq!(followed(&new.clone().extended(0, 1), &[&earlier]), uids(&[]), "the same voxels may lie elsewhere");
}

#[test]
fn the_newest_run_comes_first_and_no_identity_is_given_twice() {
    let oldest = Run::boxes(1, &TWO);
    let newest = Run::boxes(2, &TWO[..1]);
    let new = Run::boxes(3, &TWO);
    assert_eq!(followed(&new, &[&newest, &oldest]), uids(&[(1, "2.1"), (2, "1.2")]), "what was lost comes back");
    // The newest run's lesion has the identity that it took over itself.
    let mut heir = newest.clone();
    heir.lesions[0].tracking_uid = "2.25.1.1".into();
    let split = Run::boxes(3, &[([1, 1, 1], [2, 3, 1]), ([1, 1, 2], [2, 3, 2])]);
    assert_eq!(followed(&split, &[&heir, &oldest]), uids(&[(2, "1.1")]));
}

#[test]
fn an_affine_that_spans_no_space_or_cannot_be_told_follows_nothing() {
    let mut flat = Run::boxes(1, &TWO);
    flat.affine.as_mut().unwrap().iter_mut().for_each(|row| row[2] = row[1]);
    assert_eq!(followed(&Run::boxes(2, &TWO), &[&flat]), uids(&[]));
    for bad in [f64::NAN, f64::INFINITY, 1e30] {
        let mut grid = grid();
        grid.affine[1][3] = bad;
        assert_eq!(affine_nm(&grid), None, "{bad}");
    }
    let far = [[i64::MAX; 4]; 3];
    for affine in [[[0; 4]; 3], far] {
        flat.affine = Some(affine);
        assert_eq!(followed(&flat, &[&flat]), uids(&[]));
    }
}

fn labels() -> impl Strategy<Value = Array3<u16>> {
    let label = prop_oneof![3 => Just(0u16), 4 => 1..5u16];
    proptest::collection::vec(label, 3 * 4 * 5).prop_map(|labels| Array3::from_shape_vec([3, 4, 5], labels).unwrap())
}

proptest! {
    #[test]
    fn identities_are_one_to_one_by_overlap_and_none_is_left_over(new in labels(), earlier in labels()) {
        let (new, earlier) = (Run::new(2, new), Run::new(1, earlier));
        let found = followed(&new, &[&earlier]);
        let distinct: BTreeSet<&String> = found.values().collect();
        prop_assert_eq!(distinct.len(), found.len());
        let overlap = |label: u32, uid: &str| {
            let was = earlier.lesions.iter().find(|lesion| lesion.tracking_uid == uid).unwrap().label;
            let both = |(a, b): &(&u16, &u16)| u32::from(**a) == label && u32::from(**b) == was;
            new.labels.iter().zip(&earlier.labels).filter(both).count()
        };
        for a in &new.lesions {
            for b in &earlier.lesions {
                let voxels = overlap(a.label, &b.tracking_uid);
                let has = found.get(&a.label);
                if has == Some(&b.tracking_uid) {
                    prop_assert!(voxels > 0);
                } else if voxels > 0 {
                    // One of the two must be in a pair that overlaps as much or more.
                    let as_new = has.map_or(0, |uid| overlap(a.label, uid));
                    let as_old = found.iter().find(|(_, uid)| **uid == b.tracking_uid);
                    let as_old = as_old.map_or(0, |(label, uid)| overlap(*label, uid));
                    prop_assert!(as_new.max(as_old) >= voxels);
                }
            }
        }
    }

    #[test]
    fn how_a_grid_is_stored_changes_nothing(
        new in labels(), earlier in labels(), axis in 0..3usize, before in 0..3usize, behind in 0..3usize
    ) {
        let (new, earlier) = (Run::new(2, new), Run::new(1, earlier));
        let wants = followed(&new, &[&earlier]);
        let stored = earlier.clone().flipped(axis).resliced().extended(before, behind);
        prop_assert_eq!(followed(&new, &[&stored]), wants.clone());
        prop_assert_eq!(followed(&new.flipped(axis).extended(before, behind), &[&earlier]), wants);
    }
}
