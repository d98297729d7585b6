//! Rigid alignment of two scans of one head: where a point of the one lies in the other, in patient space (LPS).
//!
//! `air` takes away noise that looks like tissue, `fit` says what is minimised, `likeness` how well the result is
//! believed; here is the search around them, from coarse
//! to fine: at 8 mm from many starts, at 4 mm from the best few, at 2 mm from the best. The same volumes give the same
//! motion, whatever the number of threads. Which scans are of one patient is for the caller to know; a scan of another
//! head, or one that cannot be aligned, is told by its low similarity.

mod air;
mod fit;
mod level;
mod likeness;
mod rigid;
mod row;

use crate::volume::Volume;
use air::{range, without_noise};
use fit::{Pose, Samples, fit};
use level::Level;
use likeness::{Alike, likeness};
pub use rigid::{Rigid, RigidRow};
use rigid::{UNIT, less, rotation};
pub use row::Alignment;

/// Sides of the blocks of the three resolutions, mm.
const COARSE: f64 = 8.0;
const MIDDLE: f64 = 4.0;
const FINE: f64 = 2.0;
/// Samples of the coarse, middle and fine fit.
const SAMPLES: [usize; 3] = [12_000, 40_000, 150_000];
/// How far the starts are turned, degrees.
const TURNED: f64 = 14.0;
/// How many of the coarse fits go on.
const GO_ON: usize = 4;

/// Squared local correlation from which on a place counts in the last fit.
const CORRESPONDS: f64 = 0.5;

/// Mean squared local correlation, per mille, from which on two scans count as aligned.
pub const LEAST_SIMILARITY: u32 = 400;
/// Share of the structure that both scans must show, per mille.
pub const LEAST_OVERLAP: u32 = 400;

/// How two scans lie to each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aligned {
    /// Takes a point of the new scan's patient space to the earlier scan's.
    pub motion: Rigid,
    /// Mean squared local correlation where both show structure, per mille.
    pub similarity_permille: u32,
    /// Share of the new scan's structure that lies in the earlier scan, per mille.
    pub overlap_permille: u32,
}

/// Why two scans are not aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAligned {
    /// A scan has too few voxels, or none that differ.
    #[error("a scan shows too little to be aligned")]
    Empty,
    /// The best motion does not make them alike.
    #[error(
        "the scans could not be aligned (similarity {similarity_permille} per mille, overlap {overlap_permille} per mille)"
    )]
    Unlike {
        /// See [`Aligned::similarity_permille`].
        similarity_permille: u32,
        /// See [`Aligned::overlap_permille`].
        overlap_permille: u32,
    },
}

/// Aligns a new scan with an earlier one.
///
/// # Errors
/// [`NotAligned`] where a wrong match would be worse than none.
pub fn align(new: &Volume, earlier: &Volume) -> Result<Aligned, NotAligned> {
    let aligned = best(new, earlier).ok_or(NotAligned::Empty)?;
    let Aligned { similarity_permille, overlap_permille, .. } = aligned;
    if similarity_permille < LEAST_SIMILARITY || overlap_permille < LEAST_OVERLAP {
        return Err(NotAligned::Unlike { similarity_permille, overlap_permille });
    }
    Ok(aligned)
}

/// The best motion, whatever it is worth.
fn best(new: &Volume, earlier: &Volume) -> Option<Aligned> {
    let voxels = [without_noise(new), without_noise(earlier)];
    let levels = |mm, dark: [f32; 2]| {
        Some([Level::new(new, &voxels[0], mm, dark[0])?, Level::new(earlier, &voxels[1], mm, dark[1])?])
    };
    // Seen from afar, noise is air, which is dark in other images; at the end it is left out.
    let dark = voxels.each_ref().map(|voxels| range(voxels)[0]);
    let levels = [levels(COARSE, dark)?, levels(MIDDLE, dark)?, levels(FINE, [f32::NAN; 2])?];
    let motion = search(&levels)?;
    let [_, _, [fixed, moving]] = &levels;
    let seen = likeness(fixed, moving, &motion);
    let permille = |share: f64| (share * 1000.0).round().clamp(0.0, 1000.0) as u32;
    Some(Aligned { motion, similarity_permille: permille(seen.similarity), overlap_permille: permille(seen.overlap) })
}

/// The motion that explains the second scans best by the first ones, coarse to fine.
fn search(levels: &[[Level; 2]; 3]) -> Option<Rigid> {
    let [[coarse, coarse_moving], [middle, middle_moving], [fine, fine_moving]] = levels;
    let centre = coarse.centre();
    let samples = Samples::of(coarse, centre, SAMPLES[0], |_| true);
    let starts = starts(coarse, coarse_moving).into_iter();
    let mut fits: Vec<(Pose, f64)> = starts.filter_map(|start| fit(&samples, coarse_moving, start, 12, 0.5)).collect();
    fits.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let samples = Samples::of(middle, centre, SAMPLES[1], |_| true);
    let best = distinct(fits)
        .into_iter()
        .filter_map(|start| fit(&samples, middle_moving, start, 20, 0.1))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))?
        .0;
    let samples = Samples::of(fine, centre, SAMPLES[2], |_| true);
    let (best, _) = fit(&samples, fine_moving, best, 30, 0.01)?;
    // What does not correspond (jaw and neck, bone that is noise in one image, other tissue) pulls no longer.
    let alike = Alike::new(fine, fine_moving, &best.rigid(centre), CORRESPONDS);
    let samples = Samples::of(fine, centre, SAMPLES[2], |voxel| alike.holds(voxel));
    let best = fit(&samples, fine_moving, best, 30, 0.01).map_or(best, |(better, _)| better);
    Some(best.rigid(centre))
}

/// As the scanner has it and centre on centre; unturned, and turned about one axis or two.
fn starts(fixed: &Level, moving: &Level) -> Vec<Pose> {
    let shifts = [[0.0; 3], less(moving.centre(), fixed.centre())];
    let turned = TURNED.to_radians();
    let mut starts = Vec::new();
    for shift in shifts {
        for number in 0..27 {
            let about = [number % 3, number / 3 % 3, number / 9].map(|part| f64::from(part) - 1.0);
            if about.iter().filter(|part| **part != 0.0).count() < 3 {
                let rotation = if about == [0.0; 3] { UNIT } else { rotation(about.map(|part| part * turned)) };
                starts.push(Pose { rotation, shift });
            }
        }
    }
    starts
}

/// The best few that lie apart.
fn distinct(sorted: Vec<(Pose, f64)>) -> Vec<Pose> {
    let mut kept: Vec<Pose> = Vec::new();
    for (pose, _) in sorted {
        let near = |other: &Pose| {
            let turned: f64 =
                pose.rotation.iter().flatten().zip(other.rotation.iter().flatten()).map(|(a, b)| (a - b).powi(2)).sum();
            let moved: f64 = less(pose.shift, other.shift).iter().map(|mm| mm * mm).sum();
            turned.sqrt() < 0.05 && moved.sqrt() < 3.0
        };
        if kept.len() < GO_ON && !kept.iter().any(near) {
            kept.push(pose);
        }
    }
    kept
}

#[cfg(test)]
mod tests;
