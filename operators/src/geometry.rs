//! Where slices lie: projection on the normal, gaps, doubled positions, evenness, and the affine of a volume.
//!
//! Slices are ordered by their position along the normal (cross product of the row and column cosines, PS3.3
//! C.7.6.2.1.1), never by InstanceNumber. Rows are judged in integers, so that a verdict never depends on rounding.

use crate::header::Frame;
use crate::rows::FrameFacts;
use crate::volume::Grid;

/// Cosines may differ by this much, in millionths, and still be one orientation (0.006 degrees).
const ORIENTATION_TOLERANCE: i32 = 100;
/// The squared length of a cosine vector may differ from 1 by this much, in millionths: lengths are then right to 0.1 %.
/// Scanners write six digits, four are enough.
const LENGTH_TOLERANCE: i64 = 2_000;
/// The cosine of the angle between rows and columns may be this much, in millionths: a little less than a DICOM-SEG of
/// the grid may have (`results::seg`), so that rounding cannot pass here and fail there.
const ANGLE_TOLERANCE: i64 = 90;
/// Positions may be off by this much, micrometres, where 1 % of the step is less: DICOM writes them in decimals.
const POSITION_TOLERANCE_UM: i64 = 5;
/// Positions are written with few digits (Siemens XA: six), the nominal step is exact. Where both agree over the whole
/// volume to within this, mm, the nominal step is taken.
const NOMINAL_TOLERANCE: f64 = 1e-3;
/// Farther than a kilometre is taken as a kilometre, so that hostile positions cannot overflow.
const FARTHEST_UM: i64 = 1_000_000_000;

/// How even the slices of one stack are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evenness {
    /// Distance between slices along the normal, micrometres; 0 where there is only one position.
    pub step_um: i64,
    /// Slices missing inside, counted from the step.
    pub missing: u32,
    /// Positions that hold more than one frame.
    pub doubled: u32,
    /// True where the orientation of every frame that has one is two unit vectors at right angles.
    pub square: bool,
    /// True where all frames have a position and share a square orientation, matrix and spacing, and the steps are even.
    pub uniform: bool,
}

/// Judges the frames of one stack, each with its matrix (columns, rows).
pub fn line_up(frames: &[(&FrameFacts, [u32; 2])]) -> Evenness {
    let square = frames.iter().filter_map(|(frame, _)| frame.orientation).all(is_square);
    let nothing = Evenness { step_um: 0, missing: 0, doubled: 0, square, uniform: false };
    let mut placed: Vec<([i64; 3], [i32; 6])> =
        frames.iter().filter_map(|(frame, _)| Some((frame.position_um?, frame.orientation?))).collect();
    // The smallest row is the reference, whatever the order of arrival.
    placed.sort_unstable();
    let Some(&(_, reference)) = placed.first() else { return nothing };
    let Some(normal) = Normal::of(reference) else { return nothing };

    let parallel = placed
        .iter()
        .all(|(_, cosines)| cosines.iter().zip(reference).all(|(a, b)| a.abs_diff(b) <= ORIENTATION_TOLERANCE as u32));
    let alike = frames.windows(2).all(|pair| pair[0].1 == pair[1].1 && pair[0].0.spacing_um == pair[1].0.spacing_um)
        && frames.first().is_some_and(|(frame, _)| frame.spacing_um.is_some());
    let whole = placed.len() == frames.len();

    let mut along: Vec<i64> = placed.iter().map(|(position, _)| normal.project(*position)).collect();
    along.sort_unstable();
    let (places, doubled) = distinct(&along);
    let steps: Vec<i64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let Some(&smallest) = steps.iter().min() else {
        return Evenness { doubled, uniform: square && parallel && alike && whole, ..nothing };
    };
    // The smallest distance counts the slices between the ends; their number then gives the step more exactly.
    let slices_in = |distance: i64| ((distance + smallest / 2) / smallest).max(1);
    let count: i64 = steps.iter().map(|step| slices_in(*step)).sum();
    let extent = places.last().copied().unwrap_or(0) - places.first().copied().unwrap_or(0);
    let step_um = (extent + count / 2) / count;
    let tolerance = (step_um / 100).max(POSITION_TOLERANCE_UM);
    let even = steps.iter().all(|step| (step - slices_in(*step) * step_um).abs() <= tolerance * slices_in(*step));
    let missing = u32::try_from(count - steps.len() as i64).unwrap_or(u32::MAX);
    Evenness { step_um, missing, doubled, square, uniform: square && parallel && alike && whole && even }
}

/// Whether cosines, in millionths, are two unit vectors at right angles (PS3.3 C.7.6.2.1.1). Anything else would
/// stretch or skew every distance of the volume.
fn is_square(cosines: [i32; 6]) -> bool {
    let [a, b, c, d, e, f] = cosines.map(|cosine| i64::from(cosine.clamp(-2_000_000, 2_000_000)));
    let millionths = |product: i64| (product / 1_000_000).abs();
    let unit = |product: i64| millionths(product - 1_000_000_000_000) <= LENGTH_TOLERANCE;
    unit(a * a + b * b + c * c) && unit(d * d + e * e + f * f) && millionths(a * d + b * e + c * f) <= ANGLE_TOLERANCE
}

/// Places with anything closer than the tolerance taken as one, and how many of them hold more than one.
fn distinct(along: &[i64]) -> (Vec<i64>, u32) {
    let mut places: Vec<i64> = Vec::with_capacity(along.len());
    let mut doubled = 0;
    let mut counted = false;
    for &place in along {
        match places.last() {
            Some(last) if place - last <= POSITION_TOLERANCE_UM => {
                doubled += u32::from(!counted);
                counted = true;
            }
            _ => {
                places.push(place);
                counted = false;
            }
        }
    }
    (places, doubled)
}

/// The normal of a slice, unnormalised, with its length.
struct Normal {
    direction: [i128; 3],
    length: i128,
}

impl Normal {
    /// The cross product of the cosines; none where they are parallel or zero.
    fn of(cosines: [i32; 6]) -> Option<Self> {
        let [a, b, c, d, e, f] = cosines.map(|cosine| i128::from(cosine.clamp(-2_000_000, 2_000_000)));
        let direction = [b * f - c * e, c * d - a * f, a * e - b * d];
        let length = direction.iter().map(|part| part * part).sum::<i128>().isqrt();
        (length > 0).then_some(Normal { direction, length })
    }

    /// Distance of a point along the normal, micrometres, rounded.
    fn project(&self, point: [i64; 3]) -> i64 {
        let limited = point.map(|part| i128::from(part.clamp(-FARTHEST_UM, FARTHEST_UM)));
        let dot: i128 = limited.iter().zip(self.direction).map(|(part, along)| part * along).sum();
        ((dot + dot.signum() * self.length / 2) / self.length) as i64
    }
}

/// Distance, mm, of a position along the normal of its slice; none without geometry.
pub fn along_normal(frame: &Frame) -> Option<f64> {
    let (position, normal) = (frame.position?, normal(frame.orientation?)?);
    Some((0..3).map(|axis| position[axis] * normal[axis]).sum())
}

/// The unit normal: cross product of row and column cosines.
fn normal(cosines: [f64; 6]) -> Option<[f64; 3]> {
    let [a, b, c, d, e, f] = cosines;
    let cross = [b * f - c * e, c * d - a * f, a * e - b * d];
    let length = cross.iter().map(|part| part * part).sum::<f64>().sqrt();
    (length > 1e-6).then(|| cross.map(|part| part / length))
}

/// The grid of slices that are sorted along the normal and evenly spaced. The step between slices is taken from the
/// first and last positions, and its length from the header where that is only more exact; a single slice takes SpacingBetweenSlices or SliceThickness along the normal.
/// None where a frame lacks geometry or where slices are shifted against each other within their plane, by more than
/// a twentieth of the step or of a pixel, so that no single affine describes them.
pub fn grid(frames: &[&Frame], columns: usize, rows: usize) -> Option<Grid> {
    let (first, last) = (frames.first()?, frames.last()?);
    let (origin, cosines, spacing) = (first.position?, first.orientation?, first.spacing?);
    let normal = normal(cosines)?;
    let (origin, step) = match frames.len() {
        1 => (origin, normal.map(|part| part * first.slice_step.unwrap_or(0.0))),
        count => between(origin, last.position?, (count - 1) as f64, first.slice_step),
    };
    let length = step.iter().map(|part| part * part).sum::<f64>().sqrt();
    if !length.is_normal() || spacing.iter().any(|spacing| *spacing <= 0.0) {
        return None;
    }
    let tolerance = 0.05 * length.min(spacing[0]).min(spacing[1]);
    for (index, frame) in frames.iter().enumerate() {
        let position = frame.position?;
        let off = (0..3).map(|axis| (position[axis] - origin[axis] - step[axis] * index as f64).powi(2)).sum::<f64>();
        if off.sqrt() > tolerance {
            return None;
        }
    }
    let affine = std::array::from_fn(|row| match row {
        3 => [0.0, 0.0, 0.0, 1.0],
        axis => [cosines[axis] * spacing[1], cosines[axis + 3] * spacing[0], step[axis], origin[axis]],
    });
    Some(Grid { size: [columns, rows, frames.len()], affine })
}

/// Origin and step of slices from `start` to `end`, `steps` apart. Where the nominal step is taken, the volume stays
/// centred between the two, so that both ends share the rounding.
fn between(start: [f64; 3], end: [f64; 3], steps: f64, nominal: Option<f64>) -> ([f64; 3], [f64; 3]) {
    let step: [f64; 3] = std::array::from_fn(|axis| (end[axis] - start[axis]) / steps);
    let length = step.iter().map(|part| part * part).sum::<f64>().sqrt();
    match nominal {
        Some(nominal) if (nominal - length).abs() * steps <= NOMINAL_TOLERANCE && length > 0.0 => {
            let exact = step.map(|part| part * nominal / length);
            let origin = std::array::from_fn(|axis| (start[axis] + end[axis] - exact[axis] * steps) / 2.0);
            (origin, exact)
        }
        _ => (start, step),
    }
}
