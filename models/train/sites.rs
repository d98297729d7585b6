//! The simulated sites that the demonstration model learns from and is tested on.

use std::error::Error;
use std::path::Path;

use sulcus_operators::nifti_image;
use sulcus_operators::phantom::{Field, Orientation, Phantom, PhantomSpec, Sequence, Tracing};

/// A scanner with its protocol.
#[derive(Clone, Copy)]
pub struct Site {
    pub name: &'static str,
    pub field: Field,
    pub sequence: Sequence,
    /// Left-right, front-back, feet-head, mm.
    pub spacing_mm: [f64; 3],
    pub noise: f32,
    pub bias: f32,
}

/// The network sees heads from these.
pub const KNOWN: [Site; 4] = [
    Site {
        name: "3t-mp2rage",
        field: Field::T3,
        sequence: Sequence::Mp2rage,
        spacing_mm: [1.0, 1.0, 1.0],
        noise: 1.0,
        bias: 1.0,
    },
    Site {
        name: "3t-mprage",
        field: Field::T3,
        sequence: Sequence::Mprage,
        spacing_mm: [1.0, 0.9, 0.9],
        noise: 1.2,
        bias: 0.8,
    },
    Site {
        name: "7t-mp2rage",
        field: Field::T7,
        sequence: Sequence::Mp2rage,
        spacing_mm: [0.75, 0.75, 0.75],
        noise: 1.0,
        bias: 1.0,
    },
    Site {
        name: "7t-mprage",
        field: Field::T7,
        sequence: Sequence::Mprage,
        spacing_mm: [0.8, 0.8, 0.8],
        noise: 0.8,
        bias: 0.9,
    },
];

/// The network sees nothing of these: other resolutions, more noise, other bias.
pub const UNKNOWN: [Site; 2] = [
    Site {
        name: "3t-mprage-thick",
        field: Field::T3,
        sequence: Sequence::Mprage,
        spacing_mm: [0.9, 0.9, 1.4],
        noise: 2.0,
        bias: 1.5,
    },
    Site {
        name: "7t-mp2rage-fine",
        field: Field::T7,
        sequence: Sequence::Mp2rage,
        spacing_mm: [0.6, 0.6, 0.6],
        noise: 1.5,
        bias: 1.3,
    },
];

impl Site {
    /// A scan of head `seed`, axial in LPS order as models read it. Even seeds are drawn heads, odd ones traced.
    pub fn scan(&self, seed: u64, stripped: bool, tracing: &Tracing) -> Result<Phantom, Box<dyn Error>> {
        let extent = [160.0, 192.0, 160.0];
        let spec = PhantomSpec {
            spacing_mm: self.spacing_mm,
            size: std::array::from_fn(|axis| (extent[axis] / self.spacing_mm[axis]) as usize),
            orientation: Orientation::Axial,
            noise: self.noise,
            bias: self.bias,
            lesions: 4..=24,
            stripped,
            ..PhantomSpec::demo(self.field, self.sequence, seed)
        };
        Ok(if seed.is_multiple_of(2) { Phantom::generate(&spec)? } else { Phantom::trace(&spec, tracing)? })
    }
}

/// The template that heads are traced from: `ch2`, `ch2bet` and `aal` (Colin27) of Debian's `mricron-data`.
pub fn tracing(templates: &Path) -> Result<Tracing, Box<dyn Error>> {
    let read = |name: &str| nifti_image::read(&templates.join(format!("{name}.nii.gz")));
    let (head, brain, atlas) = (read("ch2")?, read("ch2bet")?, read("aal")?);
    if brain.grid != head.grid || atlas.grid != head.grid {
        return Err("ch2, ch2bet and aal lie on different grids; take them from one version of mricron-data".into());
    }
    Ok(Tracing::new(head.grid, head.voxels, &brain.voxels, &atlas.voxels)?)
}
