//! What a pipeline's rule does with the series that it takes, and as what it takes a series: the rows of `matches`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sulcus_operators::{digest::Digest, rows::Fault};

use crate::ledger::event::{InputRule, PipelineRule};

/// What follows where a rule takes a series as the first of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Digest of the model package.
    pub model: Digest,
    /// Further series that the model reads, in its order.
    pub inputs: Vec<InputRule>,
    /// What is done where those do not all come; none: they are waited for.
    pub alone: Option<Alone>,
}

/// A model for the first series alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alone {
    /// Digest of the model package.
    pub model: Digest,
    /// How long the others are waited for, in milliseconds.
    pub after_millis: u64,
}

/// What of a rule decides whether it applies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// What follows where it holds.
    pub plan: Arc<Plan>,
    /// The CEL expression.
    pub when: String,
}

/// As what a pipeline takes a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Applied {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Where it may be the first of a run: what follows.
    pub first: Option<Arc<Plan>>,
    /// As what else: which further input of which plan it may be. A run is made by one rule, that of its first series, so
    /// these are told for all rules in force, whichever governs this series.
    pub places: Vec<Place>,
    /// The rule that governs it fails on it.
    pub fault: Option<Fault>,
}

/// A further input that a series may be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Of which plan.
    pub plan: Arc<Plan>,
    /// Which of its inputs, from 0.
    pub input: usize,
    /// Why the input's rule cannot be evaluated on the series: then it is none.
    pub fault: Option<Fault>,
}

impl Plan {
    /// What the rule says but for its expression.
    pub fn of(rule: &PipelineRule) -> Self {
        let PipelineRule { name, model, inputs, alone, .. } = rule;
        let alone = alone.as_ref().map(|alone| Alone { model: alone.model, after_millis: alone.after_millis });
        Plan { pipeline: name.clone(), model: *model, inputs: inputs.clone(), alone }
    }

    /// What tells it from other plans of its pipeline: of one that reads a single series the model's digest, as seals had it
    /// before there were others.
    pub fn identity(&self) -> Digest {
        match (self.inputs.as_slice(), &self.alone) {
            ([], None) => self.model,
            (inputs, alone) => Digest::of_row("plan", &(self.model, inputs, alone)),
        }
    }
}
