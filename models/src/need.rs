//! How much memory a package's networks need at the least, as far as its plans and the sizes of its files tell. What a
//! device in fact takes is more: workspaces of its convolutions, and what its allocator keeps.

use std::fs;
use std::path::Path;

use sulcus_operators::digest::Digest;

use crate::device::Provider;
use crate::import::architecture::Architecture;
use crate::import::unet;
use crate::manifest::Manifest;
use crate::package::{LARGEST_PLANS, MANIFEST, PLANS, PackageError, digest, manifest_text, read};
use crate::plans::Plans;

/// What a package's networks need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The package's digest, as its manifest tells it.
    pub model: Digest,
    /// Weights of all folds, bytes.
    weights: u64,
    /// What one tile holds at once in a network, which the folds run one after the other, bytes.
    tile: u64,
}

impl Need {
    /// Reads what a package's folder says, without verifying its networks.
    ///
    /// # Errors
    /// Where manifest, plans or networks cannot be read.
    pub fn read(folder: &Path) -> Result<Need, PackageError> {
        let path = folder.join(MANIFEST);
        let text = manifest_text(&path)?;
        let manifest: Manifest =
            toml::from_str(&text).map_err(|error| PackageError::Manifest { path, reason: error.to_string() })?;
        let mut weights = 0;
        for name in manifest.networks() {
            let path = folder.join(name);
            weights += fs::metadata(&path).map_err(|source| PackageError::Read { path, source })?.len();
        }
        let path = folder.join(PLANS);
        let bytes = read(&path, LARGEST_PLANS)?;
        let plans = Plans::parse(&bytes, &manifest.configuration, manifest.channels.len())
            .map_err(|source| PackageError::Plans { path, source })?;
        let patch = plans.patch_size[usize::from(plans.planar)..].to_vec();
        let voxels: u64 = patch.iter().map(|side| *side as u64).product();
        let ports = unet::Ports { channels: manifest.channels.len(), classes: manifest.outputs(), patch };
        // Only plans of nnU-Net's say what the network is; of any other, input and output are known.
        let architecture = Plans::configuration(&bytes, &manifest.configuration)
            .ok()
            .and_then(|configuration| Architecture::parse(&configuration).ok());
        let tile = match architecture.map(|architecture| unet::cost(&architecture, &ports)) {
            Some(cost) => {
                let folds = manifest.networks().len().max(1) as u64;
                let is_half = weights / folds < 3 * cost.parameters;
                cost.held / if is_half { 2 } else { 1 }
            }
            None => 4 * (ports.channels + ports.classes) as u64 * voxels,
        };
        Ok(Need { model: digest(&text, &bytes), weights, tile })
    }

    /// Bytes that the package takes on a device at the least.
    pub fn on(self, provider: Provider) -> u64 {
        self.weights + self.tile * provider.batch() as u64
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(folder: &str) -> Need {
        Need::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap()
    }

    #[test]
    fn a_network_of_plans_needs_its_weights_and_what_its_finest_joint_reads_and_writes() {
        let need = of("demo");
        let size = fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/fold_0.onnx")).unwrap().len();
        assert_eq!(need.weights, size);
        let plans = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/plans.json")).unwrap();
        let plans: serde_json::Value = serde_json::from_slice(&plans).unwrap();
        let configuration = &plans["configurations"]["3d_fullres"];
        let sides = configuration["patch_size"].as_array().unwrap();
        let voxels: u64 = sides.iter().map(|side| side.as_u64().unwrap()).product();
        let features = configuration["architecture"]["arch_kwargs"]["features_per_stage"][0].as_u64().unwrap();
        // Both halves of the joint, and what is made of them; the demonstration's weights are in fp32.
        assert_eq!(need.tile, 4 * 3 * features * voxels);
        assert_eq!(need.on(Provider::Cuda(0)) - need.on(Provider::Cpu), 3 * need.tile, "a GPU runs four tiles at once");
    }

    #[test]
    fn of_a_network_that_plans_do_not_tell_of_the_tile_counts() {
        let need = of("../tests/blob-filter");
        assert_eq!(need.tile, 4 * 3 * 96 * 96 * 96);
    }

    #[test]
    fn what_is_no_package_has_no_need() {
        let nothing = tempfile::tempdir().unwrap();
        assert!(matches!(Need::read(nothing.path()), Err(PackageError::Read { .. })));
    }
}
