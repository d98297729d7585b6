//! Model packages: a folder with `manifest.toml`, `plans.json` and `model.onnx`, verified by digest.
//!
//! A model of several folds has one network a fold, `fold_0.onnx` and so on. Owns what a package declares and that its
//! bytes are what the manifest says; what the plans mean is in `plans`, and running the network in `session`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sulcus_operators::digest::Digest;
use thiserror::Error;

use crate::onnx::external;
use crate::plans::{Plans, PlansError};
use crate::reorient::{AxisCodes, AxisCodesError};

/// The version of the package format that is read and written here.
pub const FORMAT: u32 = 1;
/// Name of the manifest in a package.
pub const MANIFEST: &str = "manifest.toml";
/// Name of nnU-Net's plans in a package.
pub const PLANS: &str = "plans.json";
/// Name of nnU-Net's description of the data in a package, if there is one.
pub const DATASET: &str = "dataset.json";
/// Name of the network in a package.
pub const MODEL: &str = "model.onnx";

/// Name of the golden outputs in a package.
pub const GOLDEN: &str = "golden.bin";

/// nnU-Net trains five.
const MOST_FOLDS: usize = 16;
const LARGEST_MANIFEST: u64 = 64 << 10;
const LARGEST_PLANS: u64 = 4 << 20;
const LARGEST_GOLDEN: u64 = 1 << 20;
/// ONNX is one protobuf message, which ends at 2 GiB.
const LARGEST_MODEL: u64 = (2 << 30) - 1;

/// Why a package is not used.
#[derive(Debug, Error)]
pub enum PackageError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}; a model package is a folder with {MANIFEST}, {PLANS} and {MODEL}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is larger than any such file needs to be.
    #[error("{path} is larger than {limit} bytes; this is no file of a model package")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The manifest is not TOML, or not a manifest.
    #[error("cannot understand {path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// A file is not the one that the manifest was written for.
    #[error(
        "{path} is damaged or was changed: its BLAKE3 digest is {found}, the manifest says {wanted}; copy the package \
         again from where it came"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// The digest in the manifest.
        wanted: Digest,
    },
    /// The manifest contradicts itself or the plans.
    #[error("the manifest of {name} is wrong: {reason}")]
    Wrong {
        /// Name of the package.
        name: String,
        /// What is wrong, then what to do.
        reason: String,
    },
    /// The plans cannot be followed.
    #[error("cannot follow {path}: {source}")]
    Plans {
        /// The plans.
        path: PathBuf,
        /// Why.
        source: PlansError,
    },
}

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
        let known = |name: &str| [PLANS, DATASET, GOLDEN].contains(&name) || fold(name).is_some();
        if let Some(name) = manifest.files.keys().find(|name| !known(name)) {
            return Err(format!(
                "it lists {name}, which is no part of a package; {PLANS}, {DATASET}, {MODEL}, fold_N.onnx and {GOLDEN} \
                 are"
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

/// nnU-Net's own files, which its other programs want beside predictions.
#[derive(Clone, Debug)]
pub struct Described {
    /// `plans.json`.
    pub plans: Vec<u8>,
    /// `dataset.json`, where the package holds it.
    pub dataset: Option<Vec<u8>>,
}

/// A package whose every byte was verified.
#[derive(Clone, Debug)]
pub struct Package {
    folder: PathBuf,
    manifest: Manifest,
    plans: Plans,
    orientation: AxisCodes,
    networks: Vec<Vec<u8>>,
    golden: Option<Vec<u8>>,
    described: Described,
    digest: Digest,
}

impl Package {
    /// Reads a package and verifies it: sizes, digests, and that manifest and plans agree.
    pub fn open(folder: &Path) -> Result<Self, PackageError> {
        let manifest_path = folder.join(MANIFEST);
        let manifest_text = manifest_text(&manifest_path)?;
        let manifest: Manifest = toml::from_str(&manifest_text).map_err(|error| {
            let task = toml::from_str::<toml::Table>(&manifest_text).ok().and_then(|table| table.get("task").cloned());
            let reason = match task {
                Some(task) => format!("it is a package for {task}, and what finds lesions is wanted here"),
                None => error.to_string().trim_end().to_owned(),
            };
            PackageError::Manifest { path: manifest_path, reason }
        })?;
        let verified = |name: &str| verified(folder, &manifest.name, &manifest.files, name);
        let plans_bytes = verified(PLANS)?;
        let networks = manifest.networks().into_iter().map(verified).collect::<Result<Vec<_>, _>>()?;
        let optional = |name: &str| manifest.files.contains_key(name).then(|| verified(name)).transpose();
        let (golden, dataset) = (optional(GOLDEN)?, optional(DATASET)?);
        let plans = Plans::parse(&plans_bytes, &manifest.configuration, manifest.channels.len())
            .map_err(|source| PackageError::Plans { path: folder.join(PLANS), source })?;
        let orientation =
            manifest.check().map_err(|reason| PackageError::Wrong { name: manifest.name.clone(), reason })?;
        // The manifest holds the digests of all the rest.
        let parts = [manifest_text.as_bytes(), plans_bytes.as_slice()];
        let digest = Digest::of_parts("model package", parts);
        Ok(Package {
            folder: folder.to_owned(),
            manifest,
            plans,
            orientation,
            networks,
            golden,
            described: Described { plans: plans_bytes, dataset },
            digest,
        })
    }

    /// The same with only some of its networks, by their place; all where none is named.
    ///
    /// # Errors
    /// The place that it does not have.
    pub fn with_folds(mut self, folds: &[usize]) -> Result<Self, String> {
        let count = self.networks.len();
        if let Some(fold) = folds.iter().find(|fold| **fold >= count) {
            return Err(format!("{} has {count} folds, and no fold {fold}", self.manifest.name));
        }
        let mut place = 0..;
        self.networks.retain(|_| folds.is_empty() || place.next().is_some_and(|place| folds.contains(&place)));
        Ok(self)
    }

    /// The folder it was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How nnU-Net prepares images for this network.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// The orientation that the network sees.
    pub fn orientation(&self) -> AxisCodes {
        self.orientation
    }

    /// The networks, one a fold: ONNX models.
    pub fn networks(&self) -> &[Vec<u8>] {
        &self.networks
    }

    /// nnU-Net's own files that tell how the network was trained.
    pub fn described(&self) -> &Described {
        &self.described
    }

    /// What the first network gave for a fixed tile, if the package holds it (see `golden`).
    pub fn golden(&self) -> Option<&[u8]> {
        self.golden.as_deref()
    }

    /// Digest over manifest, plans and network: what a run's key and `RunOrder::model` hold.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A file of a package, once it has the digest of the manifest.
pub(crate) fn verified(
    folder: &Path,
    model: &str,
    files: &BTreeMap<String, Digest>,
    name: &str,
) -> Result<Vec<u8>, PackageError> {
    let path = folder.join(name);
    let wanted = files.get(name).copied().ok_or_else(|| PackageError::Wrong {
        name: model.to_owned(),
        reason: format!("it gives no digest of {name}; add one under [files]"),
    })?;
    let limit = match name {
        PLANS | DATASET => LARGEST_PLANS,
        GOLDEN => LARGEST_GOLDEN,
        _ => LARGEST_MODEL,
    };
    let bytes = read(&path, limit)?;
    let found = Digest::of(&bytes);
    if found != wanted {
        return Err(PackageError::Changed { path, found, wanted });
    }
    if limit == LARGEST_MODEL && external(&bytes) {
        let reason = format!("{name} keeps weights in other files, which no digest covers; save it as one file");
        return Err(PackageError::Wrong { name: model.to_owned(), reason });
    }
    Ok(bytes)
}

/// The text of a manifest.
pub(crate) fn manifest_text(path: &Path) -> Result<String, PackageError> {
    let wrong = |error| {
        let reason = format!("{error}; a manifest is UTF-8 text");
        PackageError::Manifest { path: path.to_owned(), reason }
    };
    String::from_utf8(read(path, LARGEST_MANIFEST)?).map_err(wrong)
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, PackageError> {
    let failed = |source| PackageError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > limit {
        return Err(PackageError::TooLarge { path: path.to_owned(), limit });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // One byte beyond the limit shows a file that grew since.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(PackageError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "package_tests.rs"]
mod tests;
