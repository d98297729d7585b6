//! What a phantom scan is asked to be, and what is refused.

use std::ops::RangeInclusive;

/// Field strength of the scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// 3 tesla.
    T3,
    /// 7 tesla.
    T7,
}

impl Field {
    /// In tesla.
    pub fn tesla(self) -> f64 {
        match self {
            Field::T3 => 3.0,
            Field::T7 => 7.0,
        }
    }
}

/// The T1-weighted sequence that is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sequence {
    /// Two inversion times, combined to the uniform image (UNI).
    Mp2rage,
    /// One inversion time.
    Mprage,
}

/// How slices lie in the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Orientation {
    /// Columns to the left, rows to the back.
    Axial,
    /// Columns to the back, rows downwards.
    Sagittal,
    /// Columns to the left, rows downwards.
    Coronal,
    /// Axial, tilted by 14 degrees about the left-right and by 6 about the front-back axis.
    Oblique,
}

impl Orientation {
    /// Unit vectors (LPS) in which columns, rows and slices are counted; right-handed.
    pub fn axes(self) -> [[f64; 3]; 3] {
        let (row, column) = match self {
            Orientation::Axial => ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
            Orientation::Sagittal => ([0.0, 1.0, 0.0], [0.0, 0.0, -1.0]),
            Orientation::Coronal => ([1.0, 0.0, 0.0], [0.0, 0.0, -1.0]),
            Orientation::Oblique => {
                let ((sx, cx), (sy, cy)) = (14f64.to_radians().sin_cos(), 6f64.to_radians().sin_cos());
                ([cy, 0.0, -sy], [sx * sy, cx, sx * cy])
            }
        };
        let [a, b, c] = row;
        let [d, e, f] = column;
        [row, column, [b * f - c * e, c * d - a * f, a * e - b * d]]
    }
}

/// What to scan and how.
#[derive(Clone, Debug, PartialEq)]
pub struct PhantomSpec {
    /// Field strength: contrast, bias and noise.
    pub field: Field,
    /// The sequence.
    pub sequence: Sequence,
    /// Distance between columns, rows and slices, mm; 0.2 to 8.
    pub spacing_mm: [f64; 3],
    /// Columns, rows, slices; at least 8 each, at most 2^27 voxels together.
    pub size: [usize; 3],
    /// How slices lie in the head.
    pub orientation: Orientation,
    /// Everything random follows from it.
    pub seed: u64,
    /// Noise as a multiple of what such a scanner has; 0 to 10.
    pub noise: f32,
    /// Receive and transmit bias as a multiple of what such a scanner has; 0 to 2.
    pub bias: f32,
    /// How many lesions, drawn from this range; at most 200.
    pub lesions: RangeInclusive<usize>,
    /// Whether all but the brain is set to 0, as models expect that were trained on stripped images.
    pub stripped: bool,
}

impl PhantomSpec {
    /// The scan of the demonstration: the whole brain, sagittal, 1 mm at 3T and 0.7 mm at 7T, 8 to 14 lesions.
    pub fn demo(field: Field, sequence: Sequence, seed: u64) -> Self {
        let (spacing, size) = match field {
            Field::T3 => (1.0, [192, 160, 160]),
            Field::T7 => (0.7, [272, 216, 224]),
        };
        PhantomSpec {
            field,
            sequence,
            spacing_mm: [spacing; 3],
            size,
            orientation: Orientation::Sagittal,
            seed,
            noise: 1.0,
            bias: 1.0,
            lesions: 8..=14,
            stripped: true,
        }
    }
}

impl PhantomSpec {
    /// Refuses what is out of bounds.
    pub(super) fn check(&self) -> Result<(), PhantomError> {
        let voxels = self.size.iter().try_fold(1usize, |product, n| product.checked_mul(*n));
        let fits = self.size.iter().all(|n| (8..=2048).contains(n)) && voxels.is_some_and(|n| n <= 1 << 27);
        if !fits {
            return Err(PhantomError::Size(self.size));
        }
        if !self.spacing_mm.iter().all(|mm| (0.2..=8.0).contains(mm)) {
            return Err(PhantomError::Spacing(self.spacing_mm));
        }
        if !(0.0..=10.0).contains(&self.noise) || !(0.0..=2.0).contains(&self.bias) {
            return Err(PhantomError::Scanner { noise: self.noise, bias: self.bias });
        }
        if self.lesions.is_empty() || *self.lesions.end() > 200 {
            return Err(PhantomError::Lesions(self.lesions.clone()));
        }
        Ok(())
    }
}

/// Why no phantom could be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PhantomError {
    /// A size outside its limits.
    #[error("a grid of {0:?} voxels is out of bounds; use 8 to 2048 along each axis and at most 2^27 in all")]
    Size([usize; 3]),
    /// A spacing outside its limits.
    #[error("a spacing of {0:?} mm is out of bounds; use 0.2 to 8 mm along each axis")]
    Spacing([f64; 3]),
    /// Noise or bias outside its limits.
    #[error("noise of {noise} and bias of {bias} are out of bounds; use 0 to 10 and 0 to 2")]
    Scanner {
        /// Noise that was asked for.
        noise: f32,
        /// Bias that was asked for.
        bias: f32,
    },
    /// A lesion count outside its limits.
    #[error("a range of {0:?} lesions is out of bounds; use an ascending range up to 200")]
    Lesions(RangeInclusive<usize>),
    /// The grid shows too little cortex for that many lesions.
    #[error("only {placed} of {wanted} lesions found room; ask for fewer, or for a larger or finer grid")]
    NoRoom {
        /// Lesions that were placed.
        placed: usize,
        /// Lesions that were asked for.
        wanted: usize,
    },
}
