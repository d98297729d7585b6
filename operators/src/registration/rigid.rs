//! Rigid motions of patient space (LPS, mm), and the integers that rows hold of them.

use serde::{Deserialize, Serialize};

/// A vector or point, LPS, mm.
pub(super) type Vector = [f64; 3];
/// Rows of a matrix.
pub(super) type Matrix = [[f64; 3]; 3];

/// No rotation.
pub(super) const UNIT: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// Parts of the unit in which rows tell a rotation.
const PARTS: f64 = 1e9;

/// A rotation, then a shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rigid {
    /// Rows of the rotation.
    pub rotation: [[f64; 3]; 3],
    /// Shift, LPS, mm.
    pub shift_mm: [f64; 3],
}

/// A [`Rigid`] in integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RigidRow {
    /// Rows of the rotation, in 1e-9.
    pub rotation_e9: [[i64; 3]; 3],
    /// Shift after it, LPS, nanometres.
    pub shift_nm: [i64; 3],
}

impl Rigid {
    /// Where a point goes.
    pub fn apply(&self, point: [f64; 3]) -> [f64; 3] {
        add(turn(&self.rotation, point), self.shift_mm)
    }

    /// The way back.
    pub fn inverse(&self) -> Rigid {
        let rotation: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| self.rotation[j][i]));
        Rigid { rotation, shift_mm: turn(&rotation, self.shift_mm).map(|mm| -mm) }
    }

    /// The same in integers, rounded.
    pub fn row(&self) -> RigidRow {
        RigidRow {
            rotation_e9: self.rotation.map(|row| row.map(|part| (part * PARTS).round() as i64)),
            shift_nm: self.shift_mm.map(|mm| (mm * 1e6).round() as i64),
        }
    }

    /// By how much it turns, degrees.
    pub fn degrees(&self) -> f64 {
        let trace = (0..3).map(|i| self.rotation[i][i]).sum::<f64>();
        ((trace - 1.0) / 2.0).clamp(-1.0, 1.0).acos().to_degrees()
    }
}

impl From<&RigidRow> for Rigid {
    fn from(row: &RigidRow) -> Self {
        Rigid {
            rotation: row.rotation_e9.map(|row| row.map(|part| part as f64 / PARTS)),
            shift_mm: row.shift_nm.map(|nm| nm as f64 / 1e6),
        }
    }
}

pub(super) fn add(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|i| a[i] + b[i])
}

pub(super) fn less(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|i| a[i] - b[i])
}

pub(super) fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(super) fn turn(matrix: &Matrix, v: Vector) -> Vector {
    std::array::from_fn(|i| matrix[i][0] * v[0] + matrix[i][1] * v[1] + matrix[i][2] * v[2])
}

pub(super) fn product(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

/// The rotation about a vector by its length in radians (Rodrigues' formula).
pub(super) fn rotation(about: Vector) -> Matrix {
    let angle = about.iter().map(|part| part * part).sum::<f64>().sqrt();
    // sin(a)/a and (1 - cos(a))/a^2, by their series where the quotients lose digits.
    let (first, second) = if angle < 1e-4 {
        (1.0 - angle * angle / 6.0, 0.5 - angle * angle / 24.0)
    } else {
        (angle.sin() / angle, (1.0 - angle.cos()) / (angle * angle))
    };
    let [x, y, z] = about;
    let k = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]];
    let squared = product(&k, &k);
    std::array::from_fn(|i| std::array::from_fn(|j| UNIT[i][j] + first * k[i][j] + second * squared[i][j]))
}

/// The inverse by cofactors; none where the rows do not span space.
pub(super) fn inverse(a: &Matrix) -> Option<Matrix> {
    let cofactors: Matrix = [cross(a[1], a[2]), cross(a[2], a[0]), cross(a[0], a[1])];
    let determinant: f64 = (0..3).map(|j| a[0][j] * cofactors[0][j]).sum();
    let inverse: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| cofactors[j][i] / determinant));
    let finite = inverse.iter().flatten().all(|part| part.is_finite());
    (determinant != 0.0 && finite).then_some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_survives_its_integers_within_nanometres() {
        let motion = Rigid { rotation: rotation([0.2, -0.1, 0.3]), shift_mm: [12.345_678_9, -30.0, 1e-7] };
        let again = Rigid::from(&motion.row());
        let (was, is) = (motion.apply([90.0, -110.0, 80.0]), again.apply([90.0, -110.0, 80.0]));
        assert!(was.iter().zip(is).all(|(was, is)| (was - is).abs() < 1e-6), "{was:?} {is:?}");
        let back = motion.inverse().apply(was);
        assert!(back.iter().zip([90.0, -110.0, 80.0]).all(|(is, was)| (is - was).abs() < 1e-9), "{back:?}");
        assert!((motion.degrees() - 0.14f64.sqrt().to_degrees()).abs() < 1e-9);
    }

    #[test]
    fn small_and_large_rotations_are_orthogonal_and_inverted_by_their_transpose() {
        for about in [[0.0; 3], [3e-5, 0.0, -2e-5], [0.0, 1.2, 0.4]] {
            let matrix = rotation(about);
            let transposed: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| matrix[j][i]));
            let inverse = inverse(&matrix).unwrap_or_default();
            for (a, b) in inverse.iter().flatten().zip(transposed.iter().flatten()) {
                assert!((a - b).abs() < 1e-12);
            }
        }
        assert_eq!(inverse(&[[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), None);
    }
}
