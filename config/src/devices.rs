//! What models run on: one inference process for each entry.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problems::Checks;
use crate::rules;

/// `[[device]]`: one inference process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The name that rows and logs use.
    pub name: String,
    /// Which of ONNX Runtime's execution providers computes.
    pub provider: Provider,
    /// Which GPU, counted from 0; for `cuda` and `tensorrt` alone.
    #[serde(default)]
    pub gpu: u16,
    /// Most memory that models may take on it, MiB; 0: all that is free. A model that needs more is not run on it, and
    /// models that do not fit beside each other are loaded by turns. A GPU keeps to it; on a CPU it is only reckoned with.
    #[serde(default)]
    pub memory_mib: u32,
    /// Threads that one run may use; 0: as many as the machine has cores.
    #[serde(default)]
    pub threads: u16,
}

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Intel OpenVINO on the CPU; needs ONNX Runtime's OpenVINO build.
    Openvino,
    /// ONNX Runtime's own CPU kernels; always there.
    Cpu,
    /// An NVIDIA GPU by CUDA and cuDNN; needs ONNX Runtime's GPU build.
    Cuda,
    /// An NVIDIA GPU by TensorRT; needs ONNX Runtime's GPU build, and TensorRT.
    Tensorrt,
}

impl Device {
    /// A device with nothing set but its provider.
    pub fn new(name: &str, provider: Provider) -> Device {
        Device { name: name.to_owned(), provider, gpu: 0, memory_mib: 0, threads: 0 }
    }

    pub(crate) fn check(&self, at: &mut Checks<'_>) {
        rules::between(at, "threads", u64::from(self.threads), 0, 1024);
        let on_gpu = matches!(self.provider, Provider::Cuda | Provider::Tensorrt);
        if self.gpu > 0 && !on_gpu {
            at.problem("gpu", format!("gpu is {}, and this provider has no GPU; drop it", self.gpu));
        }
    }
}
