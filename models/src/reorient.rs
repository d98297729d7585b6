//! Orientation: from the scanner's voxel axes to the ones that a network was made for, and back.
//!
//! Axes are permuted and reversed, never interpolated; an oblique volume goes to the nearest orientation.

use ndarray::{Array3, ArrayView3, Axis};
use sulcus_operators::volume::Grid;
use thiserror::Error;

/// Why three letters are not an orientation.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct AxisCodesError(pub String);

/// Directions in which x, y and z grow: one letter each of L/R, P/A and S/I, as in nibabel's `aff2axcodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisCodes {
    /// For x, y and z: the LPS axis (0 left, 1 posterior, 2 superior) and whether the index grows along it.
    axes: [(usize, bool); 3],
}

impl AxisCodes {
    /// Reads codes such as `LPS` or `RAS`.
    pub fn parse(codes: &str) -> Result<Self, AxisCodesError> {
        let wrong = || {
            AxisCodesError(format!("orientation {codes:?} is not three letters of L or R, P or A, S or I, such as LPS"))
        };
        let letters: Vec<char> = codes.chars().collect();
        let letters = <[char; 3]>::try_from(letters).map_err(|_| wrong())?;
        let mut axes = [(0, true); 3];
        for (axis, letter) in axes.iter_mut().zip(letters) {
            *axis = match letter {
                'L' => (0, true),
                'R' => (0, false),
                'P' => (1, true),
                'A' => (1, false),
                'S' => (2, true),
                'I' => (2, false),
                _ => return Err(wrong()),
            };
        }
        let mut seen = axes.map(|(axis, _)| axis);
        seen.sort_unstable();
        if seen == [0, 1, 2] { Ok(AxisCodes { axes }) } else { Err(wrong()) }
    }
}

/// How an array (z, y, x) of one orientation becomes one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorientation {
    /// Axis `i` of the target is axis `source[i]` of the original.
    source: [usize; 3],
    /// Whether axis `i` of the target runs against the original.
    reversed: [bool; 3],
}

impl Reorientation {
    /// The way from a grid to `codes`; none where the affine does not span space.
    pub fn between(grid: &Grid, codes: AxisCodes) -> Option<Self> {
        let spacing = grid.spacing();
        if !spacing.iter().all(|mm| mm.is_finite() && *mm > 0.0) {
            return None;
        }
        // Cosine of voxel axis (column, row, slice) with each LPS axis.
        let cosine = |voxel: usize, world: usize| grid.affine[world][voxel] / spacing[voxel];
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        // `order[k]`: the voxel axis that becomes x, y or z (k).
        let fit = |order: &[usize; 3]| (0..3).map(|k| cosine(order[k], codes.axes[k].0).abs()).sum::<f64>();
        let best = orders.into_iter().max_by(|a, b| fit(a).total_cmp(&fit(b)))?;
        let reversed = std::array::from_fn(|k| {
            let (world, grows) = codes.axes[k];
            (cosine(best[k], world) > 0.0) != grows
        });
        // Arrays are (z, y, x): both lists turn round.
        let reversed: [bool; 3] = reversed;
        Some(Reorientation {
            source: std::array::from_fn(|i| 2 - best[2 - i]),
            reversed: std::array::from_fn(|i| reversed[2 - i]),
        })
    }

    /// How nnU-Net turns an image before it looks: to RAS where the plans' reader says so, else not at all.
    ///
    /// # Errors
    /// Where the affine does not span space.
    pub fn of_reader(reader: &str, grid: &Grid) -> Result<Option<Self>, String> {
        if !reader.ends_with("WithReorient") {
            return Ok(None);
        }
        let codes = AxisCodes::parse("RAS").map_err(|error| error.to_string())?;
        let way = Self::between(grid, codes);
        way.map(Some).ok_or_else(|| "its affine does not span space; write it again".to_owned())
    }

    /// The array in the target orientation.
    pub fn forward<T: Clone>(&self, array: ArrayView3<'_, T>) -> Array3<T> {
        let mut view = array.permuted_axes(self.source);
        for axis in 0..3 {
            if self.reversed[axis] {
                view.invert_axis(Axis(axis));
            }
        }
        view.as_standard_layout().into_owned()
    }

    /// The array back in the original orientation.
    pub fn backward<T: Clone>(&self, array: ArrayView3<'_, T>) -> Array3<T> {
        let mut view = array;
        for axis in 0..3 {
            if self.reversed[axis] {
                view.invert_axis(Axis(axis));
            }
        }
        let mut back = [0; 3];
        for (target, &source) in self.source.iter().enumerate() {
            back[source] = target;
        }
        view.permuted_axes(back).as_standard_layout().into_owned()
    }

    /// Values by axis (z, y, x), such as spacings, in the target orientation.
    pub fn by_axis<T: Copy>(&self, values: [T; 3]) -> [T; 3] {
        self.source.map(|axis| values[axis])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A grid whose columns, rows and slices run along the given LPS axes with the given signs.
    fn grid(axes: [(usize, f64); 3], size: [usize; 3]) -> Grid {
        let mut affine = [[0.0; 4]; 4];
        affine[3][3] = 1.0;
        for (voxel, (world, step)) in axes.into_iter().enumerate() {
            affine[world][voxel] = step;
            // A little oblique.
            affine[(world + 1) % 3][voxel] = 0.1 * step;
        }
        Grid { size, affine }
    }

    #[test]
    fn a_sagittal_scan_turns_axial() {
        // Columns to posterior, rows to inferior, slices to the left.
        let grid = grid([(1, 1.0), (2, -1.0), (0, 2.0)], [2, 3, 4]);
        let scan = Array3::from_shape_fn((4, 3, 2), |(slice, row, column)| 100 * slice + 10 * row + column);
        let way = Reorientation::between(&grid, AxisCodes::parse("LPS").unwrap()).unwrap();
        let turned = way.forward(scan.view());
        assert_eq!(turned.dim(), (3, 2, 4));
        // z grows upwards, so its first plane is the last row; y is the column, x the slice.
        assert_eq!(turned[[0, 1, 3]], 321);
        let ras = Reorientation::between(&grid, AxisCodes::parse("RAS").unwrap()).unwrap();
        assert_eq!(ras.forward(scan.view())[[0, 0, 0]], 321);
        let [z, y, x] = way.by_axis([2.0, 1.0, 0.5]);
        assert_eq!([z, y, x], [1.0, 0.5, 2.0]);
    }

    proptest! {
        #[test]
        fn every_orientation_comes_back(order in 0usize..6, signs in proptest::array::uniform3(any::<bool>()),
                                        codes in "[LR][PA][SI]|[SI][LR][PA]|[PA][SI][LR]") {
            let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
            let axes = std::array::from_fn(|i| (orders[order][i], if signs[i] { 1.0 } else { -1.5 }));
            let grid = grid(axes, [4, 3, 2]);
            let scan = Array3::from_shape_fn((2, 3, 4), |(z, y, x)| 100 * z + 10 * y + x);
            let way = Reorientation::between(&grid, AxisCodes::parse(&codes).unwrap()).unwrap();
            prop_assert_eq!(way.backward(way.forward(scan.view()).view()), scan);
        }
    }

    #[test]
    fn a_flat_affine_has_no_orientation() {
        let grid = Grid { size: [1; 3], affine: [[0.0; 4]; 4] };
        assert_eq!(Reorientation::between(&grid, AxisCodes::parse("LPS").unwrap()), None);
        assert!(AxisCodes::parse("LPP").is_err() && AxisCodes::parse("LP").is_err());
    }
}
