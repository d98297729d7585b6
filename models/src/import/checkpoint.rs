//! Checkpoints of nnU-Net (`checkpoint_*.pth`) and SynthStrip (`synthstrip.*.pt`): the zip of torch 1.6 and later, with
//! a pickle and one file a storage.
//!
//! Owns where tensors lie and that every number is there and finite; what the weights mean is for `unet` and
//! `synthstrip`. Read: weights, and of nnU-Net trainer, configuration and mirroring axes; the optimiser's state and the
//! logs are passed over.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zip::ZipArchive;

use super::pickle::{Id, Node, Pickle, PickleError};

/// Most bytes of a checkpoint's pickle.
const LARGEST_PICKLE: u64 = 64 << 20;
/// Most bytes of one tensor's storage.
const LARGEST_STORAGE: u64 = 1 << 30;

/// Why a checkpoint is not read.
#[derive(Debug, Error)]
#[error("cannot read checkpoint {}: {reason}", path.display())]
pub struct CheckpointError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, then what to do.
    pub reason: String,
}

/// One tensor: its numbers as f32, the last axis fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Lengths of its axes.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f32>,
}

/// What inference needs of a checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// `trainer_name`.
    pub trainer: String,
    /// `init_args.configuration`, e.g. `3d_fullres`; empty where it is not named.
    pub configuration: String,
    /// `inference_allowed_mirroring_axes`; none allowed where the trainer says `None`.
    pub mirror_axes: Vec<usize>,
    /// `network_weights` by name.
    pub weights: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads a checkpoint file. Only tensors that `wanted` asks for by name are read.
    pub fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, CheckpointError> {
        let read = |mut saved: Saved| {
            let pickle = &saved.pickle;
            let trainer = pickle.text(saved.field("trainer_name")?).ok_or("trainer_name is no text")?.to_owned();
            let configuration =
                pickle.get(pickle.root(), "init_args").and_then(|args| pickle.get(args, "configuration"));
            let configuration = configuration.and_then(|id| pickle.text(id)).unwrap_or_default().to_owned();
            let mirror_axes = axes(pickle, saved.field("inference_allowed_mirroring_axes")?)?;
            let weights = saved.weights("network_weights", wanted)?;
            Ok(Checkpoint { trainer, configuration, mirror_axes, weights })
        };
        open(path).and_then(read).map_err(|reason| CheckpointError { path: path.to_owned(), reason })
    }
}

/// Reads the weights alone, under the name that the checkpoint has for them.
///
/// # Errors
/// [`CheckpointError`] where the file is not read or holds no such weights.
pub fn weights(path: &Path, field: &str) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let read = |mut saved: Saved| saved.weights(field, |_| true);
    open(path).and_then(read).map_err(|reason| CheckpointError { path: path.to_owned(), reason })
}

type Archive = ZipArchive<BufReader<File>>;

/// What torch saved.
struct Saved {
    archive: Archive,
    /// Where in the archive its parts lie.
    folder: String,
    pickle: Pickle,
}

fn open(path: &Path) -> Result<Saved, String> {
    let file = File::open(path).map_err(|error| format!("{error}; check that it exists and may be read"))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
        format!("it is no zip archive ({error}); save it with torch 1.6 or later, or copy it again")
    })?;
    let names: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let folder = names
        .iter()
        .find_map(|name| name.strip_suffix("data.pkl"))
        .ok_or("it holds no data.pkl, so torch did not write it; copy it again")?
        .to_owned();
    if names.contains(&format!("{folder}byteorder")) {
        let order = entry(&mut archive, &format!("{folder}byteorder"), 16)?;
        if order != b"little" {
            return Err("its numbers are not little-endian; save it on a machine that is".to_owned());
        }
    }
    let bytes = entry(&mut archive, &format!("{folder}data.pkl"), LARGEST_PICKLE)?;
    let pickle = Pickle::parse(&bytes).map_err(|error: PickleError| error.to_string())?;
    Ok(Saved { archive, folder, pickle })
}

impl Saved {
    fn field(&self, name: &str) -> Result<Id, String> {
        let found = self.pickle.get(self.pickle.root(), name);
        found.ok_or_else(|| format!("it has no field {name}; this is no checkpoint of nnU-Net or SynthStrip"))
    }

    /// The tensors of a field that `wanted` asks for, by name.
    fn weights(&mut self, field: &str, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Tensor>, String> {
        let id = self.field(field)?;
        let Saved { archive, folder, pickle } = self;
        let mut weights = BTreeMap::new();
        let mut storages = HashMap::new();
        for (key, value) in pickle.entries(id) {
            let name = pickle.text(*key).ok_or_else(|| format!("a weight in {field} has no name"))?;
            // Left by DistributedDataParallel and by torch.compile.
            let name = name.trim_start_matches("module.").trim_start_matches("_orig_mod.");
            if !wanted(name) {
                continue;
            }
            let tensor = tensor(pickle, *value, folder, archive, &mut storages)
                .map_err(|reason| format!("weight {name}: {reason}"))?;
            if let Some(at) = tensor.values.iter().position(|value| !value.is_finite()) {
                return Err(format!("weight {name} holds {} at place {at}; train it again", tensor.values[at]));
            }
            weights.insert(name.to_owned(), tensor);
        }
        Ok(weights)
    }
}

fn entry(archive: &mut Archive, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let file =
        archive.by_name(name).map_err(|error| format!("its part {name} cannot be read: {error}; copy it again"))?;
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("its part {name} cannot be read: {error}; copy it again"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("its part {name} is longer than {limit} bytes; this is no checkpoint of nnU-Net"));
    }
    Ok(bytes)
}

fn axes(pickle: &Pickle, id: Id) -> Result<Vec<usize>, String> {
    if *pickle.node(id) == Node::None {
        return Ok(Vec::new());
    }
    let members = pickle.members(id).ok_or("inference_allowed_mirroring_axes is no tuple")?;
    let axes: Option<Vec<usize>> = members.iter().map(|axis| pickle.count(*axis).filter(|axis| *axis < 3)).collect();
    axes.ok_or_else(|| "inference_allowed_mirroring_axes holds what is no axis".to_owned())
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Double,
    Float,
    Half,
    BFloat16,
    Long,
}

impl Kind {
    fn of(storage: &str) -> Option<Self> {
        Some(match storage {
            "DoubleStorage" => Kind::Double,
            "FloatStorage" => Kind::Float,
            "HalfStorage" => Kind::Half,
            "BFloat16Storage" => Kind::BFloat16,
            "LongStorage" => Kind::Long,
            _ => return None,
        })
    }

    /// Bytes of one number.
    fn bytes(self) -> u64 {
        match self {
            Kind::Double | Kind::Long => 8,
            Kind::Float => 4,
            Kind::Half | Kind::BFloat16 => 2,
        }
    }

    fn numbers(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|word| number(*word)).collect()
        }
        match self {
            Kind::Double => each(bytes, |word| f64::from_le_bytes(word) as f32),
            Kind::Float => each(bytes, f32::from_le_bytes),
            Kind::Half => each(bytes, |word| half::f16::from_le_bytes(word).to_f32()),
            Kind::BFloat16 => each(bytes, |word| half::bf16::from_le_bytes(word).to_f32()),
            Kind::Long => each(bytes, |word| i64::from_le_bytes(word) as f32),
        }
    }
}

/// Reads what `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)` would build.
fn tensor(
    pickle: &Pickle,
    id: Id,
    folder: &str,
    archive: &mut Archive,
    storages: &mut HashMap<String, Vec<f32>>,
) -> Result<Tensor, String> {
    let Node::Made { callee, arguments, .. } = pickle.node(id) else { return Err("it is no tensor".to_owned()) };
    let arguments = pickle.members(*arguments).unwrap_or_default();
    match (pickle.global(*callee), arguments) {
        (Some(("torch._utils", "_rebuild_parameter")), [inner, ..]) if *inner != id => {
            // A parameter wraps a tensor, never another parameter.
            let Node::Made { callee, arguments, .. } = pickle.node(*inner) else {
                return Err("it is no tensor".to_owned());
            };
            let arguments = pickle.members(*arguments).unwrap_or_default();
            rebuild(pickle, pickle.global(*callee), arguments, folder, archive, storages)
        }
        (callee, arguments) => rebuild(pickle, callee, arguments, folder, archive, storages),
    }
}

fn rebuild(
    pickle: &Pickle,
    callee: Option<(&str, &str)>,
    arguments: &[Id],
    folder: &str,
    archive: &mut Archive,
    storages: &mut HashMap<String, Vec<f32>>,
) -> Result<Tensor, String> {
    let (Some(("torch._utils", "_rebuild_tensor_v2")), [storage, offset, size, stride, ..]) = (callee, arguments)
    else {
        return Err(format!("it is made by {callee:?}; only plain tensors are read"));
    };
    let numbers =
        |id: &Id| -> Option<Vec<usize>> { pickle.members(*id)?.iter().map(|length| pickle.count(*length)).collect() };
    let (Some(offset), Some(shape), Some(stride)) = (pickle.count(*offset), numbers(size), numbers(stride)) else {
        return Err("its shape is no list of numbers".to_owned());
    };
    let Node::Persistent(place) = pickle.node(*storage) else { return Err("it has no storage".to_owned()) };
    let place = pickle.members(*place).unwrap_or_default();
    let [_, kind, key, _, length, ..] = place else { return Err("its storage has no name".to_owned()) };
    let length = pickle.count(*length).ok_or("its storage has no length")? as u64;
    let kind = pickle.global(*kind).and_then(|(_, name)| Kind::of(name));
    let (Some(kind), Some(key)) = (kind, pickle.text(*key)) else {
        return Err("its numbers are of a kind that is not read; save it in float32".to_owned());
    };
    if !storages.contains_key(key) {
        // What is longer than it says is no storage, however well it was packed.
        let most = length.saturating_mul(kind.bytes()).min(LARGEST_STORAGE);
        let bytes = entry(archive, &format!("{folder}data/{key}"), most)?;
        storages.insert(key.to_owned(), kind.numbers(&bytes));
    }
    let stored = storages.get(key).map(Vec::as_slice).unwrap_or_default();
    strided(stored, offset, &shape, &stride).map(|values| Tensor { shape, values })
}

/// The numbers of a strided view, the last axis fastest.
fn strided(stored: &[f32], offset: usize, shape: &[usize], stride: &[usize]) -> Result<Vec<f32>, String> {
    let broken = || "its shape does not fit its storage; copy the checkpoint again".to_owned();
    let count = shape.iter().try_fold(1usize, |count, length| count.checked_mul(*length)).ok_or_else(broken)?;
    if shape.len() != stride.len() || count > stored.len() {
        return Err(broken());
    }
    let mut values = Vec::with_capacity(count);
    let mut index = vec![0usize; shape.len()];
    for _ in 0..count {
        let steps = index
            .iter()
            .zip(stride)
            .try_fold(offset, |at, (index, stride)| at.checked_add(index.checked_mul(*stride)?));
        values.push(*steps.and_then(|at| stored.get(at)).ok_or_else(broken)?);
        for (index, length) in index.iter_mut().zip(shape).rev() {
            *index += 1;
            if *index < *length {
                break;
            }
            *index = 0;
        }
    }
    Ok(values)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "checkpoint_tests.rs"]
mod tests;
