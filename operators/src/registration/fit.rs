//! One rigid motion, fitted.
//!
//! Two scans of one head need not show a tissue in the same intensity. What is minimised is therefore the part of the
//! moving image's variance that the fixed image's intensity does not explain: 1 minus the correlation ratio (Roche et
//! al., MICCAI 1998). With m_b the mean moving intensity where the fixed one falls into bin b, the residual
//! M(T x) - m_b has as its derivative that of M less its mean in the bin, so the normal equations of Gauss and Newton
//! follow from sums over the bins, in one pass. Steps are damped (Levenberg, Marquardt) and only taken where they
//! lessen the cost.

use rayon::prelude::*;

use super::{
    air::range,
    level::Level,
    rigid::{Matrix, Rigid, Vector, add, cross, less, product, rotation, turn},
};

/// Bins of the fixed image's intensities.
pub(super) const BINS: usize = 48;
/// Voxels of one sum: sums are added in the order of these, so that the number of threads changes nothing.
const CHUNK: usize = 1 << 14;
/// A motion that leaves less of the samples inside the other scan is none.
const LEAST_INSIDE: f64 = 0.2;

/// Where the fixed image is sampled: its place as seen from the centre of rotation, LPS, mm, and its bin.
#[derive(Clone, Copy, Debug)]
struct Sample {
    from_centre: [f32; 3],
    bin: u8,
}

/// The samples of a fixed image.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    samples: Vec<Sample>,
    /// About which motions turn, LPS, mm.
    pub(super) centre: Vector,
}

impl Samples {
    /// Samples of a level, about `most` of them, evenly spread; those alone whose voxel (column, row, slice) is kept.
    pub(super) fn of(level: &Level, centre: Vector, most: usize, keep: impl Fn([usize; 3]) -> bool) -> Self {
        let bins = bins(&level.voxels);
        let [columns, rows, _] = level.size;
        // A step that shares a factor with the columns would never see some of them.
        let mut step = level.voxels.len().div_ceil(most.max(1)).max(1);
        while common_factor(step, columns) > 1 {
            step += 1;
        }
        let samples = (0..level.voxels.len())
            .step_by(step)
            .filter(|number| level.voxels[*number].is_finite())
            .map(|number| (number, [number % columns, number / columns % rows, number / columns / rows]))
            .filter(|(_, index)| keep(*index))
            .map(|(number, index)| {
                let place = less(level.point(index.map(|i| i as f64)), centre);
                Sample { from_centre: place.map(|mm| mm as f32), bin: bins[number] }
            })
            .collect();
        Samples { samples, centre }
    }
}

/// The greatest common factor (Euclid).
fn common_factor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_factor(b, a % b) }
}

/// Evenly wide bins between the 1st and 99th percentile; what lies beyond falls into the outermost.
fn bins(voxels: &[f32]) -> Vec<u8> {
    let [low, high] = range(voxels);
    let scale = if high > low { BINS as f32 / (high - low) } else { 0.0 };
    voxels.iter().map(|value| ((value - low) * scale).clamp(0.0, BINS as f32 - 1.0) as u8).collect()
}

/// What a motion is changed in: rotation about the samples' centre, and shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pose {
    pub(super) rotation: Matrix,
    pub(super) shift: Vector,
}

impl Pose {
    fn stepped(&self, step: &[f64; 6]) -> Self {
        let [a, b, c, x, y, z] = *step;
        Pose { rotation: product(&rotation([a, b, c]), &self.rotation), shift: add(self.shift, [x, y, z]) }
    }

    /// The same motion about the origin of patient space.
    pub(super) fn rigid(&self, centre: Vector) -> Rigid {
        let shift_mm = less(add(centre, self.shift), turn(&self.rotation, centre));
        Rigid { rotation: self.rotation, shift_mm }
    }
}

/// Sums over one bin.
#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    count: f64,
    value: f64,
    square: f64,
    slope: [f64; 6],
    slope_value: [f64; 6],
}

/// Sums over samples.
#[derive(Clone, Debug)]
struct Sums {
    bins: [Bin; BINS],
    slopes: [[f64; 6]; 6],
}

impl Sums {
    fn none() -> Self {
        Sums { bins: [Bin::default(); BINS], slopes: [[0.0; 6]; 6] }
    }

    fn add(&mut self, other: &Sums) {
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.count += more.count;
            bin.value += more.value;
            bin.square += more.square;
            for i in 0..6 {
                bin.slope[i] += more.slope[i];
                bin.slope_value[i] += more.slope_value[i];
            }
        }
        for (row, more) in self.slopes.iter_mut().zip(&other.slopes) {
            row.iter_mut().zip(more).for_each(|(part, more)| *part += more);
        }
    }
}

/// The normal equations at a pose, and its cost.
struct Equations {
    /// Symmetric; the lower triangle is filled.
    matrix: [[f64; 6]; 6],
    right: [f64; 6],
    cost: f64,
}

/// None where too little of the fixed image falls into the moving one.
fn equations(samples: &Samples, moving: &Level, pose: &Pose) -> Option<Equations> {
    let centre = moving.index(add(samples.centre, pose.shift)).map(|x| x as f32);
    let inverse = moving.inverse.map(|row| row.map(|x| x as f32));
    let rotation = pose.rotation.map(|row| row.map(|x| x as f32));
    let apply = |matrix: &[[f32; 3]; 3], v: [f32; 3]| -> [f32; 3] {
        std::array::from_fn(|i| matrix[i][0] * v[0] + matrix[i][1] * v[1] + matrix[i][2] * v[2])
    };
    let of_chunk = |chunk: &[Sample]| {
        let mut sums = Sums::none();
        for sample in chunk {
            let turned = apply(&rotation, sample.from_centre);
            let index = apply(&inverse, turned);
            let found = moving.linear([0, 1, 2].map(|i| index[i] + centre[i]));
            let Some((value, slope)) = found.filter(|(value, _)| value.is_finite()) else { continue };
            // From slopes along the grid's axes to slopes along LPS: the transposed inverse.
            let slope: Vector = std::array::from_fn(|j| (0..3).map(|i| f64::from(inverse[i][j] * slope[i])).sum());
            let [a, b, c] = cross(turned.map(f64::from), slope);
            let slope = [a, b, c, slope[0], slope[1], slope[2]];
            let value = f64::from(value);
            let Some(bin) = sums.bins.get_mut(usize::from(sample.bin)) else { continue };
            bin.count += 1.0;
            bin.value += value;
            bin.square += value * value;
            for i in 0..6 {
                bin.slope[i] += slope[i];
                bin.slope_value[i] += slope[i] * value;
                for j in 0..=i {
                    sums.slopes[i][j] += slope[i] * slope[j];
                }
            }
        }
        sums
    };
    let parts: Vec<Sums> = samples.samples.par_chunks(CHUNK).map(of_chunk).collect();
    let mut sums = Sums::none();
    parts.iter().for_each(|part| sums.add(part));

    let count: f64 = sums.bins.iter().map(|bin| bin.count).sum();
    let value: f64 = sums.bins.iter().map(|bin| bin.value).sum();
    let square: f64 = sums.bins.iter().map(|bin| bin.square).sum();
    let variance = square - value * value / count;
    if count < LEAST_INSIDE * samples.samples.len() as f64 || variance <= 1e-9 * square || !variance.is_finite() {
        return None;
    }
    let mut matrix = sums.slopes;
    let (mut right, mut unexplained) = ([0.0; 6], 0.0);
    for bin in sums.bins.iter().filter(|bin| bin.count > 0.0) {
        let mean = bin.value / bin.count;
        unexplained += bin.square - mean * bin.value;
        for i in 0..6 {
            right[i] -= bin.slope_value[i] - mean * bin.slope[i];
            for (part, slope) in matrix[i].iter_mut().zip(&bin.slope).take(i + 1) {
                *part -= bin.slope[i] * slope / bin.count;
            }
        }
    }
    Some(Equations { matrix, right, cost: unexplained / variance })
}

/// Fits a pose by at most `most` steps, until they get shorter than `enough` mm at a head's surface. With the cost;
/// none where too little overlaps.
pub(super) fn fit(samples: &Samples, moving: &Level, pose: Pose, most: usize, enough: f64) -> Option<(Pose, f64)> {
    let mut best = pose;
    let mut here = equations(samples, moving, &best)?;
    let mut damping = 1e-3;
    for _ in 0..most {
        let Some(step) = solve(&here, damping) else { break };
        let next = best.stepped(&step);
        match equations(samples, moving, &next).filter(|next| next.cost < here.cost) {
            Some(better) => {
                (best, here) = (next, better);
                damping = (damping * 0.2).max(1e-6);
            }
            None => damping *= 20.0,
        }
        let length = |part: &[f64]| part.iter().map(|x| x * x).sum::<f64>().sqrt();
        if 90.0 * length(&step[..3]) + length(&step[3..]) < enough || damping > 1e3 {
            break;
        }
    }
    Some((best, here.cost))
}

/// The damped step, by Cholesky's decomposition; none where the equations tell of no direction.
fn solve(Equations { matrix, right, .. }: &Equations, damping: f64) -> Option<[f64; 6]> {
    let mut lower = [[0.0; 6]; 6];
    for i in 0..6 {
        for j in 0..=i {
            let known: f64 = lower[i].iter().zip(&lower[j]).take(j).map(|(a, b)| a * b).sum();
            let sum = matrix[i][j] * if i == j { 1.0 + damping } else { 1.0 } - known;
            if i == j {
                if sum <= 1e-12 * matrix[i][i] || !sum.is_finite() {
                    return None;
                }
                lower[i][i] = sum.sqrt();
            } else {
                lower[i][j] = sum / lower[j][j];
            }
        }
    }
    let mut step = *right;
    for i in 0..6 {
        for k in 0..i {
            step[i] -= lower[i][k] * step[k];
        }
        step[i] /= lower[i][i];
    }
    for i in (0..6).rev() {
        for k in i + 1..6 {
            step[i] -= lower[k][i] * step[k];
        }
        step[i] /= lower[i][i];
    }
    Some(step)
}
