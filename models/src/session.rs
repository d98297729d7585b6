//! The networks of one package ready to run on one device.
//!
//! Owns that each network's input and output fit the package, and their memory; what computes is in `device`, and which
//! tiles the networks see is decided in `predict`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::{Array2, Array5, Axis, Slice};
use ort::session::IoBinding;
use ort::value::{Tensor, TensorElementType};
use thiserror::Error;

use crate::device::{Device, Provider, out_of_memory};
use crate::import::unet::FEATURES;
use crate::onnx::{BATCH, steady};
use crate::package::{EMBEDDING, Package};
use crate::runtime::{Runtime, RuntimeError};

/// Why a network does not run.
#[derive(Debug, Error)]
pub enum SessionError {
    /// ONNX Runtime itself is missing.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The provider cannot be had or refuses the network.
    #[error("cannot open model {model} on {provider}: {reason}; {}", provider.remedy())]
    Open {
        /// Name of the package.
        model: String,
        /// The provider asked for.
        provider: Provider,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// The network's input or output does not fit the package.
    #[error(
        "model {model} does not fit its package: {reason}; the ONNX file and the manifest belong to different models"
    )]
    Shape {
        /// Name of the package.
        model: String,
        /// What does not fit.
        reason: String,
    },
    /// The device's memory does not hold the network and its tiles.
    #[error(
        "model {model} does not fit into the memory of {provider}: {reason}; end what else uses the GPU, allow more \
         with `memory_mib`, import the model with `--half`, or choose another device"
    )]
    Memory {
        /// Name of the package.
        model: String,
        /// The provider in use.
        provider: Provider,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// Whoever asked for the tiles wants them no more.
    #[error("model {model} was stopped between two tiles; ask again where it is wanted after all")]
    Stopped {
        /// Name of the package.
        model: String,
    },
    /// A tile failed.
    #[error("model {model} failed on a tile: {reason}")]
    Run {
        /// Name of the package.
        model: String,
        /// What ONNX Runtime said.
        reason: String,
    },
}

/// One network with its memory.
struct Network {
    session: ort::session::Session,
    /// Holds input and output between runs, on the device where it has memory of its own.
    binding: IoBinding,
    input: String,
    /// How many features the network tells of beside its logits.
    features: Option<usize>,
}

/// What a network gives for some tiles.
#[derive(Debug)]
pub struct Outputs {
    /// Logits (tile, outputs, z, y, x).
    pub logits: Array5<f32>,
    /// Means of the bottleneck's features (tile, feature), where the network has that output.
    pub features: Option<Array2<f32>>,
}

/// The loaded networks of a package, one a fold.
pub struct Session {
    networks: Vec<Network>,
    provider: Provider,
    package: Arc<Package>,
    batch: usize,
    stop: Option<Arc<AtomicBool>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.package.manifest().name)
            .field("provider", &self.provider)
            .finish()
    }
}

impl Session {
    /// Opens a package's networks on a device.
    pub fn open(runtime: &Runtime, package: Arc<Package>, device: &Device) -> Result<Self, SessionError> {
        let session = match Self::start(runtime, &package, device) {
            Err(error) if device.fall_back && device.provider != Provider::Cpu => {
                tracing::warn!(%error, "falling back to the plain CPU");
                Self::start(runtime, &package, &Device { provider: Provider::Cpu, ..device.clone() })?
            }
            started => started?,
        };
        let (provider, batch) = (session.provider, session.batch);
        tracing::info!(model = package.manifest().name, %provider, threads = device.threads, batch, "model ready");
        Ok(session)
    }

    fn start(runtime: &Runtime, package: &Arc<Package>, device: &Device) -> Result<Self, SessionError> {
        let provider = device.provider;
        let failed = |error: ort::Error| refused(&package.manifest().name, provider, &error);
        let mut batch = provider.batch();
        let mut networks = Vec::with_capacity(package.networks().len());
        for bytes in package.networks() {
            let session = network(runtime, bytes, device, batch).map_err(failed)?;
            let Fitting { input, output, features, alone } = fitting(&session, package)?;
            if alone {
                batch = 1;
            }
            let mut binding = session.create_binding().map_err(failed)?;
            let memory = provider.outputs().map_err(failed)?;
            binding.bind_output_to_device(output, &memory).map_err(failed)?;
            // A scan's features are those of the first fold.
            let features = features.filter(|_| networks.is_empty());
            if features.is_some() {
                binding.bind_output_to_device(FEATURES, &memory).map_err(failed)?;
            }
            networks.push(Network { session, binding, input, features });
        }
        let found = networks.first().and_then(|network| network.features);
        if let Some(embedding) = package.embedding().filter(|embedding| Some(embedding.features()) != found) {
            let found = found.map_or("tells of none".to_owned(), |features| format!("tells of {features}"));
            let reason = format!("its {EMBEDDING} is of {} features, its first network {found}", embedding.features());
            return Err(SessionError::Shape { model: package.manifest().name.clone(), reason });
        }
        Ok(Session { networks, provider, package: package.clone(), batch, stop: None })
    }

    /// Refuses further tiles while this flag is set.
    pub fn stop_with(&mut self, flag: Arc<AtomicBool>) {
        self.stop = Some(flag);
    }

    /// How many folds there are.
    pub fn folds(&self) -> usize {
        self.networks.len()
    }

    /// How many tiles are run together at best.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Runs another number of tiles together, from the first run on.
    #[cfg(test)]
    pub(crate) fn set_batch(&mut self, batch: usize) {
        self.batch = batch;
    }

    /// The provider in use.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The package that the network came from.
    pub fn package(&self) -> &Arc<Package> {
        &self.package
    }

    /// Whether the first fold's network tells of its bottleneck's features.
    pub fn has_features(&self) -> bool {
        self.networks.first().is_some_and(|network| network.features.is_some())
    }

    /// What a fold's network gives for up to [`batch`](Self::batch) tiles (tile, channels, z, y, x) of the plans' patch
    /// size.
    pub fn run(&mut self, fold: usize, tiles: Array5<f32>) -> Result<Outputs, SessionError> {
        let Session { networks, provider, package, batch, stop } = self;
        let manifest = package.manifest();
        if stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(SessionError::Stopped { model: manifest.name.clone() });
        }
        let failed = |error: &dyn std::fmt::Display| {
            let (model, reason) = (manifest.name.clone(), said(error));
            if out_of_memory(&reason) {
                SessionError::Memory { model, provider: *provider, reason }
            } else {
                SessionError::Run { model, reason }
            }
        };
        let folds = networks.len();
        let network =
            networks.get_mut(fold).ok_or_else(|| failed(&format!("there are {folds} folds, and no number {fold}")))?;
        let (count, channels, z, y, x) = tiles.dim();
        let shapes = Shapes { planar: package.plans().planar, sides: [z, y, x] };
        let mut values = tiles.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
        let filled = count.max(*batch);
        values.resize(filled * channels * z * y * x, 0.0);
        let tensor = Tensor::from_array((shapes.of(filled, channels), values)).map_err(|error| failed(&error))?;
        network.binding.bind_input(&network.input, &tensor).map_err(|error| failed(&error))?;
        let outputs = network.session.run_binding(&network.binding).map_err(|error| failed(&error))?;
        let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(|error| failed(&error))?;
        let wrong = |reason: String| SessionError::Shape { model: manifest.name.clone(), reason };
        let wanted = shapes.of(filled, manifest.outputs());
        if !shape.iter().copied().eq(wanted.iter().map(|length| *length as i64)) {
            return Err(wrong(format!("it gave logits of shape {:?} where {wanted:?} is needed", &shape[..])));
        }
        if let Some(logit) = values.iter().find(|logit| !logit.is_finite()) {
            let hint = "its numbers are too large for this precision or device; try `cpu`, or import without `--half`";
            return Err(failed(&format!("a logit on {provider} is {logit}; {hint}")));
        }
        let logits = Array5::from_shape_vec((filled, manifest.outputs(), z, y, x), values.to_vec());
        let mut logits = logits.map_err(|error| wrong(error.to_string()))?;
        logits.slice_axis_inplace(Axis(0), Slice::from(..count));
        let features = match (network.features, outputs.get(FEATURES)) {
            (Some(length), Some(output)) => {
                let (_, values) = output.try_extract_tensor::<f32>().map_err(|error| failed(&error))?;
                let features = Array2::from_shape_vec((filled, length), values.to_vec());
                let mut features = features.map_err(|error| wrong(format!("of its features, {error}")))?;
                features.slice_axis_inplace(Axis(0), Slice::from(..count));
                Some(features)
            }
            _ => None,
        };
        Ok(Outputs { logits, features })
    }
}

/// Loads one network; where `batch` is not 1, its free batch is set to it.
pub(crate) fn network(
    runtime: &Runtime,
    bytes: &[u8],
    device: &Device,
    batch: usize,
) -> ort::Result<ort::session::Session> {
    let mut builder = ort::session::Session::builder(runtime.environment())?;
    if device.threads > 0 {
        builder = builder.with_intra_threads(device.threads)?;
    }
    if batch > 1 {
        builder = builder.with_dimension_override(BATCH, batch as i64)?;
    }
    let steadied = if device.provider == Provider::Cpu { steady(bytes) } else { None };
    builder.with_execution_providers(device.providers())?.commit_from_memory(steadied.as_deref().unwrap_or(bytes))
}

/// The error of a network that could not be loaded.
pub(crate) fn refused(model: &str, provider: Provider, error: &ort::Error) -> SessionError {
    let (model, reason) = (model.to_owned(), said(error));
    if out_of_memory(&reason) {
        SessionError::Memory { model, provider, reason }
    } else {
        SessionError::Open { model, provider, reason }
    }
}

/// What ONNX Runtime said, to be followed by what to do.
fn said(error: &dyn std::fmt::Display) -> String {
    error.to_string().trim_end_matches(['.', ' ', '\n']).to_owned()
}

/// Shapes of a network's tensors: (batch, channel, z, y, x), without z where planar.
struct Shapes {
    planar: bool,
    sides: [usize; 3],
}

impl Shapes {
    fn of(&self, batch: usize, channels: usize) -> Vec<usize> {
        let sides = if self.planar { &self.sides[1..] } else { &self.sides };
        [&[batch, channels], sides].concat()
    }
}

/// Names of a network's input and first output, the length of its features, and whether it takes one tile alone.
struct Fitting {
    input: String,
    output: String,
    features: Option<usize>,
    alone: bool,
}

/// What there is to bind, where the network has one input, and a first output, of the package's shape.
fn fitting(session: &ort::session::Session, package: &Package) -> Result<Fitting, SessionError> {
    let wrong = |reason: String| SessionError::Shape { model: package.manifest().name.clone(), reason };
    let ([input], [output, ..]) = (session.inputs(), session.outputs()) else {
        let counts = (session.inputs().len(), session.outputs().len());
        return Err(wrong(format!("it has {} inputs and {} outputs where one input is needed", counts.0, counts.1)));
    };
    let plans = package.plans();
    let shapes = Shapes { planar: plans.planar, sides: plans.patch_size };
    let mut alone = false;
    for (what, channels, found) in [
        ("input", package.manifest().channels.len(), input.dtype().tensor_shape()),
        ("output", package.manifest().outputs(), output.dtype().tensor_shape()),
    ] {
        let found = found.ok_or_else(|| wrong(format!("its {what} is not a tensor")))?;
        let wanted = shapes.of(1, channels);
        // A dimension of -1 is free; a batch may also have been set to what is wanted.
        let fit = |(found, wanted): (&i64, &usize)| *found == *wanted as i64 || *found == -1;
        if found.len() != wanted.len() || !found.iter().zip(&wanted).skip(1).all(fit) || found[0] == 0 {
            return Err(wrong(format!("its {what} has the shape {:?} where {wanted:?} is needed", &found[..])));
        }
        alone |= found[0] == 1;
    }
    // Another program's output of that name may be anything: what is not (batch, feature) is left alone.
    let length = |shape: &[i64]| match shape {
        [_, length] => usize::try_from(*length).ok().filter(|length| *length > 0),
        _ => None,
    };
    let named = session.outputs().iter().skip(1).find(|output| output.name() == FEATURES);
    let float = |output: &&ort::value::Outlet| output.dtype().tensor_type() == Some(TensorElementType::Float32);
    let features = named.filter(float).and_then(|output| length(output.dtype().tensor_shape()?));
    Ok(Fitting { input: input.name().to_owned(), output: output.name().to_owned(), features, alone })
}
