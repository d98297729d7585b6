//! The networks of one package ready to run on one device.
//!
//! Owns the choice of execution provider and that each network's input and output fit the package; which tiles they
//! see is decided in `predict`.

use std::path::PathBuf;
use std::sync::Arc;

use ndarray::{Array4, ArrayView4};
use ort::ep::{ExecutionProviderDispatch, OpenVINO};
use ort::value::TensorRef;
use thiserror::Error;

use crate::package::Package;
use crate::runtime::{Runtime, RuntimeError};

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// OpenVINO on the CPU: about twice as fast as ONNX Runtime's own kernels.
    OpenVino,
    /// ONNX Runtime's own CPU kernels.
    Cpu,
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Provider::OpenVino => "openvino",
            Provider::Cpu => "cpu",
        })
    }
}

/// Where and how a network runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The execution provider.
    pub provider: Provider,
    /// Threads of one network; 0 leaves the number to the provider.
    pub threads: usize,
    /// Where compiled networks are kept between starts; none: nowhere.
    pub cache: Option<PathBuf>,
    /// Whether the plain CPU may stand in where `provider` cannot be had. The session then says so.
    pub fall_back: bool,
}

/// Why a network does not run.
#[derive(Debug, Error)]
pub enum SessionError {
    /// ONNX Runtime itself is missing.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The provider cannot be had or refuses the network.
    #[error("cannot open model {model} on {provider}: {reason}; try `cpu` as the device, or run `cargo xtask setup`")]
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
    /// A tile failed.
    #[error("model {model} failed on a tile: {reason}")]
    Run {
        /// Name of the package.
        model: String,
        /// What ONNX Runtime said.
        reason: String,
    },
}

/// The loaded networks of a package, one a fold.
pub struct Session {
    networks: Vec<(ort::session::Session, String)>,
    provider: Provider,
    package: Arc<Package>,
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
        let (networks, provider) = match start(runtime, &package, device, device.provider) {
            Err(error) if device.fall_back && device.provider != Provider::Cpu => {
                tracing::warn!(%error, "falling back to the plain CPU");
                (start(runtime, &package, device, Provider::Cpu)?, Provider::Cpu)
            }
            started => (started?, device.provider),
        };
        let with_input = |network| fitting_input(&network, &package).map(|input| (network, input));
        let networks = networks.into_iter().map(with_input).collect::<Result<Vec<_>, _>>()?;
        tracing::info!(model = package.manifest().name, %provider, threads = device.threads, "model ready");
        Ok(Session { networks, provider, package })
    }

    /// How many folds there are.
    pub fn folds(&self) -> usize {
        self.networks.len()
    }

    /// The provider in use.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The package that the network came from.
    pub fn package(&self) -> &Arc<Package> {
        &self.package
    }

    /// Logits (outputs, z, y, x) that a fold's network gives for one tile (channels, z, y, x) of the plans' patch size.
    pub fn run(&mut self, fold: usize, tile: ArrayView4<'_, f32>) -> Result<Array4<f32>, SessionError> {
        let manifest = self.package.manifest();
        let failed = |reason: String| SessionError::Run { model: manifest.name.clone(), reason };
        let (channels, z, y, x) = tile.dim();
        let shapes = Shapes { planar: self.package.plans().planar, sides: [z, y, x] };
        let count = self.networks.len();
        let (network, input) = self
            .networks
            .get_mut(fold)
            .ok_or_else(|| failed(format!("there are {count} folds, and no number {fold}")))?;
        let tile = tile.as_standard_layout();
        let flat = tile.as_slice().unwrap_or_default();
        let shape = shapes.of(channels);
        let tensor = TensorRef::from_array_view((shape, flat)).map_err(|error| failed(error.to_string()))?;
        let outputs = network.run(ort::inputs![input.as_str() => tensor]).map_err(|error| failed(error.to_string()))?;
        let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(|error| failed(error.to_string()))?;
        let wrong = |reason: String| SessionError::Shape { model: manifest.name.clone(), reason };
        let wanted = shapes.of(manifest.outputs());
        if !shape.iter().copied().eq(wanted.iter().map(|length| *length as i64)) {
            return Err(wrong(format!("it gave logits of shape {:?} where {wanted:?} is needed", &shape[..])));
        }
        let logits = Array4::from_shape_vec((manifest.outputs(), z, y, x), values.to_vec());
        logits.map_err(|error| wrong(error.to_string()))
    }
}

/// Shapes of a network's tensors: (batch, channel, z, y, x), without z where planar.
struct Shapes {
    planar: bool,
    sides: [usize; 3],
}

impl Shapes {
    fn of(&self, channels: usize) -> Vec<usize> {
        let sides = if self.planar { &self.sides[1..] } else { &self.sides };
        [&[1, channels], sides].concat()
    }
}

fn start(
    runtime: &Runtime,
    package: &Package,
    device: &Device,
    provider: Provider,
) -> Result<Vec<ort::session::Session>, SessionError> {
    let failed = |reason: String| SessionError::Open { model: package.manifest().name.clone(), provider, reason };
    let open = |network: &Vec<u8>| {
        let mut builder =
            ort::session::Session::builder(runtime.environment()).map_err(|error| failed(error.to_string()))?;
        if device.threads > 0 {
            builder = builder.with_intra_threads(device.threads).map_err(|error| failed(error.to_string()))?;
        }
        if provider == Provider::OpenVino {
            builder =
                builder.with_execution_providers([openvino(device)]).map_err(|error| failed(error.to_string()))?;
        }
        builder.commit_from_memory(network).map_err(|error| failed(error.to_string()))
    };
    package.networks().iter().map(open).collect()
}

fn openvino(device: &Device) -> ExecutionProviderDispatch {
    let mut provider = OpenVINO::default().with_device_type("CPU");
    if device.threads > 0 {
        provider = provider.with_num_threads(device.threads);
    }
    if let Some(cache) = &device.cache {
        provider = provider.with_cache_dir(cache.display());
    }
    provider.build().error_on_failure()
}

/// The input's name, where the network has one input, and a first output, of the package's shape.
fn fitting_input(session: &ort::session::Session, package: &Package) -> Result<String, SessionError> {
    let wrong = |reason: String| SessionError::Shape { model: package.manifest().name.clone(), reason };
    let ([input], [output, ..]) = (session.inputs(), session.outputs()) else {
        let counts = (session.inputs().len(), session.outputs().len());
        return Err(wrong(format!("it has {} inputs and {} outputs where one input is needed", counts.0, counts.1)));
    };
    let plans = package.plans();
    let shapes = Shapes { planar: plans.planar, sides: plans.patch_size };
    for (what, channels, found) in [
        ("input", package.manifest().channels.len(), input.dtype().tensor_shape()),
        ("output", package.manifest().outputs(), output.dtype().tensor_shape()),
    ] {
        let found = found.ok_or_else(|| wrong(format!("its {what} is not a tensor")))?;
        let wanted = shapes.of(channels);
        // A dimension of -1 is free.
        let fit = |(found, wanted): (&i64, &usize)| *found == *wanted as i64 || *found == -1;
        if found.len() != wanted.len() || !found.iter().zip(&wanted).all(fit) {
            return Err(wrong(format!("its {what} has the shape {:?} where {wanted:?} is needed", &found[..])));
        }
    }
    Ok(input.name().to_owned())
}
