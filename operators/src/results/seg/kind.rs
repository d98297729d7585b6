//! The kinds of segmentation that can be written.

use ndarray::ArrayView3;

/// Which segmentation is written (PS3.3 A.51, C.8.20.2.3).
#[derive(Clone, Copy, Debug)]
pub enum SegKind<'a> {
    /// BINARY: one segment a lesion, without empty frames.
    Lesions,
    /// BINARY: all lesions as one segment, with every slice of the volume.
    AllAsOne,
    /// FRACTIONAL, PROBABILITY: one segment of 8 bits, with every slice of the volume. It holds what the model gave;
    /// what readers rejected stays in it.
    Probability(Probability<'a>),
    /// LABELMAP: a voxel's value is its lesion's segment number, 0 is background; 8 bits up to 255 lesions, else 16;
    /// every slice of the volume.
    LabelMap,
}

/// A probability map, axes (slice, row, column).
#[derive(Clone, Copy, Debug)]
pub enum Probability<'a> {
    /// From 0 to 1; written to the nearest of 255 steps.
    Unit(ArrayView3<'a, f32>),
    /// From 0 to 255, which is certain.
    Steps(ArrayView3<'a, u8>),
}

/// What 8 bits hold of a probability: the nearest step of 255. None where that is not from 0 to 255.
pub(in crate::results) fn step(probability: f32) -> Option<u8> {
    let step = (probability * 255.0).round();
    (0.0..=255.0).contains(&step).then_some(step as u8)
}

impl Probability<'_> {
    /// Slices, rows, columns.
    pub(in crate::results) fn dim(&self) -> (usize, usize, usize) {
        match self {
            Probability::Unit(map) => map.dim(),
            Probability::Steps(map) => map.dim(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn a_probability_is_the_nearest_step_or_none() {
        assert_eq!(
            [0.0, -0.0, 0.001, 0.002, 0.5, 1.0, 1.001].map(step).map(Option::unwrap_or_default),
            [0, 0, 0, 1, 128, 255, 255]
        );
        for none in [f32::NAN, f32::INFINITY, -0.01, 1.01, f32::NEG_INFINITY] {
            assert_eq!(step(none), None, "{none}");
        }
    }
}
