//! How the three radiological views lie on a grid of any orientation.
//!
//! A view shows planes of the grid, as they were acquired or at right angles to that; nothing is turned. Each grid axis
//! stands for the patient axis that it is nearest to, and letters say where its ends really point (PS3.3 C.7.6.1.1.1).

use crate::volume::Grid;

/// A direction shows a second letter where it is turned by more than this from the first's axis: sine of 15 degrees.
const SECOND_LETTER: f64 = 0.258_8;

/// A radiological view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// From below: the patient's right on the left, front at the top.
    Axial,
    /// From the front: the patient's right on the left, head at the top.
    Coronal,
    /// From the left: front on the left, head at the top.
    Sagittal,
}

impl View {
    /// All, in the order in which they are shown.
    pub(crate) const ALL: [View; 3] = [View::Axial, View::Coronal, View::Sagittal];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            View::Axial => "axial",
            View::Coronal => "coronal",
            View::Sagittal => "sagittal",
        }
    }

    /// The patient axis (0 left, 1 back, 2 head) that it looks along, and those that run to the right and downwards,
    /// with their signs.
    fn axes(self) -> (usize, (usize, f64), (usize, f64)) {
        match self {
            View::Axial => (2, (0, 1.0), (1, 1.0)),
            View::Coronal => (1, (0, 1.0), (2, -1.0)),
            View::Sagittal => (0, (1, 1.0), (2, -1.0)),
        }
    }
}

/// A grid axis along an edge of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Along {
    /// 0 columns, 1 rows, 2 slices.
    pub(crate) axis: usize,
    /// True where indices run against the edge.
    pub(crate) reversed: bool,
}

/// How a view lies on a grid.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cut {
    /// Which view.
    pub(crate) view: View,
    /// The grid axis that it looks along.
    pub(crate) through: usize,
    /// What runs from left to right.
    pub(crate) right: Along,
    /// What runs from top to bottom.
    pub(crate) down: Along,
    /// Where left, right, top and bottom of the picture point: L, R, A, P, H or F as S and I.
    pub(crate) letters: [String; 4],
    /// Angle between the direction that it looks along and the patient's axis, degrees.
    pub(crate) tilt: f64,
}

/// The three views on a grid, in the order of [`View::ALL`]. None where the grid has no finite, right-angled axes.
pub(crate) fn cuts(grid: &Grid) -> Option<[Cut; 3]> {
    let spacing = grid.spacing();
    if !spacing.iter().all(|mm| mm.is_normal()) {
        return None;
    }
    // Direction of each grid axis, LPS.
    let axes: [[f64; 3]; 3] =
        std::array::from_fn(|axis| std::array::from_fn(|row| grid.affine[row][axis] / spacing[axis]));
    let [a, b, c] = axes;
    let triple =
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
    // A gantry's tilt shears a grid; half of a right angle is no grid of a scanner.
    if triple.is_nan() || triple.abs() <= 0.5 {
        return None;
    }
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    // For each patient axis the grid axis that stands for it; of equals the first.
    let fit = |order: &[usize; 3]| (0..3).map(|patient| axes[order[patient]][patient].abs()).sum::<f64>();
    let nearest = ORDERS.iter().rev().max_by(|a, b| fit(a).total_cmp(&fit(b)))?;
    Some(View::ALL.map(|view| {
        let (through, right, down) = view.axes();
        let along = |(patient, sign): (usize, f64)| {
            let axis = nearest[patient];
            let reversed = axes[axis][patient] * sign < 0.0;
            let direction = axes[axis].map(|part| if reversed { -part } else { part });
            (Along { axis, reversed }, direction)
        };
        let ((right, to_right), (down, to_bottom)) = (along(right), along(down));
        let back = |direction: [f64; 3]| direction.map(|part| -part);
        let letters = [back(to_right), to_right, back(to_bottom), to_bottom].map(letters);
        let tilt = axes[nearest[through]][through].abs().min(1.0).acos().to_degrees();
        Cut { view, through: nearest[through], right, down, letters, tilt }
    }))
}

/// The letters of a direction (LPS, unit length): its nearest axis first, then what it is turned towards.
fn letters(direction: [f64; 3]) -> String {
    const NAMES: [[char; 2]; 3] = [['L', 'R'], ['P', 'A'], ['S', 'I']];
    let mut axes = [0, 1, 2];
    axes.sort_by(|a, b| direction[*b].abs().total_cmp(&direction[*a].abs()));
    let shown = axes.iter().enumerate().filter(|(place, axis)| *place == 0 || direction[**axis].abs() > SECOND_LETTER);
    shown.map(|(_, axis)| NAMES[*axis][usize::from(direction[*axis] < 0.0)]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::phantom::Orientation;

    fn grid(axes: [[f64; 3]; 3]) -> Grid {
        let mut affine = [[0.0; 4]; 4];
        for (axis, direction) in axes.iter().enumerate() {
            for row in 0..3 {
                affine[row][axis] = direction[row] * (0.5 + axis as f64);
            }
        }
        affine[3][3] = 1.0;
        Grid { size: [4, 5, 6], affine }
    }

    fn expected() -> [[&'static str; 4]; 3] {
        [["R", "L", "A", "P"], ["R", "L", "S", "I"], ["A", "P", "S", "I"]]
    }

    #[test]
    fn every_acquisition_is_shown_the_radiological_way() {
        for orientation in [Orientation::Axial, Orientation::Sagittal, Orientation::Coronal, Orientation::Oblique] {
            let cuts = cuts(&grid(orientation.axes())).unwrap();
            for (cut, expected) in cuts.iter().zip(expected()) {
                assert_eq!(cut.letters, expected, "{orientation:?} {:?}", cut.view);
                let tilted = orientation == Orientation::Oblique;
                assert_eq!(cut.tilt > 1.0, tilted, "{orientation:?} {:?} {}", cut.view, cut.tilt);
            }
        }
        let through = cuts(&grid(Orientation::Sagittal.axes())).unwrap().map(|cut| cut.through);
        // Sagittal: columns to the back, rows downwards, slices across.
        assert_eq!(through, [1, 0, 2]);
    }

    #[test]
    fn every_order_and_flip_of_the_axes_is_shown_the_radiological_way() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            for flips in 0..8u8 {
                let axes = std::array::from_fn(|axis| {
                    let sign = if flips >> axis & 1 == 1 { -1.0 } else { 1.0 };
                    std::array::from_fn(|row| if row == order[axis] { sign } else { 0.0 })
                });
                let cuts = cuts(&grid(axes)).unwrap();
                for (cut, expected) in cuts.iter().zip(expected()) {
                    assert_eq!(cut.letters, expected, "{axes:?} {:?}", cut.view);
                    // Towards the letter on the right, the patient coordinate grows as the letter says.
                    let sign = if cut.right.reversed { -1.0 } else { 1.0 };
                    let patient = order[cut.right.axis];
                    assert_eq!(sign * axes[cut.right.axis][patient], 1.0, "L and P are where LPS grows");
                }
            }
        }
    }

    #[test]
    fn a_strong_tilt_is_told_by_a_second_letter() {
        let (sin, cos) = 30f64.to_radians().sin_cos();
        // Turned about the left-right axis.
        let cuts = cuts(&grid([[1.0, 0.0, 0.0], [0.0, cos, sin], [0.0, -sin, cos]])).unwrap();
        assert_eq!(cuts[0].letters, ["R", "L", "AI", "PS"]);
        assert_eq!(cuts[2].letters, ["AI", "PS", "SA", "IP"]);
        assert!((cuts[0].tilt - 30.0).abs() < 1e-9 && cuts[2].tilt < 1e-6);
    }

    #[test]
    fn a_grid_without_geometry_has_no_views() {
        let axes = Orientation::Axial.axes();
        let mut not_a_number = grid(axes);
        not_a_number.affine[1][1] = f64::NAN;
        assert_eq!(cuts(&not_a_number), None);
        assert_eq!(cuts(&grid([axes[0], axes[0], axes[2]])), None);
        assert_eq!(cuts(&grid([axes[0], [0.0; 3], axes[2]])), None);
    }
}
