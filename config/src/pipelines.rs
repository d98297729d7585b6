//! What is done: which series a model is run on, and where its results go.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::applies::AppliesTo;
use crate::problems::{Checks, nearest};
use crate::rules;
use crate::seconds::Seconds;

/// `[[pipeline]]`: a rule, a model and the destinations of what it finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The name that rows and reports use.
    pub name: String,
    /// A CEL expression over DICOM keywords that says which series it takes, such as
    /// `Modality == "MR" && SeriesDescription.contains("MPRAGE")`. Of a model that reads several series it is the first:
    /// lesions are reported on its grid.
    pub when: String,
    /// The model package's folder; a relative path counts from the file's own folder.
    pub model: PathBuf,
    /// Names of the destinations that its results are delivered to; empty: they are kept in the site's data folder only.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// Which series the rule and the model govern once they are changed: "new", "since YYYY-MM-DD" or "all".
    #[serde(default)]
    pub applies_to: AppliesTo,
    /// How urgent its work is beside that of others. A changed one runs nothing again.
    #[serde(default)]
    pub urgency: Urgency,
    /// Further series of the study that the model reads beside the first, in the order of its channels.
    #[serde(default, rename = "input", skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// What is done where those do not all come; left out: they are waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Alone>,
}

/// `urgency` of a pipeline: what goes first where several wait for a device or a destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Before all others: somebody waits for the result.
    Urgent,
    /// As it comes.
    #[default]
    Normal,
    /// After all others: back-fills, research.
    Background,
}

impl Urgency {
    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Urgency::Urgent => "urgent",
            Urgency::Normal => "normal",
            Urgency::Background => "background",
        }
    }
}

/// `[[pipeline.input]]`: a further series that the model reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What reports call it, such as `INV1`.
    pub name: String,
    /// A CEL expression over DICOM keywords that says which series it may be.
    pub when: String,
}

/// `[pipeline.alone]`: the model for the first series alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alone {
    /// The folder of a package that reads one series; a relative path counts from the file's own folder.
    pub model: PathBuf,
    /// How long the others are waited for once the first is complete, in seconds.
    pub after_seconds: Seconds,
}

/// A package reads up to 16 series.
const MOST_INPUTS: usize = 15;

impl Pipeline {
    pub(crate) fn check(&self, at: &mut Checks<'_>, known: &[&str]) {
        if self.when.trim().is_empty() {
            at.problem("when", "when is empty; write a rule, or \"true\" to take every series".to_owned());
        }
        rules::path(at, "model", &self.model);
        self.check_inputs(at);
        for (index, name) in self.destinations.iter().enumerate() {
            let mut at = at.within("destinations");
            if !known.contains(&name.as_str()) {
                let hint = match (nearest(name, known), known.is_empty()) {
                    (Some(near), _) => format!("did you mean \"{near}\"?"),
                    (None, true) => "add a [[destination]] of this name".to_owned(),
                    (None, false) => format!("known are {}", known.join(", ")),
                };
                at.problem(
                    index,
                    format!("pipeline \"{}\" names an unknown destination \"{name}\"; {hint}", self.name),
                );
            } else if self.destinations.iter().take(index).any(|earlier| earlier == name) {
                at.problem(
                    index,
                    format!("pipeline \"{}\" names destination \"{name}\" twice; name it once", self.name),
                );
            }
        }
    }

    fn check_inputs(&self, at: &mut Checks<'_>) {
        if self.inputs.len() > MOST_INPUTS {
            at.problem(
                "input",
                format!("{} inputs are too many; a model reads up to {MOST_INPUTS}", self.inputs.len()),
            );
        }
        for (index, input) in self.inputs.iter().enumerate() {
            let mut list_at = at.within("input");
            let mut at = list_at.within(index);
            rules::name(&mut at, "name", &input.name);
            if self.inputs.iter().take(index).any(|earlier| earlier.name == input.name) {
                let (pipeline, name) = (&self.name, &input.name);
                at.problem(
                    "name",
                    format!("pipeline \"{pipeline}\" names two inputs \"{name}\"; give each its own name"),
                );
            }
            if input.when.trim().is_empty() {
                at.problem("when", "when is empty; say which series the input may be".to_owned());
            }
        }
        let Some(alone) = &self.alone else { return };
        if self.inputs.is_empty() {
            at.problem(
                "alone",
                "alone has nothing to do without; add a [[pipeline.input]], or leave it out".to_owned(),
            );
        }
        let mut at = at.within("alone");
        rules::path(&mut at, "model", &alone.model);
        rules::seconds(&mut at, "after_seconds", alone.after_seconds);
    }
}
