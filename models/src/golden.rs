//! The self-test of a package: what its first network gave for a fixed tile when it was imported.
//!
//! Owns the tile and which logits are kept. Whether the network is the trained one is shown at import; this shows that
//! it still gives the same here, on this device.

use ndarray::Array5;
use thiserror::Error;

use crate::session::{Session, SessionError};

/// Most logits that are kept.
const KEPT: usize = 4096;
/// How far a logit may be off, as a share of the largest one: devices add up in other orders, fp16 rounds.
const TOLERANCE: f32 = 0.01;

/// Why a package does not pass.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// The network failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The package has no golden outputs.
    #[error("the package holds no golden outputs to compare with; only imported packages do")]
    None,
    /// The outputs differ.
    #[error(
        "logits differ by up to {found} where {allowed} is allowed; this device or this ONNX Runtime computes wrongly, \
         try `--device cpu` or another version"
    )]
    Differs {
        /// Largest difference.
        found: f32,
        /// What is allowed.
        allowed: f32,
    },
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Largest difference of a logit.
    pub difference: f32,
    /// Largest logit.
    pub largest: f32,
}

/// Logits of the fixed tile, as many as are kept, in little-endian f32.
pub fn golden(session: &mut Session) -> Result<Vec<u8>, SessionError> {
    Ok(kept(session)?.into_iter().flat_map(f32::to_le_bytes).collect())
}

/// Compares what the network gives now with what the package holds.
pub fn check(session: &mut Session) -> Result<Agreement, GoldenError> {
    let package = session.package().clone();
    let wanted = package.golden().ok_or(GoldenError::None)?;
    agreement(wanted, &kept(session)?)
}

/// Compares outputs with golden ones.
pub(crate) fn agreement(wanted: &[u8], found: &[f32]) -> Result<Agreement, GoldenError> {
    let wanted = wanted.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word));
    let largest = wanted.clone().fold(0.0f32, |largest, logit| largest.max(logit.abs()));
    let difference = if wanted.len() == found.len() {
        wanted
            .zip(found)
            .fold(0.0f32, |worst, (a, b)| if (a - b).is_finite() { worst.max((a - b).abs()) } else { f32::INFINITY })
    } else {
        f32::INFINITY
    };
    let allowed = TOLERANCE * largest.max(1.0);
    if difference <= allowed {
        Ok(Agreement { difference, largest })
    } else {
        Err(GoldenError::Differs { found: difference, allowed })
    }
}

fn kept(session: &mut Session) -> Result<Vec<f32>, SessionError> {
    let package = session.package().clone();
    let [z, y, x] = package.plans().patch_size;
    let tile = Array5::from_shape_simple_fn((1, package.manifest().channels.len(), z, y, x), noise());
    Ok(thinned(session.run(0, tile)?.logits.iter()))
}

/// Numbers from -1 to 1 that are far from smooth and the same everywhere (Numerical Recipes' generator).
pub(crate) fn noise() -> impl FnMut() -> f32 {
    let mut state = 1u32;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Of many numbers, evenly, as many as are kept.
pub(crate) fn thinned<'a>(numbers: impl ExactSizeIterator<Item = &'a f32>) -> Vec<f32> {
    let step = numbers.len().div_ceil(KEPT).max(1);
    numbers.copied().step_by(step).collect()
}
