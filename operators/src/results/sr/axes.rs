//! The longest line across a lesion within a slice, and the longest at right angles to it.
//!
//! In each slice a lesion's outline is the convex hull of its voxels' corners, so one voxel has an extent too. The
//! long axis is the longest line between two points of the outline, in the slice where that is longest; the short axis
//! is the longest line across the same outline at right angles to it. Both lie in the plane of the slices, as a reader
//! would measure them, so a lesion that is longest across slices is longer than its long axis.

use std::collections::BTreeMap;

use ndarray::ArrayView3;

use crate::volume::Grid;

/// What a label map says of one lesion.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Extent {
    /// Number of voxels.
    pub(super) voxels: u64,
    /// The first slice that it is on, from 0.
    pub(super) slice: usize,
    /// Long and short axis, mm.
    pub(super) axes: [f64; 2],
}

/// One row of a lesion: row, first and last column.
type Span = [i64; 3];

/// The extents of all labels but 0 of a label map (axes slice, row, column) on this grid.
pub(super) fn extents(labels: ArrayView3<'_, u16>, grid: &Grid) -> BTreeMap<u16, Extent> {
    let steps = steps(grid);
    let mut extents: BTreeMap<u16, Extent> = BTreeMap::new();
    for (slice, plane) in labels.outer_iter().enumerate() {
        let mut outlines: BTreeMap<u16, (u64, Vec<Span>)> = BTreeMap::new();
        for (row, line) in (0i64..).zip(plane.outer_iter()) {
            for (column, &label) in (0i64..).zip(line).filter(|(_, label)| **label != 0) {
                let (voxels, spans) = outlines.entry(label).or_default();
                *voxels += 1;
                match spans.last_mut() {
                    Some(span) if span[0] == row => span[2] = column,
                    _ => spans.push([row, column, column]),
                }
            }
        }
        for (label, (voxels, spans)) in outlines {
            let axes = axes(&hull(&spans), steps);
            let extent = extents.entry(label).or_insert(Extent { slice, ..Extent::default() });
            extent.voxels += voxels;
            if axes[0].total_cmp(&extent.axes[0]).then(axes[1].total_cmp(&extent.axes[1])).is_gt() {
                extent.axes = axes;
            }
        }
    }
    extents
}

/// The steps of a column and of a row within the plane of a slice, mm.
fn steps(grid: &Grid) -> [[f64; 2]; 2] {
    let step = |axis: usize| -> [f64; 3] { std::array::from_fn(|row| grid.affine[row][axis]) };
    let (column, row) = (step(0), step(1));
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let along = dot(column, column).sqrt();
    let shear = dot(column, row) / along;
    [[along, 0.0], [shear, (dot(row, row) - shear * shear).max(0.0).sqrt()]]
}

/// The convex hull of the corners of these rows' voxels (column, row), counter-clockwise, by the monotone chain.
fn hull(spans: &[Span]) -> Vec<[i64; 2]> {
    let mut corners: Vec<[i64; 2]> = spans
        .iter()
        .flat_map(|&[row, first, last]| [[first, row], [last + 1, row], [first, row + 1], [last + 1, row + 1]])
        .collect();
    corners.sort_unstable();
    corners.dedup();
    let half = |points: &mut dyn Iterator<Item = &[i64; 2]>| {
        let mut chain: Vec<[i64; 2]> = Vec::new();
        for &point in points {
            while let [.., a, b] = chain.as_slice()
                && (b[0] - a[0]) * (point[1] - a[1]) <= (b[1] - a[1]) * (point[0] - a[0])
            {
                chain.pop();
            }
            chain.push(point);
        }
        // The last point is the first of the other half.
        chain.pop();
        chain
    };
    let mut lower = half(&mut corners.iter());
    lower.extend(half(&mut corners.iter().rev()));
    lower
}

/// Long and short axis of an outline, mm.
fn axes(hull: &[[i64; 2]], [column, row]: [[f64; 2]; 2]) -> [f64; 2] {
    let points: Vec<[f64; 2]> =
        hull.iter().map(|&[c, r]| std::array::from_fn(|axis| c as f64 * column[axis] + r as f64 * row[axis])).collect();
    let (mut long, mut direction) = (0.0, [1.0, 0.0]);
    for (number, a) in points.iter().enumerate() {
        for b in points.iter().skip(number + 1) {
            let step = [b[0] - a[0], b[1] - a[1]];
            let length = step[0].hypot(step[1]);
            if length > long {
                (long, direction) = (length, step.map(|mm| mm / length));
            }
        }
    }
    // The width of a convex outline changes linearly between its corners, so it is widest at one of them.
    let turned: Vec<[f64; 2]> = points
        .iter()
        .map(|p| [p[0] * direction[0] + p[1] * direction[1], p[1] * direction[0] - p[0] * direction[1]])
        .collect();
    let widths = turned.iter().map(|&[at, _]| {
        let mut crossed: Option<[f64; 2]> = None;
        let mut meet = |y: f64| {
            let [low, high] = crossed.unwrap_or([y, y]);
            crossed = Some([low.min(y), high.max(y)]);
        };
        for (a, b) in turned.iter().zip(turned.iter().cycle().skip(1)) {
            if (a[0] - at) * (b[0] - at) <= 0.0 {
                if a[0] == b[0] {
                    meet(a[1]);
                    meet(b[1]);
                } else {
                    meet(a[1] + (b[1] - a[1]) * (at - a[0]) / (b[0] - a[0]));
                }
            }
        }
        crossed.map_or(0.0, |[low, high]| high - low)
    });
    [long, widths.fold(0.0, f64::max)]
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;
    use proptest::prelude::*;

    use super::*;

    fn grid(size: [usize; 3], spacing: [f64; 3]) -> Grid {
        let mut affine = [[0.0; 4]; 4];
        for axis in 0..3 {
            affine[axis][axis] = spacing[axis];
        }
        affine[3][3] = 1.0;
        Grid { size, affine }
    }

    fn close(found: [f64; 2], wanted: [f64; 2]) -> bool {
        found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn axes_of_voxels_are_those_of_their_corners() {
        let mut labels = Array3::<u16>::zeros([3, 4, 6]);
        labels[[0, 0, 0]] = 1;
        for column in 1..5 {
            for row in 1..4 {
                labels[[1, row, column]] = 2;
            }
        }
        labels[[2, 2, 2]] = 2;
        let found = extents(labels.view(), &grid([6, 4, 3], [0.5, 1.0, 9.0]));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1, 2]);
        // One voxel of 0.5 x 1: its diagonal, and across it twice the height of the triangle over the diagonal.
        let diagonal = 1.25f64.sqrt();
        let across = |width: f64, height: f64| {
            // From a corner at right angles to the diagonal until the opposite long side is met.
            let (long, short) = (width.max(height), width.min(height));
            short * width.hypot(height) / long
        };
        assert!(close(found[&1].axes, [diagonal, across(0.5, 1.0)]), "{:?}", found[&1]);
        assert_eq!((found[&2].voxels, found[&2].slice), (13, 1));
        assert!(close(found[&2].axes, [2f64.hypot(3.0), across(2.0, 3.0)]), "{:?}", found[&2]);
    }

    #[test]
    fn a_disc_has_equal_axes_and_an_ellipse_its_own() {
        for (a, b, degrees) in [(20.0, 20.0, 0.0f64), (30.0, 10.0, 0.0), (30.0, 10.0, 33.0), (25.0, 15.0, 90.0)] {
            let (sin, cos) = degrees.to_radians().sin_cos();
            let labels = Array3::from_shape_fn([1, 81, 81], |(_, row, column)| {
                let (x, y) = (column as f64 - 40.0, row as f64 - 40.0);
                u16::from(((x * cos + y * sin) / a).powi(2) + ((y * cos - x * sin) / b).powi(2) <= 1.0)
            });
            let [long, short] = extents(labels.view(), &grid([81, 81, 1], [1.0; 3]))[&1].axes;
            assert!((long - 2.0 * a).abs() < 2.0 && (short - 2.0 * b).abs() < 2.0, "{a} {b} {degrees}: {long} {short}");
        }
    }

    proptest! {
        #[test]
        fn the_long_axis_is_the_farthest_pair_of_corners_of_a_slice(
            cells in proptest::collection::vec(any::<bool>(), 2 * 7 * 9),
            angle in 0.0f64..3.0,
        ) {
            let labels = Array3::from_shape_vec([2, 7, 9], cells.iter().map(|&on| u16::from(on)).collect()).unwrap_or_default();
            let (sin, cos) = angle.sin_cos();
            let affine =
                [[0.7 * cos, -1.3 * sin, 0.0, 5.0], [0.7 * sin, 1.3 * cos, 0.0, 6.0], [0.0, 0.0, 2.0, 7.0], [0.0, 0.0, 0.0, 1.0]];
            let grid = Grid { size: [9, 7, 2], affine };
            let found = extents(labels.view(), &grid);
            let mut farthest = 0.0f64;
            for slice in 0..2 {
                let corners: Vec<[f64; 3]> = labels
                    .indexed_iter()
                    .filter(|((s, ..), on)| *s == slice && **on == 1)
                    .flat_map(|((s, r, c), _)| {
                        [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
                            .map(|(x, y)| grid.point([c as f64 + x, r as f64 + y, s as f64]))
                    })
                    .collect();
                for a in &corners {
                    for b in &corners {
                        farthest = farthest.max((0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt());
                    }
                }
            }
            let voxels = labels.iter().filter(|on| **on == 1).count() as u64;
            let extent = found.get(&1).copied().unwrap_or_default();
            prop_assert_eq!(extent.voxels, voxels);
            prop_assert!((extent.axes[0] - farthest).abs() < 1e-9, "{:?} {}", extent, farthest);
            prop_assert!(extent.axes[1] <= extent.axes[0] + 1e-9);
            prop_assert!(voxels == 0 || extent.axes[1] > 0.6, "{:?}", extent);
        }
    }
}
