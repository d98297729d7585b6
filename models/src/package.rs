//! Model packages: a folder with `manifest.toml`, `plans.json` and `model.onnx`, verified by digest.
//!
//! A model of several folds has one network a fold, `fold_0.onnx` and so on. Owns what a package declares and that its
//! bytes are what the manifest says; what the plans mean is in `plans`, and running the network in `session`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sulcus_operators::digest::Digest;
use thiserror::Error;

use crate::embedding::{Embedding, EmbeddingError};
pub use crate::manifest::Manifest;
use crate::onnx::external;
use crate::plans::{Plans, PlansError};
use crate::reorient::AxisCodes;

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
/// Name of the training embedding in a package.
pub const EMBEDDING: &str = "embedding.bin";

const LARGEST_MANIFEST: u64 = 64 << 10;
pub(crate) const LARGEST_PLANS: u64 = 4 << 20;
const LARGEST_GOLDEN: u64 = 1 << 20;
/// 4,096 scans of 1,024 features.
const LARGEST_EMBEDDING: u64 = (16 << 20) + 64;
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
    /// The training embedding cannot be used.
    #[error("cannot use {path}: {source}")]
    Embedding {
        /// The file.
        path: PathBuf,
        /// Why.
        source: EmbeddingError,
    },
    /// A file of the package could not be written.
    #[error("cannot write {path}: {reason}; check the folder and the free space")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
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
    embedding: Option<Embedding>,
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
        let embedding = optional(EMBEDDING)?.map(|bytes| Embedding::parse(&bytes)).transpose();
        let embedding = embedding.map_err(|source| PackageError::Embedding { path: folder.join(EMBEDDING), source })?;
        let plans = Plans::parse(&plans_bytes, &manifest.configuration, manifest.channels.len())
            .map_err(|source| PackageError::Plans { path: folder.join(PLANS), source })?;
        let orientation =
            manifest.check().map_err(|reason| PackageError::Wrong { name: manifest.name.clone(), reason })?;
        let digest = digest(&manifest_text, &plans_bytes);
        Ok(Package {
            folder: folder.to_owned(),
            manifest,
            plans,
            orientation,
            networks,
            golden,
            embedding,
            described: Described { plans: plans_bytes, dataset },
            digest,
        })
    }

    /// Writes where the training scans lie into the package of a folder, in place of what it held of them. Wherever that
    /// is broken off, a whole package is left.
    pub fn embed(folder: &Path, embedding: &Embedding) -> Result<Self, PackageError> {
        let mut manifest = Package::open(folder)?.manifest;
        manifest.files.remove(EMBEDDING);
        replace(folder, MANIFEST, manifest.text()?.as_bytes())?;
        let bytes = embedding.to_bytes();
        replace(folder, EMBEDDING, &bytes)?;
        manifest.files.insert(EMBEDDING.to_owned(), Digest::of(&bytes));
        replace(folder, MANIFEST, manifest.text()?.as_bytes())?;
        Package::open(folder)
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
        // What it holds of the training scans is what the first network saw in them.
        self.embedding = self.embedding.filter(|_| folds.is_empty() || folds.contains(&0));
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

    /// Where the training scans lie, if the package holds it.
    pub fn embedding(&self) -> Option<&Embedding> {
        self.embedding.as_ref()
    }

    /// Digest over manifest, plans and network: what a run's key and `RunOrder::model` hold.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A package's digest. The manifest holds the digests of all the rest.
pub(crate) fn digest(manifest: &str, plans: &[u8]) -> Digest {
    Digest::of_parts("model package", [manifest.as_bytes(), plans])
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
        EMBEDDING => LARGEST_EMBEDDING,
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

/// Puts a file in the place of another, whole or not at all.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), PackageError> {
    let (path, partial) = (folder.join(name), folder.join(format!(".{name}.partial")));
    let written = File::create(&partial).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    let placed = written.and_then(|()| std::fs::rename(&partial, &path));
    placed.map_err(|error| PackageError::Write { path, reason: error.to_string() })
}

/// The text of a manifest.
pub(crate) fn manifest_text(path: &Path) -> Result<String, PackageError> {
    let wrong = |error| {
        let reason = format!("{error}; a manifest is UTF-8 text");
        PackageError::Manifest { path: path.to_owned(), reason }
    };
    String::from_utf8(read(path, LARGEST_MANIFEST)?).map_err(wrong)
}

pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, PackageError> {
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
