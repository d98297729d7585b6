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
}

impl Device {
    pub(crate) fn check(&self, at: &mut Checks<'_>) {
        rules::between(at, "threads", u64::from(self.threads), 0, 1024);
    }
}
