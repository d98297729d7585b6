//! The head that is scanned: which tissues lie at a point, and how deep it is below the pial surface.
//!
//! The cortex is folded by clefts. A random field of plane waves is read where the point projects on the smooth hull
//! of its hemisphere; the field's zero lines are the sulci, which therefore run straight inwards. The distance to the
//! nearer of hull and cleft is the depth below the pial surface, and the ribbon is what is shallower than the local
//! thickness, so it follows every fold at an even width. Lesions and signal are not known here.

use super::head::{Content, Head, Ribbon, TISSUES, Tissue};
use super::random::Draws;
use super::shape::{Depth, Point, along, both, dot, either, ellipsoid, length, rod, share_inside};

/// Plane waves of the folding field.
const WAVES: usize = 16;
/// Sulci reach no deeper than this below the hull, mm.
const DEEPEST_SULCUS: f32 = 19.0;

/// One head, drawn from a seed.
#[derive(Clone, Debug)]
pub(super) struct Anatomy {
    /// Wave vectors by axis, cycles per mm, and phases, cycles.
    waves: [[f32; WAVES]; 3],
    phases: [f32; WAVES],
    /// Phases of the slow changes of thickness, sulcal depth, skull and midline.
    slow: [f32; 8],
    /// Half axes of the cerebrum, mm.
    cerebrum: Point,
}

impl Anatomy {
    pub(super) fn new(seed: u64) -> Self {
        let mut draws = Draws::new(seed, "anatomy");
        let mut waves = [[0.0; WAVES]; 3];
        let mut phases = [0.0; WAVES];
        for wave in 0..WAVES {
            let direction = draws.direction();
            let cycles_per_mm = 1.0 / draws.between(23.0, 36.0);
            for axis in 0..3 {
                waves[axis][wave] = direction[axis] * cycles_per_mm;
            }
            phases[wave] = draws.between(0.0, 1.0);
        }
        let slow = std::array::from_fn(|_| draws.between(0.0, 1.0));
        let cerebrum = [draws.between(64.0, 67.0), draws.between(79.0, 84.0), draws.between(59.0, 62.0)];
        Anatomy { waves, phases, slow, cerebrum }
    }

    /// Depth below the smooth hull of the cerebrum.
    fn hull(&self, p: Point) -> Depth {
        // Narrower in front, and cut off below, lowest at the temporal poles.
        let widened = [p[0] / (1.0 + 0.0014 * p[1]), p[1], p[2]];
        let egg = ellipsoid(widened, [0.0; 3], self.cerebrum);
        let rise = 0.0045 * (p[1] + 12.0);
        let floor = Depth { mm: p[2] + 37.0 - 0.5 * rise * (p[1] + 12.0) - 0.02 * p[0].abs(), out: [0.0, rise, -1.0] };
        both(egg, floor, 16.0)
    }

    /// Depth below the smooth surface of a hemisphere, with the fissure between the two and the Sylvian fissure, and
    /// how deep the point is in the core (callosum, basal ganglia), which has no cortex.
    fn hemisphere(&self, p: Point, hull: Depth) -> (Depth, f32) {
        let core = ellipsoid(p, [0.0, 4.0, -6.0], [27.0, 44.0, 30.0]).mm;
        let x = p[0] + 1.5 * wave(p[1] / 60.0 + self.slow[0]);
        let mid = length([x, core.max(0.0), 0.0]);
        let middle = Depth { mm: mid - 0.9, out: [-x.signum(), 0.0, 0.0] };
        let sheet = p[2] + 9.0 - 0.35 * (p[1] + 8.0) - 2.5 * wave(p[1] / 40.0 + self.slow[1]);
        let past = length([sheet * 0.94, (34.0 - p[0].abs()).max(0.0), ((p[1] + 2.0).abs() - 38.0).max(0.0)]);
        let sylvian = Depth { mm: past - 1.0, out: [0.0, 0.33 * sheet.signum(), -0.94 * sheet.signum()] };
        (both(both(hull, middle, 9.0), sylvian, 7.0), core)
    }

    /// Distance from the middle of the nearest sulcus, mm, were it deep enough, for a point that projects on `q`.
    fn sulcus(&self, q: Point, out: Point) -> f32 {
        let [kx, ky, kz] = &self.waves;
        let mut value = 0.0;
        let mut slope = [0.0f32; 3];
        for i in 0..WAVES {
            let turns = kx[i] * q[0] + ky[i] * q[1] + kz[i] * q[2] + self.phases[i];
            let sine = wave(turns);
            value += wave(turns + 0.25);
            slope[0] += kx[i] * sine;
            slope[1] += ky[i] * sine;
            slope[2] += kz[i] * sine;
        }
        let slope = slope.map(|s| s * std::f32::consts::TAU);
        let tangential = along(slope, -dot(slope, out), out);
        // The floor on the slope keeps a cleft open where the field has a saddle.
        value.abs() / (dot(tangential, tangential) + 0.08).sqrt()
    }

    fn fold(&self, p: Point, hull: Depth) -> Ribbon {
        let (smooth, core) = self.hemisphere(p, hull);
        let base = 2.7 + 0.45 * wave(p[0] / 47.0 + p[2] / 61.0 + self.slow[2]) + 0.3 * wave(p[1] / 38.0 + self.slow[3]);
        let thickness = base * ((2.0 - core) / 4.0).clamp(0.0, 1.0);
        if smooth.mm > DEEPEST_SULCUS + 5.0 || smooth.mm < -2.0 {
            return Ribbon { depth: smooth.mm, thickness };
        }
        let mut q = along(p, smooth.mm, smooth.out);
        // Walls bend with depth, and the hemispheres are folded differently.
        q[0] += 2.2 * wave(p[2] / 31.0 + self.slow[4]) + if p[0] > 0.0 { 117.0 } else { 0.0 };
        q[1] += 2.2 * wave(p[0] / 29.0 + self.slow[5]);
        q[2] += 2.2 * wave(p[1] / 33.0 + self.slow[6]);
        let reach = 13.5 + 3.5 * wave(q[1] / 42.0 + self.slow[7]) + 2.0 * wave(q[2] / 35.0 + q[0] / 50.0);
        // Where two surfaces face each other the projection jumps, and no sulcus may reach; nor into the core.
        let steady = ((length(smooth.out) - 0.55) / 0.3).clamp(0.0, 1.0);
        let reach = reach * steady * ((2.0 - core) / 4.0).clamp(0.0, 1.0);
        let below = (smooth.mm - reach).max(0.0);
        let half_width = 0.55 + 0.12 * (5.0 - smooth.mm).clamp(0.0, 5.0);
        let cleft = length([self.sulcus(q, smooth.out), below, 0.0]) - half_width;
        let cleft = Depth { mm: cleft.max(-half_width), out: [0.0; 3] };
        Ribbon { depth: both(smooth, cleft, 2.5).mm, thickness }
    }
}

impl Head for Anatomy {
    fn extent(&self) -> Point {
        self.cerebrum
    }

    fn ribbon(&self, p: Point) -> Option<Ribbon> {
        let hull = self.hull(p);
        let inside = hull.mm > 0.0 && cerebellum(p).mm < -1.0 && brainstem(p) < -1.0;
        inside.then(|| self.fold(p, hull))
    }

    fn content(&self, p: Point, voxel: f32) -> Content {
        let mut shares = [0.0; TISSUES];
        shares[Tissue::Air as usize] = 1.0;
        let head = ellipsoid(p, [0.0, 1.0, -22.0], [79.5, 96.0, 99.0]).mm;
        if head < -voxel {
            return Content { shares, brain: false };
        }
        let mut fill = |tissue: Tissue, depth: f32| {
            let share = share_inside(depth, voxel);
            if share > 0.0 {
                shares.iter_mut().for_each(|other| *other *= 1.0 - share);
                shares[tissue as usize] += share;
            }
        };
        let scalp = 5.0 + wave(p[1] / 70.0 + self.slow[1]);
        fill(Tissue::Muscle, head);
        fill(Tissue::Fat, head - 1.2);
        fill(Tissue::Muscle, head - scalp);

        let hull = self.hull(p);
        let small = cerebellum(p);
        let stem = brainstem(p);
        let posterior = either(small, Depth { mm: stem, out: small.out }, 6.0);
        let brain = either(hull, posterior, 8.0);
        let space = brain.grown(2.2 + 0.8 * wave(p[0] / 55.0 + self.slow[6]));
        fill(Tissue::Bone, space.mm + 6.0 + 1.2 * wave(p[2] / 50.0 + self.slow[5]));
        fill(Tissue::Csf, space.mm);
        if brain.mm < -2.0 {
            return Content { shares, brain: false };
        }

        if hull.mm > -2.0 {
            let ribbon = self.fold(p, hull);
            fill(Tissue::Grey, ribbon.depth);
            fill(Tissue::White, ribbon.depth - ribbon.thickness);
        }
        // The tentorium parts the cerebrum from what lies below it.
        fill(Tissue::Csf, small.mm + 1.6);
        fill(Tissue::Grey, small.mm);
        fill(Tissue::White, small.mm - folia(p, small.mm));
        fill(Tissue::White, stem);
        if hull.mm > 8.0 {
            let side = [p[0].abs(), p[1], p[2]];
            fill(Tissue::DeepGrey, ellipsoid(side, [11.0, 14.0, 0.0], [8.5, 14.0, 8.5]).mm);
            fill(Tissue::DeepGrey, ellipsoid(side, [14.5, -14.0, 8.0], [4.5, 13.0, 8.0]).mm);
            fill(Tissue::DeepGrey, ellipsoid(side, [25.5, -1.0, -2.0], [5.0, 16.0, 9.0]).mm);
            let bowed = [p[0].abs() - 0.0055 * p[1] * p[1], p[1], p[2] + 0.004 * p[1] * p[1]];
            fill(Tissue::Csf, ellipsoid(bowed, [6.5, 2.0, 13.5], [5.0, 36.0, 6.0]).mm);
            fill(Tissue::Csf, ellipsoid(p, [0.0, 8.0, -6.0], [1.8, 12.0, 9.0]).mm);
        }
        Content { shares, brain: brain.mm > -1.0 }
    }
}

/// The cerebellum: two lobes behind and below.
fn cerebellum(p: Point) -> Depth {
    ellipsoid([(p[0].abs() - 17.0).max(0.0), p[1], p[2]], [0.0, 48.0, -43.0], [29.0, 27.0, 19.0])
}

/// Thickness of the cerebellar grey matter: thin leaves around branches of white matter.
fn folia(p: Point, depth: f32) -> f32 {
    let leaves = wave(length([0.4 * p[0], p[1] - 24.0, p[2] + 46.0]) / 5.5);
    let branch = wave(p[2] / 19.0 + p[1] / 45.0 + 0.1 * p[0].abs() / 10.0);
    (7.5 + 3.0 * leaves + 4.0 * branch).clamp(1.5, depth.abs() + 9.0)
}

/// Depth in the brainstem, mm.
fn brainstem(p: Point) -> f32 {
    let widened = [p[0] * 0.8, p[1], p[2]];
    rod(widened, [0.0, 14.0, -14.0], [0.0, 24.0, -120.0], [12.0, 7.0]).max(rod(
        widened,
        [0.0, 8.0, -32.0],
        [0.0, 12.0, -46.0],
        [12.0, 12.0],
    ))
}

/// The sine of an angle in turns, to 0.001: two parabolas and a correction, without a branch, so that a loop over
/// waves is vectorised.
fn wave(turns: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let t = turns - ((turns + ROUND) - ROUND);
    let y = 8.0 * t - 16.0 * t * t.abs();
    y + 0.225 * (y * y.abs() - y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_sine_is_a_sine() {
        for i in -500..500 {
            let turns = i as f32 / 77.0;
            assert!((wave(turns) - (turns * std::f32::consts::TAU).sin()).abs() < 2e-3, "{turns}");
        }
    }

    #[test]
    fn the_shares_of_a_voxel_add_up_to_one() {
        let anatomy = Anatomy::new(3);
        for i in 0..20_000u64 {
            let mut draws = Draws::new(i, "points");
            let p = [draws.between(-90.0, 90.0), draws.between(-100.0, 100.0), draws.between(-90.0, 90.0)];
            let sum: f32 = anatomy.content(p, 1.0).shares.iter().sum();
            assert!((sum - 1.0).abs() < 1e-4, "{p:?}: {sum}");
        }
    }

    #[test]
    fn the_cortex_away_from_the_core_is_two_to_three_and_a_half_millimetres_thick() {
        let anatomy = Anatomy::new(3);
        for i in 0..20_000u64 {
            let mut draws = Draws::new(i, "points");
            let p = [draws.between(40.0, 64.0), draws.between(-80.0, 80.0), draws.between(0.0, 60.0)];
            if let Some(ribbon) = anatomy.ribbon(p) {
                assert!((1.9..=3.5).contains(&ribbon.thickness), "{p:?}: {ribbon:?}");
            }
        }
    }
}
