//! A later visit of a phantom's head: it lies elsewhere in the scanner, and its lesions have changed.
//!
//! Anatomy and lesions are those of the first visit's seed; the scanner, its grid and its noise may be others.

use super::anatomy::Anatomy;
use super::lesions::{place, put};
use super::shape::{Point, dot};
use super::signal::Signal;
use super::{Frame, Phantom, PhantomError, PhantomSpec, count};

/// How a head lies in the scanner, beside how it lay at the first visit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// Rotation about the middle of the head: axis (LPS) times angle, degrees.
    pub turn_degrees: [f64; 3],
    /// Shift after it, LPS, mm.
    pub shift_mm: [f64; 3],
}

impl Motion {
    /// Rows of the rotation (Rodrigues' formula).
    pub fn rotation(&self) -> [[f64; 3]; 3] {
        let turn = self.turn_degrees.map(f64::to_radians);
        let angle = turn.iter().map(|part| part * part).sum::<f64>().sqrt();
        let [x, y, z] = if angle > 0.0 { turn.map(|part| part / angle) } else { [0.0; 3] };
        let (sine, cosine) = angle.sin_cos();
        let cross = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]];
        let axis = [x, y, z];
        std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let one = if i == j { cosine } else { 0.0 };
                one + sine * cross[i][j] + (1.0 - cosine) * axis[i] * axis[j]
            })
        })
    }
}

/// What is different at a later visit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Visit {
    /// How the head lies.
    pub motion: Motion,
    /// Noise and bias follow from it.
    pub scan: u64,
    /// Labels of lesions that are gone.
    pub gone: Vec<u16>,
    /// Labels of lesions that grew, with the factor of their radii.
    pub grown: Vec<(u16, f32)>,
    /// How many lesions there are that the first visit did not have; their labels follow its.
    pub new: usize,
}

impl Frame {
    /// The same grid about a head that lies elsewhere.
    fn moved(mut self, motion: &Motion) -> Self {
        let rotation = motion.rotation().map(|row| row.map(|x| x as f32));
        let back = |p: Point| -> Point { std::array::from_fn(|j| dot(p, rotation.map(|row| row[j]))) };
        self.axes = self.axes.map(back);
        self.origin = back(std::array::from_fn(|i| self.origin[i] - motion.shift_mm[i] as f32));
        self
    }
}

impl Phantom {
    /// Scans the head of `first` at a later visit, with the scanner and the grid of `spec`. A lesion keeps the label
    /// that it has at the first visit.
    ///
    /// # Errors
    /// As [`Phantom::generate`].
    pub fn revisit(first: &PhantomSpec, spec: &PhantomSpec, visit: &Visit) -> Result<Self, PhantomError> {
        let head = &Anatomy::new(first.seed);
        first.check()?;
        spec.check()?;
        let seats = place(head, &Frame::new(first), count(first) + visit.new, first.seed)?.seats;
        let grown = |label: u16| visit.grown.iter().find(|(grown, _)| *grown == label).map_or(1.0, |(_, by)| *by);
        let left: Vec<_> = (1u16..)
            .zip(seats)
            .filter(|(label, _)| !visit.gone.contains(label))
            .map(|(label, seat)| (label, seat.grown(grown(label))))
            .collect();
        let spec = PhantomSpec { seed: first.seed, ..spec.clone() };
        let frame = Frame::new(&spec).moved(&visit.motion);
        let placed = put(head, &frame, &left);
        let signal = Signal::new(&PhantomSpec { seed: visit.scan, ..spec.clone() });
        Ok(Self::measure(&spec, head, frame, placed, &signal))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Field, Sequence};
    use super::*;

    #[test]
    fn a_head_that_moved_has_its_lesions_where_the_motion_takes_them() {
        let first = PhantomSpec {
            spacing_mm: [1.5; 3],
            size: [128, 112, 112],
            lesions: 5..=5,
            ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 5)
        };
        let motion = Motion { turn_degrees: [6.0, -3.0, 9.0], shift_mm: [4.0, -7.0, 3.0] };
        let visit = Visit { motion, scan: 77, gone: vec![2], grown: vec![(3, 1.4)], new: 1 };
        let (before, after) = (Phantom::generate(&first).unwrap(), Phantom::revisit(&first, &first, &visit).unwrap());
        let labels: Vec<u16> = after.lesions.iter().map(|lesion| lesion.label).collect();
        assert_eq!(labels, [1, 3, 4, 5, 6]);
        let of = |phantom: &Phantom, label: u16| phantom.lesions.iter().find(|l| l.label == label).unwrap().clone();
        assert!(of(&after, 3).volume_mm3 > 1.3 * of(&before, 3).volume_mm3);
        // The middle of the head lies off the isocentre by what the seed draws: the same at both visits.
        let differences: Vec<[f64; 3]> = [1, 4, 5]
            .map(|label| {
                let (was, is) = (of(&before, label).centre_mm, of(&after, label).centre_mm);
                std::array::from_fn(|i| is[i] - (0..3).map(|j| motion.rotation()[i][j] * was[j]).sum::<f64>())
            })
            .to_vec();
        for difference in &differences {
            assert!((0..3).all(|i| (difference[i] - differences[0][i]).abs() < 0.6), "{differences:?}");
        }
    }
}
