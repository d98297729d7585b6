//! Importing what nnU-Net trained, without Python: results folder in, model package out.
//!
//! Owns the order of steps and that a package is written whole or not at all. `pickle` and `checkpoint` read the
//! weights, `architecture` the plans' network, `dataset` the labels; `unet` writes the ONNX graph. SynthStrip's network
//! comes in by `synthstrip`.

pub mod architecture;
pub mod checkpoint;
pub mod dataset;
pub mod pickle;
pub mod synthstrip;
pub mod unet;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sulcus_operators::digest::Digest;
use thiserror::Error;

use self::architecture::{Architecture, ArchitectureError};
use self::checkpoint::{Checkpoint, CheckpointError};
use self::dataset::Dataset;
use self::unet::{Cost, Ports};
use crate::package::{DATASET, FORMAT, GOLDEN, MANIFEST, Manifest, PLANS, Package};
use crate::plans::{Plans, PlansError};

/// Most bytes of plans.json and dataset.json.
const LARGEST_TEXT: u64 = 4 << 20;

/// Why nothing was imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}; {hint}", path.display())]
    File {
        /// Read, write or make.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// `plans.json` cannot be followed.
    #[error("cannot follow {}: {source}", path.display())]
    Plans {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PlansError,
    },
    /// The network of `plans.json` cannot be built.
    #[error("cannot build the network of {}: {source}", path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ArchitectureError,
    },
    /// `dataset.json` cannot be followed.
    #[error("cannot follow {}: {reason}", path.display())]
    Dataset {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong.
        reason: String,
    },
    /// There is no fold to import, or not the one that is asked for.
    #[error("{} holds no {file} of fold {wanted}; it has {found}", folder.display())]
    Fold {
        /// The results folder.
        folder: PathBuf,
        /// Name of the checkpoint.
        file: &'static str,
        /// The fold asked for.
        wanted: String,
        /// Folds that have one.
        found: String,
    },
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Weights do not make the network that they should.
    #[error("{} does not fit {plans}: {reason}; they belong to different trainings", path.display())]
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// What says how the network is.
        plans: &'static str,
        /// The weight and what does not fit.
        reason: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Order(String),
}

/// Which checkpoint of a fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// `checkpoint_final.pth`.
    #[default]
    Final,
    /// `checkpoint_best.pth`.
    Best,
}

impl Which {
    fn file(self) -> &'static str {
        match self {
            Which::Final => "checkpoint_final.pth",
            Which::Best => "checkpoint_best.pth",
        }
    }
}

/// What is to be imported, and as what.
#[derive(Clone, Debug)]
pub struct Order {
    /// nnU-Net's results folder of one training: it holds `plans.json`, `dataset.json` and `fold_N`.
    pub results: PathBuf,
    /// The package's folder, which must not exist.
    pub output: PathBuf,
    /// Folds (`0` to `4`, or `all`); none: every one that has the checkpoint.
    pub folds: Vec<String>,
    /// Which checkpoint of each.
    pub checkpoint: Which,
    /// Weights in fp16.
    pub half: bool,
    /// Name of the model; none: that of the dataset.
    pub name: Option<String>,
    /// What is to be said of where it comes from, beside the names of trainer and plans.
    pub provenance: Option<String>,
    /// Name of the label that counts as a lesion; none: the only one there is.
    pub lesion: Option<String>,
    /// Orientation that DICOM volumes are turned to before the network sees them, e.g. `LPS`.
    pub orientation: String,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The package's manifest.
    pub manifest: Manifest,
    /// The network.
    pub architecture: Architecture,
    /// What one tile costs.
    pub cost: Cost,
}

/// Imports a training as a package. `golden` runs the package's self-test on what is written so far; nothing is left
/// behind where anything fails.
pub fn import(order: &Order, golden: impl FnOnce(Package) -> Result<Vec<u8>, String>) -> Result<Imported, ImportError> {
    new(&order.output)?;
    let plans_path = order.results.join(PLANS);
    let plans_bytes = read(&plans_path)?;
    let dataset_path = order.results.join("dataset.json");
    let dataset_bytes = read(&dataset_path)?;
    let dataset =
        Dataset::parse(&dataset_bytes).map_err(|reason| ImportError::Dataset { path: dataset_path.clone(), reason })?;
    let folds = folds(order)?;
    let mut networks = BTreeMap::new();
    let mut told: Option<Told> = None;
    for (fold, path) in &folds {
        let checkpoint = Checkpoint::read(path, unet::is_weight)?;
        let told = match &mut told {
            Some(told) => told,
            told => told.insert(Told::of(&checkpoint, order, &plans_path, &plans_bytes, &dataset)?),
        };
        let model = unet::build(&told.architecture, &checkpoint.weights, &told.ports, order.half)
            .map_err(|reason| ImportError::Weights { path: path.clone(), plans: PLANS, reason })?;
        if networks.insert(format!("fold_{fold}.onnx"), model).is_some() {
            let reason = format!("two of the folds would be number {fold} of the package; import `all` alone");
            return Err(ImportError::Order(reason));
        }
    }
    let Some(Told { architecture, ports, configuration, trainer, mirror_axes }) = told else {
        return Err(ImportError::Order("no fold was named".to_owned()));
    };
    let lesion_label = lesion_label(order, &dataset)?;
    let mut files: BTreeMap<String, Digest> =
        networks.iter().map(|(name, model)| (name.clone(), Digest::of(model))).collect();
    files.insert(PLANS.to_owned(), Digest::of(&plans_bytes));
    files.insert(DATASET.to_owned(), Digest::of(&dataset_bytes));
    let named = |field: &str| {
        let plans: serde_json::Value = serde_json::from_slice(&plans_bytes).unwrap_or_default();
        plans.get(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    let fold_names: Vec<&str> = folds.iter().map(|(_, path)| fold_name(path)).collect();
    let mut manifest = Manifest {
        format: FORMAT,
        name: order.name.clone().unwrap_or_else(|| named("dataset_name")),
        version: "1".to_owned(),
        description: format!("{} of {}, folds {}.", configuration, named("dataset_name"), fold_names.join(", ")),
        provenance: format!(
            "{}Trained with nnU-Net v2 ({trainer}, {}, {}).",
            order.provenance.as_ref().map(|said| format!("{said} ")).unwrap_or_default(),
            named("plans_name"),
            order.checkpoint.file()
        ),
        research_use: "Research use only. Not for diagnosis.".to_owned(),
        orientation: order.orientation.clone(),
        configuration,
        channels: dataset.channels,
        labels: dataset.labels,
        regions_class_order: dataset.regions_class_order,
        lesion_label,
        mirror_axes,
        files,
    };
    manifest.check().map_err(ImportError::Order)?;
    networks.insert(PLANS.to_owned(), plans_bytes);
    networks.insert(DATASET.to_owned(), dataset_bytes);
    let partial = Partial::new(&order.output)?;
    networks.iter().try_for_each(|(name, bytes)| partial.write(name, bytes))?;
    drop(networks);
    partial.write(MANIFEST, text(&manifest)?.as_bytes())?;
    let package = Package::open(&partial.folder).map_err(|error| ImportError::Order(error.to_string()))?;
    let golden =
        golden(package).map_err(|reason| ImportError::Order(format!("the imported network fails: {reason}")))?;
    partial.write(GOLDEN, &golden)?;
    manifest.files.insert(GOLDEN.to_owned(), Digest::of(&golden));
    partial.write(MANIFEST, text(&manifest)?.as_bytes())?;
    partial.finish(&order.output)?;
    let cost = unet::cost(&architecture, &ports);
    Ok(Imported { manifest, architecture, cost })
}

/// Nothing may be there yet.
fn new(output: &Path) -> Result<(), ImportError> {
    if output.exists() {
        return Err(ImportError::Order(format!("{} exists already; name a new folder", output.display())));
    }
    Ok(())
}

fn text(manifest: &impl serde::Serialize) -> Result<String, ImportError> {
    toml::to_string(manifest).map_err(|error| ImportError::Order(error.to_string()))
}

/// What the first checkpoint and the plans tell of all folds.
struct Told {
    architecture: Architecture,
    ports: Ports,
    configuration: String,
    trainer: String,
    mirror_axes: Vec<usize>,
}

impl Told {
    fn of(
        checkpoint: &Checkpoint,
        order: &Order,
        path: &Path,
        plans: &[u8],
        dataset: &Dataset,
    ) -> Result<Self, ImportError> {
        let wrong = |source| ImportError::Plans { path: path.to_owned(), source };
        // nnU-Net's folder is called TRAINER__PLANS__CONFIGURATION.
        let folder = order.results.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let configuration = match checkpoint.configuration.as_str() {
            "" => folder.rsplit("__").next().unwrap_or_default().to_owned(),
            named => named.to_owned(),
        };
        let parsed = Plans::parse(plans, &configuration, dataset.channels.len()).map_err(wrong)?;
        let resolved = Plans::configuration(plans, &configuration).map_err(wrong)?;
        let architecture = Architecture::parse(&resolved)
            .map_err(|source| ImportError::Architecture { path: path.to_owned(), source })?;
        let ports = Ports {
            channels: dataset.channels.len(),
            classes: dataset.labels.len() - usize::from(!dataset.regions_class_order.is_empty()),
            patch: parsed.patch_size[usize::from(parsed.planar)..].to_vec(),
        };
        let (trainer, mirror_axes) = (checkpoint.trainer.clone(), checkpoint.mirror_axes.clone());
        Ok(Told { architecture, ports, configuration, trainer, mirror_axes })
    }
}

fn fold_name(checkpoint: &Path) -> &str {
    let folder = checkpoint.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    folder.strip_prefix("fold_").unwrap_or(folder)
}

/// The number in the package and the checkpoint of each fold asked for, in order.
fn folds(order: &Order) -> Result<Vec<(usize, PathBuf)>, ImportError> {
    let file = order.checkpoint.file();
    let unreadable = |source| ImportError::File {
        what: "read",
        path: order.results.clone(),
        source,
        hint: "name nnU-Net's results folder, which holds plans.json",
    };
    let mut found: Vec<String> = fs::read_dir(&order.results)
        .map_err(unreadable)?
        .flatten()
        .filter(|entry| entry.path().join(file).is_file())
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("fold_")?.to_owned()))
        .collect();
    found.sort();
    // As nnU-Net does by itself, `all` only where it is asked for or alone.
    let every = || match found.as_slice() {
        [_] => found.clone(),
        several => several.iter().filter(|fold| *fold != "all").cloned().collect(),
    };
    let wanted = if order.folds.is_empty() { every() } else { order.folds.clone() };
    let missing = |wanted: &str| ImportError::Fold {
        folder: order.results.clone(),
        file,
        wanted: wanted.to_owned(),
        found: if found.is_empty() { "none".to_owned() } else { found.join(", ") },
    };
    if wanted.is_empty() {
        return Err(missing("0"));
    }
    let chosen = wanted.iter().enumerate().map(|(place, fold)| {
        let path = order.results.join(format!("fold_{fold}")).join(file);
        // `all` takes the place of the only fold.
        let number = fold.parse().unwrap_or(place);
        if found.contains(fold) { Ok((number, path)) } else { Err(missing(fold)) }
    });
    chosen.collect()
}

fn lesion_label(order: &Order, dataset: &Dataset) -> Result<u8, ImportError> {
    let known = || dataset.labels[1..].join(", ");
    let place = match (&order.lesion, dataset.labels.as_slice()) {
        (Some(name), labels) => labels[1..]
            .iter()
            .position(|label| label == name)
            .ok_or_else(|| ImportError::Order(format!("there is no label {name}; dataset.json has {}", known())))?,
        (None, [_, _]) => 0,
        (None, _) => {
            return Err(ImportError::Order(format!("several labels could be lesions; name one of {}", known())));
        }
    };
    Ok(dataset.regions_class_order.get(place).copied().unwrap_or(place as u8 + 1))
}

fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    let failed = |source| ImportError::File {
        what: "read",
        path: path.to_owned(),
        source,
        hint: "name nnU-Net's results folder, which holds plans.json, dataset.json and fold_0",
    };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(LARGEST_TEXT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(ImportError::Order(format!("{} is longer than {LARGEST_TEXT} bytes", path.display())));
    }
    Ok(bytes)
}

/// A hidden folder beside the output, which takes its name once all is written and else goes.
struct Partial {
    folder: PathBuf,
}

impl Partial {
    fn new(output: &Path) -> Result<Self, ImportError> {
        let name = output.file_name().ok_or_else(|| ImportError::Order("the output has no name".to_owned()))?;
        let folder = output.with_file_name(format!(".{}.partial", name.to_string_lossy()));
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        Ok(Partial { folder })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ImportError> {
        let path = self.folder.join(name);
        let mut file = File::create(&path).map_err(failed(&path))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed(&path))
    }

    fn finish(self, output: &Path) -> Result<(), ImportError> {
        fs::rename(&self.folder, output).map_err(failed(output))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already once it has the output's name.
        let _gone = fs::remove_dir_all(&self.folder);
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> ImportError + use<> {
    let path = path.to_owned();
    move |source| ImportError::File { what: "write", path, source, hint: "check the folder and the free space" }
}
