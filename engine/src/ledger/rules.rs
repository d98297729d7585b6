//! The rules in force, as one event states them: pipelines, policies of sources, destinations.

use serde::{Deserialize, Serialize};
use sulcus_config::AppliesTo;
use sulcus_operators::{digest::Digest, rows::Role};

/// A rule: which series a pipeline takes, with which model, to where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PipelineRule {
    /// Its name.
    pub name: String,
    /// CEL expression over DICOM keywords.
    pub when: String,
    /// Digest of the model package.
    pub model: Digest,
    /// Where the package lies.
    pub model_path: String,
    /// The model's name and version, for reports that outlive its package; empty in ledgers of earlier versions.
    #[serde(default)]
    pub model_name: [String; 2],
    /// Names of the destinations of its outputs.
    pub destinations: Vec<String>,
    /// Which series it governs where it differs from the rule before; in ledgers of earlier versions all.
    #[serde(default = "all")]
    pub applies_to: AppliesTo,
    /// Further series that the model reads, in the order of its channels after the first.
    #[serde(default)]
    pub inputs: Vec<InputRule>,
    /// What is done where those do not all come; none: they are waited for.
    #[serde(default)]
    pub alone: Option<AloneRule>,
}

/// A further series that a pipeline's model reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputRule {
    /// What the pipeline calls it.
    pub name: String,
    /// CEL expression over DICOM keywords: which series it may be.
    pub when: String,
}

/// The model for the first series alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AloneRule {
    /// Digest of the model package.
    pub model: Digest,
    /// Where the package lies.
    pub model_path: String,
    /// The model's name and version.
    pub model_name: [String; 2],
    /// How long the others are waited for once the first series is complete.
    pub after_millis: u64,
}

fn all() -> AppliesTo {
    AppliesTo::All
}

/// How long a source's series may rest before they are judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourcePolicy {
    /// Its name.
    pub name: String,
    /// Settle window.
    pub settle_millis: u64,
    /// Idle timer.
    pub idle_millis: u64,
    /// Whether its archive is asked how many instances a series has; in ledgers of earlier versions none is.
    #[serde(default)]
    pub counts: bool,
}

/// What a destination takes, and how often it is tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationRule {
    /// Its name.
    pub name: String,
    /// What it takes, in order.
    pub roles: Vec<Role>,
    /// Attempts before a delivery is given up; in ledgers of earlier versions none is.
    #[serde(default = "endless")]
    pub attempts: u32,
}

fn endless() -> u32 {
    u32::MAX
}

/// All rules in force, as one event states them. Each list is sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rules {
    /// The pipelines.
    pub pipelines: Vec<PipelineRule>,
    /// Policies of the sources; one that is not listed has `SourcePolicy` of the first.
    pub sources: Vec<SourcePolicy>,
    /// The destinations.
    pub destinations: Vec<DestinationRule>,
}
