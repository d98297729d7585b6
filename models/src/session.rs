//! One network ready to run on one device.
//!
//! Owns the choice of execution provider and that the network's input and output fit its package; which tiles it sees
//! is decided in `predict`.

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

/// A loaded network.
pub struct Session {
    inner: ort::session::Session,
    provider: Provider,
    input: String,
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
    /// Opens a package's network on a device.
    pub fn open(runtime: &Runtime, package: Arc<Package>, device: &Device) -> Result<Self, SessionError> {
        let (inner, provider) = match start(runtime, &package, device, device.provider) {
            Err(error) if device.fall_back && device.provider != Provider::Cpu => {
                tracing::warn!(%error, "falling back to the plain CPU");
                (start(runtime, &package, device, Provider::Cpu)?, Provider::Cpu)
            }
            started => (started?, device.provider),
        };
        let input = fitting_input(&inner, &package)?;
        tracing::info!(model = package.manifest().name, %provider, threads = device.threads, "model ready");
        Ok(Session { inner, provider, input, package })
    }

    /// The provider in use.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The package that the network came from.
    pub fn package(&self) -> &Arc<Package> {
        &self.package
    }

    /// Logits (classes, z, y, x) of one tile (channels, z, y, x) of the plans' patch size.
    pub fn run(&mut self, tile: ArrayView4<'_, f32>) -> Result<Array4<f32>, SessionError> {
        let model = &self.package.manifest().name;
        let failed = |error: ort::Error| SessionError::Run { model: model.clone(), reason: error.to_string() };
        let tile = tile.as_standard_layout();
        let (channels, z, y, x) = tile.dim();
        let flat = tile.as_slice().unwrap_or_default();
        let tensor = TensorRef::from_array_view(([1usize, channels, z, y, x], flat)).map_err(failed)?;
        let outputs = self.inner.run(ort::inputs![self.input.as_str() => tensor]).map_err(failed)?;
        let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        let classes = self.package.manifest().labels.len();
        let wanted = [1, classes as i64, z as i64, y as i64, x as i64];
        if shape[..] != wanted {
            let reason = format!("it gave logits of shape {:?} where {wanted:?} is needed", &shape[..]);
            return Err(SessionError::Shape { model: model.clone(), reason });
        }
        Array4::from_shape_vec((classes, z, y, x), values.to_vec())
            .map_err(|error| SessionError::Shape { model: model.clone(), reason: error.to_string() })
    }
}

fn start(
    runtime: &Runtime,
    package: &Package,
    device: &Device,
    provider: Provider,
) -> Result<ort::session::Session, SessionError> {
    let failed = |reason: String| SessionError::Open { model: package.manifest().name.clone(), provider, reason };
    let mut builder =
        ort::session::Session::builder(runtime.environment()).map_err(|error| failed(error.to_string()))?;
    if device.threads > 0 {
        builder = builder.with_intra_threads(device.threads).map_err(|error| failed(error.to_string()))?;
    }
    if provider == Provider::OpenVino {
        builder = builder.with_execution_providers([openvino(device)]).map_err(|error| failed(error.to_string()))?;
    }
    builder.commit_from_memory(package.model()).map_err(|error| failed(error.to_string()))
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

/// The input's name, where the network has one input and one output of the package's shape.
fn fitting_input(session: &ort::session::Session, package: &Package) -> Result<String, SessionError> {
    let wrong = |reason: String| SessionError::Shape { model: package.manifest().name.clone(), reason };
    let ([input], [output]) = (session.inputs(), session.outputs()) else {
        let counts = (session.inputs().len(), session.outputs().len());
        return Err(wrong(format!("it has {} inputs and {} outputs where one each is needed", counts.0, counts.1)));
    };
    let [z, y, x] = package.plans().patch_size;
    for (what, channels, found) in [
        ("input", package.manifest().channels.len(), input.dtype().tensor_shape()),
        ("output", package.manifest().labels.len(), output.dtype().tensor_shape()),
    ] {
        let found = found.ok_or_else(|| wrong(format!("its {what} is not a tensor")))?;
        let wanted = [1, channels as i64, z as i64, y as i64, x as i64];
        // A dimension of -1 is free.
        let fits = found.len() == 5 && found.iter().zip(wanted).all(|(found, wanted)| *found == wanted || *found == -1);
        if !fits {
            return Err(wrong(format!("its {what} has the shape {:?} where {wanted:?} is needed", &found[..])));
        }
    }
    Ok(input.name().to_owned())
}
