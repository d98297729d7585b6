//! Lesions of the cortex with known truth: where they lie, what they replace, and how large they really are.
//!
//! Types follow the histological classes of Bo et al. 2003 as MRI studies use them: leukocortical lesions straddle
//! the border to white matter, intracortical ones stay within the ribbon, subpial ones lie flat under the pia.

use ndarray::Array3;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::head::{Head, Ribbon};
use super::random::Draws;
use super::shape::{Point, along, dot, length};
use super::{Frame, PhantomError};

/// Where a lesion lies with respect to the cortex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LesionType {
    /// Across the border of cortex and white matter.
    Leukocortical,
    /// Within the cortex.
    Intracortical,
    /// Directly below the pial surface.
    Subpial,
}

impl std::fmt::Display for LesionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LesionType::Leukocortical => "leukocortical",
            LesionType::Intracortical => "intracortical",
            LesionType::Subpial => "subpial",
        })
    }
}

/// A lesion that was put into the phantom.
#[derive(Clone, Debug, PartialEq)]
pub struct TrueLesion {
    /// Its number in the truth label map, from 1.
    pub label: u16,
    /// Where it lies in the cortex.
    pub kind: LesionType,
    /// Centre of mass, LPS, mm.
    pub centre_mm: [f64; 3],
    /// Volume, mm3, with voxels of the border counted by their share.
    pub volume_mm3: f64,
    /// Voxels that are at least half lesion: those that carry the label.
    pub voxels: u64,
}

/// Smallest and largest volume, mm3.
pub(super) const VOLUMES: [f64; 2] = [5.0, 120.0];
/// Samples along each side of a voxel for its share of lesion.
const FINE: usize = 4;
/// Attempts for each lesion before the head is called full.
const ATTEMPTS: usize = 4000;

/// An ellipsoid of revolution about the local normal of the cortex.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    kind: LesionType,
    centre: Point,
    /// Towards greater depth.
    inwards: Point,
    /// Along the surface and along the normal, mm.
    radii: [f32; 2],
}

impl Seat {
    fn holds(&self, head: &dyn Head, p: Point) -> bool {
        let offset = along(p, -1.0, self.centre);
        let normal = dot(offset, self.inwards);
        let across = (dot(offset, offset) - normal * normal).max(0.0);
        if across / self.radii[0].powi(2) + (normal / self.radii[1]).powi(2) > 1.0 {
            return false;
        }
        head.ribbon(p).is_some_and(|Ribbon { depth, thickness }| match self.kind {
            LesionType::Leukocortical => depth > 0.25 * thickness,
            LesionType::Intracortical => depth > 0.1 * thickness && depth < thickness,
            LesionType::Subpial => depth > 0.0 && depth < 0.75 * thickness,
        })
    }

    fn reach(&self) -> f32 {
        self.radii[0].max(self.radii[1])
    }

    /// The same place, with `factor` times its radii.
    pub(super) fn grown(self, factor: f32) -> Self {
        Seat { radii: self.radii.map(|radius| radius * factor), ..self }
    }
}

/// What the lesions do to the grid.
pub(super) struct Placed {
    pub(super) lesions: Vec<TrueLesion>,
    /// Lesion numbers, axes (slice, row, column); 0 is none.
    pub(super) labels: Array3<u16>,
    /// Voxels (by number, ascending) that are part lesion, with the share.
    pub(super) shares: Vec<(usize, f32)>,
    /// Where the lesions lie in the head, by label.
    pub(super) seats: Vec<Seat>,
}

impl Placed {
    fn none(frame: &Frame) -> Self {
        let [columns, rows, slices] = frame.size;
        let labels = Array3::zeros((slices, rows, columns));
        Placed { lesions: Vec::new(), labels, shares: Vec::new(), seats: Vec::new() }
    }

    /// Adds what a lesion covers; false, and nothing added, where it shows too little to be one.
    fn add(&mut self, frame: &Frame, label: u16, seat: Seat, covered: &[([usize; 3], f32)]) -> bool {
        let [columns, rows, _] = frame.size;
        let voxel_mm3 = f64::from(frame.spacing.iter().product::<f32>());
        let total: f64 = covered.iter().map(|(_, share)| f64::from(*share)).sum();
        let voxels = covered.iter().filter(|(_, share)| *share >= 0.5).count() as u64;
        let volume_mm3 = total * voxel_mm3;
        if volume_mm3 < VOLUMES[0] || voxels < 3 {
            return false;
        }
        let mut sum = [0.0; 3];
        for ([x, y, z], share) in covered {
            let point = frame.grid.point([*x as f64, *y as f64, *z as f64]);
            (0..3).for_each(|i| sum[i] += point[i] * f64::from(*share));
            if *share >= 0.5 {
                self.labels[[*z, *y, *x]] = label;
            }
            self.shares.push(((z * rows + y) * columns + x, *share));
        }
        let centre_mm = sum.map(|s| s / total);
        self.lesions.push(TrueLesion { label, kind: seat.kind, centre_mm, volume_mm3, voxels });
        self.seats.push(seat);
        true
    }

    fn sorted(mut self) -> Self {
        self.shares.sort_by_key(|(number, _)| *number);
        self
    }
}

/// Puts lesions where they are known to lie, under these labels; one that the grid shows too little of is left out.
pub(super) fn put(head: &dyn Head, frame: &Frame, seats: &[(u16, Seat)]) -> Placed {
    let mut placed = Placed::none(frame);
    for (label, seat) in seats {
        if let Some(covered) = cover(head, frame, seat) {
            placed.add(frame, *label, *seat, &covered);
        }
    }
    placed.sorted()
}

/// Puts `count` lesions into the cortex, none touching another. The first lesions of a larger count are those of a
/// smaller one.
pub(super) fn place(head: &dyn Head, frame: &Frame, count: usize, seed: u64) -> Result<Placed, PhantomError> {
    let mut placed = Placed::none(frame);
    let mut draws = Draws::new(seed, "lesions");
    let gap = 3.0 * frame.spacing.iter().fold(0.0f32, |a, b| a.max(*b)) + 1.0;
    let mut kind = draw_kind(&mut draws);
    let mut attempts = count.saturating_mul(ATTEMPTS);
    while placed.lesions.len() < count {
        let found = placed.lesions.len();
        attempts = attempts.checked_sub(1).ok_or(PhantomError::NoRoom { placed: found, wanted: count })?;
        let Some(seat) = seat(head, kind, &mut draws) else { continue };
        let apart = |other: &Seat| length(along(seat.centre, -1.0, other.centre)) > seat.reach() + other.reach() + gap;
        if !placed.seats.iter().all(apart) {
            continue;
        }
        let Some(covered) = cover(head, frame, &seat) else { continue };
        let voxel_mm3 = f64::from(frame.spacing.iter().product::<f32>());
        let volume_mm3 = covered.iter().map(|(_, share)| f64::from(*share)).sum::<f64>() * voxel_mm3;
        if volume_mm3 > VOLUMES[1] || !placed.add(frame, found as u16 + 1, seat, &covered) {
            continue;
        }
        kind = draw_kind(&mut draws);
    }
    Ok(placed.sorted())
}

/// Leukocortical lesions are those most often seen in vivo.
fn draw_kind(draws: &mut Draws) -> LesionType {
    match draws.count(0, 9) {
        0..=4 => LesionType::Leukocortical,
        5..=6 => LesionType::Intracortical,
        _ => LesionType::Subpial,
    }
}

/// A candidate: a random point of the cortex, moved along the normal to the depth that its type asks for.
fn seat(head: &dyn Head, kind: LesionType, draws: &mut Draws) -> Option<Seat> {
    let extent = head.extent();
    let mut centre: Point = extent.map(|half| draws.between(-half, half));
    let radius = draws.between(1.2, 3.0);
    let flattening = draws.between(0.75, 1.0);
    let first = head.ribbon(centre)?;
    if first.thickness < 1.8 || first.depth < -1.0 || first.depth > 6.0 {
        return None;
    }
    let mut inwards = [0.0; 3];
    for _ in 0..4 {
        let here = head.ribbon(centre)?;
        let slope: Point = [
            head.ribbon(along(centre, 0.4, [1.0, 0.0, 0.0]))?.depth - here.depth,
            head.ribbon(along(centre, 0.4, [0.0, 1.0, 0.0]))?.depth - here.depth,
            head.ribbon(along(centre, 0.4, [0.0, 0.0, 1.0]))?.depth - here.depth,
        ];
        let steepness = length(slope);
        if steepness < 0.1 {
            return None;
        }
        inwards = slope.map(|s| s / steepness);
        centre = along(centre, wanted_depth(kind, &here) - here.depth, inwards);
    }
    let last = head.ribbon(centre)?;
    if (last.depth - wanted_depth(kind, &last)).abs() > 0.3 || last.thickness < 1.8 {
        return None;
    }
    let radii = match kind {
        LesionType::Leukocortical => [radius, radius * flattening],
        LesionType::Intracortical => [radius * 1.2, radius],
        LesionType::Subpial => [radius * 1.6, radius],
    };
    Some(Seat { kind, centre, inwards, radii })
}

fn wanted_depth(kind: LesionType, here: &Ribbon) -> f32 {
    here.thickness
        * match kind {
            LesionType::Leukocortical => 1.0,
            LesionType::Intracortical => 0.55,
            LesionType::Subpial => 0.3,
        }
}

/// The voxels (column, row, slice) that a lesion covers and their shares of it; none where it leaves the grid.
fn cover(head: &dyn Head, frame: &Frame, seat: &Seat) -> Option<Vec<([usize; 3], f32)>> {
    let middle = frame.index(seat.centre);
    let mut first = [0usize; 3];
    let mut last = [0usize; 3];
    for axis in 0..3 {
        let reach = seat.reach() / frame.spacing[axis] + 1.0;
        let (low, high) = ((middle[axis] - reach).floor(), (middle[axis] + reach).ceil());
        if low < 0.0 || high >= frame.size[axis] as f32 {
            return None;
        }
        first[axis] = low as usize;
        last[axis] = high as usize;
    }
    let inside = |index: [usize; 3]| {
        let mut count = 0;
        for sample in 0..FINE * FINE * FINE {
            let step = [sample % FINE, sample / FINE % FINE, sample / FINE / FINE];
            let at: Point = std::array::from_fn(|i| index[i] as f32 + (step[i] as f32 + 0.5) / FINE as f32 - 0.5);
            count += usize::from(seat.holds(head, frame.place(at)));
        }
        count as f32 / (FINE * FINE * FINE) as f32
    };
    let slabs: Vec<Vec<([usize; 3], f32)>> = (first[2]..=last[2])
        .into_par_iter()
        .map(|z| {
            (first[1]..=last[1])
                .flat_map(|y| (first[0]..=last[0]).map(move |x| [x, y, z]))
                .map(|index| (index, inside(index)))
                .filter(|(_, share)| *share > 0.0)
                .collect()
        })
        .collect();
    Some(slabs.into_iter().flatten().collect())
}
