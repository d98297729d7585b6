//! The training embedding of a package: where the scans lie that its first network learned from, and how far another
//! scan is from them.
//!
//! Owns the file, and that only what a distance can be measured from is one. What a scan's features are (means of the
//! bottleneck's over its tiles) is `sliding`'s; the distance `spread`'s; what is said of it `operators::domain`'s.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `SULCUSEM` |
//! | 4 | version: 1 |
//! | 4, 4 | scans, features |
//! | 4 for each | features of the first scan, of the second, ...: f32 |
//!
//! All little-endian. No names: whose scans they were is nobody's business.

use sulcus_operators::rows::DomainDistance;
use thiserror::Error;

use crate::spread::{Spread, Unusable};

const MAGIC: &[u8; 8] = b"SULCUSEM";
const VERSION: u32 = 1;
const HEADER: usize = 20;
/// Fewer say nothing of how scans differ.
const FEWEST_SCANS: usize = 8;
const MOST_SCANS: usize = 4096;
const MOST_FEATURES: usize = 1024;

/// Why a training embedding is not used.
#[derive(Debug, Error, PartialEq)]
pub enum EmbeddingError {
    /// Other bytes.
    #[error("it is no training embedding of version {VERSION}; make it anew with `sulcus model embed`")]
    Foreign,
    /// Too few or too many of them.
    #[error(
        "it tells of {scans} scans with {features} features each, where {FEWEST_SCANS} to {MOST_SCANS} scans with 1 to \
         {MOST_FEATURES} are of use"
    )]
    Extent {
        /// Scans.
        scans: usize,
        /// Features of each.
        features: usize,
    },
    /// Bytes are missing, or too many.
    #[error("it has {found} bytes where {wanted} are needed; make it anew with `sulcus model embed`")]
    Length {
        /// Its bytes.
        found: usize,
        /// As many as its head says.
        wanted: usize,
    },
    /// Scans do not have equally many features.
    #[error("scan {scan} has {found} features where the first has {wanted}; all must come from one network")]
    Uneven {
        /// Which scan, from 0.
        scan: usize,
        /// Its features.
        found: usize,
        /// Those of the first.
        wanted: usize,
    },
    /// No number.
    #[error("feature {feature} of scan {scan} (from 0) is not finite; look at that scan and make it anew")]
    NotFinite {
        /// Which scan, from 0.
        scan: usize,
        /// Which feature, from 0.
        feature: usize,
    },
    /// Too many scans are equal for a distance to mean anything.
    #[error("half of its scans or more are alike, so nothing can be far from them; use scans that differ")]
    Alike,
    /// The covariance is not positive definite.
    #[error("its features depend on each other, so that their covariance has no inverse; use more scans that differ")]
    Singular,
}

/// Where the training scans lie.
#[derive(Clone, Debug)]
pub struct Embedding {
    features: usize,
    /// One row of features a scan.
    scans: Vec<Vec<f32>>,
    spread: Spread,
}

impl Embedding {
    /// Of the features of scans, which are kept as f32.
    pub fn of(scans: &[Vec<f64>]) -> Result<Self, EmbeddingError> {
        Self::new(scans.iter().map(|scan| scan.iter().map(|feature| *feature as f32).collect()).collect())
    }

    /// Reads the file of a package.
    pub fn parse(bytes: &[u8]) -> Result<Self, EmbeddingError> {
        let (head, rest) = bytes.split_at_checked(HEADER).ok_or(EmbeddingError::Foreign)?;
        let (magic, head) = head.split_at(MAGIC.len());
        let numbers = head.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>();
        let [VERSION, scans, features] = numbers[..] else { return Err(EmbeddingError::Foreign) };
        if magic != MAGIC {
            return Err(EmbeddingError::Foreign);
        }
        let (scans, features) = (scans as usize, features as usize);
        check_extent(scans, features)?;
        let wanted = HEADER + 4 * scans * features;
        if bytes.len() != wanted {
            return Err(EmbeddingError::Length { found: bytes.len(), wanted });
        }
        let values: Vec<f32> = rest.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Self::new(values.chunks(features).map(<[f32]>::to_vec).collect())
    }

    /// The file of a package.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = [VERSION, self.scans.len() as u32, self.features as u32];
        let head = MAGIC.iter().copied().chain(numbers.into_iter().flat_map(u32::to_le_bytes));
        head.chain(self.scans.iter().flatten().flat_map(|feature| feature.to_le_bytes())).collect()
    }

    fn new(scans: Vec<Vec<f32>>) -> Result<Self, EmbeddingError> {
        let features = scans.first().map_or(0, Vec::len);
        check_extent(scans.len(), features)?;
        for (at, scan) in scans.iter().enumerate() {
            if scan.len() != features {
                return Err(EmbeddingError::Uneven { scan: at, found: scan.len(), wanted: features });
            }
            if let Some(feature) = scan.iter().position(|feature| !feature.is_finite()) {
                return Err(EmbeddingError::NotFinite { scan: at, feature });
            }
        }
        let spread = Spread::of(&scans).map_err(|unusable| match unusable {
            Unusable::Alike => EmbeddingError::Alike,
            Unusable::Singular => EmbeddingError::Singular,
        })?;
        Ok(Embedding { features, scans, spread })
    }

    /// How many scans it is of.
    pub fn scans(&self) -> usize {
        self.scans.len()
    }

    /// How many features each scan has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// How far another scan is from these; none where it has other features, or they are not finite.
    pub fn distance(&self, features: &[f64]) -> Option<DomainDistance> {
        let distance = (features.len() == self.features).then(|| self.spread.distance(features))?;
        distance.is_finite().then(|| DomainDistance {
            distance_milli: (distance / self.spread.usual() * 1000.0).round() as u32,
            farther_than: self.spread.nearer(distance) as u32,
            scans: self.scans.len() as u32,
        })
    }
}

fn check_extent(scans: usize, features: usize) -> Result<(), EmbeddingError> {
    if (FEWEST_SCANS..=MOST_SCANS).contains(&scans) && (1..=MOST_FEATURES).contains(&features) {
        return Ok(());
    }
    Err(EmbeddingError::Extent { scans, features })
}

#[cfg(test)]
#[path = "embedding_tests.rs"]
mod tests;
