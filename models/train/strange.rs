//! Scans that the demonstration model was not trained for: heads of known sites made worse, and real ones.

use std::error::Error;
use std::path::Path;

use ndarray::{Axis, Zip};
use sulcus_operators::convert;
use sulcus_operators::part10;
use sulcus_operators::phantom::Tracing;
use sulcus_operators::volume::{Encoded, Volume};

use crate::sites::{KNOWN, Site};

/// What is wrong with a scan.
#[derive(Clone, Copy)]
pub enum Strange {
    /// Six times the noise.
    Noise,
    /// Slices of 5 mm.
    Thick,
    /// What is bright is dark.
    Inverted,
    /// Feet where the head should be.
    UpsideDown,
    /// Nothing but noise.
    Empty,
}

/// All of them, with their names.
pub const STRANGE: [(&str, Strange); 5] = [
    ("six times the noise", Strange::Noise),
    ("slices of 5 mm", Strange::Thick),
    ("contrast inverted", Strange::Inverted),
    ("upside down", Strange::UpsideDown),
    ("noise alone", Strange::Empty),
];

impl Strange {
    /// A scan of head `seed` at a known site, spoilt.
    pub fn scan(self, seed: u64, stripped: bool, tracing: &Tracing) -> Result<Volume, Box<dyn Error>> {
        let site = &KNOWN[seed as usize % KNOWN.len()];
        let [x, y, _] = site.spacing_mm;
        let changed = match self {
            Strange::Noise => Site { noise: 6.0 * site.noise, ..*site },
            Strange::Thick => Site { spacing_mm: [x, y, 5.0], ..*site },
            Strange::Inverted | Strange::UpsideDown | Strange::Empty => *site,
        };
        let phantom = changed.scan(seed, stripped, tracing)?;
        let mut scan = phantom.volume(phantom.images[0].voxels.clone());
        match self {
            Strange::Noise | Strange::Thick => {}
            Strange::Inverted => {
                let most = scan.voxels.iter().copied().fold(0.0, f32::max);
                scan.voxels.mapv_inplace(|voxel| if voxel == 0.0 { 0.0 } else { most - voxel });
            }
            Strange::UpsideDown => scan.voxels.invert_axis(Axis(0)),
            Strange::Empty => {
                // Numerical Recipes' generator.
                let mut state = seed as u32 | 1;
                Zip::from(&mut scan.voxels).for_each(|voxel| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *voxel = (state >> 8) as f32 / (1 << 16) as f32;
                });
            }
        }
        Ok(scan)
    }
}

/// The largest volume of a folder of DICOM files.
pub fn real(folder: &Path) -> Result<Volume, Box<dyn Error>> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            match entry?.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|end| end == "dcm") => files.push(std::fs::read(path)?),
                _ => {}
            }
        }
    }
    let parts = files.iter().map(|bytes| part10::split(bytes)).collect::<Result<Vec<_>, _>>()?;
    let instances: Vec<_> =
        parts.iter().map(|part| Encoded { transfer_syntax: &part.transfer_syntax, data_set: part.data_set }).collect();
    let volumes = convert::volumes(&instances)?;
    volumes.into_iter().max_by_key(|volume| volume.voxels.len()).ok_or_else(|| "the folder holds no volume".into())
}
