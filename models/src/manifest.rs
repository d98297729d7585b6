//! The manifest of a model package: what it declares, and that it does not contradict itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sulcus_operators::digest::Digest;

use crate::package::{DATASET, EMBEDDING, FORMAT, GOLDEN, MODEL, PLANS, PackageError};
use crate::reorient::{AxisCodes, AxisCodesError};

/// nnU-Net trains five.
const MOST_FOLDS: usize = 16;

/// What `manifest.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the package format: 1.
    pub format: u32,
    /// Name of the model, as reports give it.
    pub name: String,
    /// Version of the model.
    pub version: String,
    /// What it does, in a sentence or two.
    pub description: String,
    /// What kind of thing it is and where it comes from: how it was made, of what, by whom.
    pub provenance: String,
    /// The label that every result carries.
    pub research_use: String,
    /// Directions in which x, y and z grow in the arrays that the network sees, e.g. `LPS`.
    pub orientation: String,
    /// Which configuration of the plans the network belongs to, e.g. `3d_fullres`.
    pub configuration: String,
    /// Input channels, in order, e.g. `T1w`.
    pub channels: Vec<String>,
    /// Names of the labels, background first. The place is the value, or `regions_class_order` has it.
    pub labels: Vec<String>,
    /// nnU-Net's `regions_class_order`, where outputs are regions that may overlap: the value that each paints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions_class_order: Vec<u8>,
    /// The value that counts as a lesion.
    pub lesion_label: u8,
    /// Axes (0 is the first of the network's spatial axes) that may be mirrored at inference; nnU-Net's
    /// `inference_allowed_mirroring_axes`.
    pub mirror_axes: Vec<usize>,
    /// BLAKE3 digests of `plans.json` and of each network: `model.onnx`, or `fold_N.onnx` for each fold.
    pub files: BTreeMap<String, Digest>,
}

impl Manifest {
    /// Outputs of the network.
    pub fn outputs(&self) -> usize {
        self.labels.len() - usize::from(!self.regions_class_order.is_empty())
    }

    /// The output whose probability is that of a lesion.
    pub fn lesion_output(&self) -> usize {
        let painted = self.regions_class_order.iter().position(|value| *value == self.lesion_label);
        painted.unwrap_or(usize::from(self.lesion_label))
    }

    /// Checks that it does not contradict itself; gives the orientation.
    pub(crate) fn check(&self) -> Result<AxisCodes, String> {
        let manifest = self;
        if manifest.format != FORMAT {
            return Err(format!("format {} is not {FORMAT}; use a version of Sulcus that knows it", manifest.format));
        }
        let known = |name: &str| [PLANS, DATASET, GOLDEN, EMBEDDING].contains(&name) || fold(name).is_some();
        if let Some(name) = manifest.files.keys().find(|name| !known(name)) {
            return Err(format!(
                "it lists {name}, which is no part of a package; {PLANS}, {DATASET}, {MODEL}, fold_N.onnx, {GOLDEN} and \
                 {EMBEDDING} are"
            ));
        }
        let networks = manifest.networks();
        if networks.is_empty() || networks.len() > MOST_FOLDS || (networks.len() > 1 && networks.contains(&MODEL)) {
            return Err(format!(
                "give the digest of {MODEL}, or of 1 to {MOST_FOLDS} files fold_N.onnx, under [files]"
            ));
        }
        if manifest.channels.is_empty() || manifest.channels.len() > 16 {
            return Err("it names no input channel, or more than 16; list what the network reads".to_owned());
        }
        if !(2..=256).contains(&manifest.labels.len()) {
            return Err("labels must be background and 1 to 255 others".to_owned());
        }
        let painted = &manifest.regions_class_order;
        if !painted.is_empty() {
            if painted.len() + 1 != manifest.labels.len() || !painted.contains(&manifest.lesion_label) {
                return Err("regions_class_order must have one value a region, and lesion_label among them".to_owned());
            }
        } else if manifest.lesion_label == 0 || usize::from(manifest.lesion_label) >= manifest.labels.len() {
            let last = manifest.labels.len() - 1;
            return Err(format!("lesion_label {} is not a label; use 1 to {last}", manifest.lesion_label));
        }
        let mut axes = manifest.mirror_axes.clone();
        axes.sort_unstable();
        axes.dedup();
        if axes.len() != manifest.mirror_axes.len() || axes.iter().any(|axis| *axis > 2) {
            return Err("mirror_axes must be different axes among 0, 1 and 2".to_owned());
        }
        AxisCodes::parse(&manifest.orientation).map_err(|AxisCodesError(reason)| reason)
    }

    /// The file's text.
    pub(crate) fn text(&self) -> Result<String, PackageError> {
        let wrong =
            |error: toml::ser::Error| PackageError::Wrong { name: self.name.clone(), reason: error.to_string() };
        toml::to_string(self).map_err(wrong)
    }

    /// Files of the networks, in the order of folds.
    pub fn networks(&self) -> Vec<&str> {
        let mut names: Vec<(u32, &str)> =
            self.files.keys().filter_map(|name| Some((fold(name)?, name.as_str()))).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name).collect()
    }
}

/// The fold that a network's file is of; the only network counts as fold 0.
fn fold(name: &str) -> Option<u32> {
    if name == MODEL {
        return Some(0);
    }
    let digits = name.strip_prefix("fold_")?.strip_suffix(".onnx")?;
    // One spelling a fold.
    digits.parse().ok().filter(|fold: &u32| fold.to_string() == digits)
}
