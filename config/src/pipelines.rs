//! What is done: which series a model is run on, and where its results go.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::applies::AppliesTo;
use crate::problems::{Checks, nearest};
use crate::rules;

/// `[[pipeline]]`: a rule, a model and the destinations of what it finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The name that rows and reports use.
    pub name: String,
    /// A CEL expression over DICOM keywords that says which series it takes, such as
    /// `Modality == "MR" && SeriesDescription.contains("MPRAGE")`.
    pub when: String,
    /// The model package's folder; a relative path counts from the file's own folder.
    pub model: PathBuf,
    /// Names of the destinations that its results are delivered to; empty: they are kept in the site's data folder only.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// Which series the rule and the model govern once they are changed: "new", "since YYYY-MM-DD" or "all".
    #[serde(default)]
    pub applies_to: AppliesTo,
}

impl Pipeline {
    pub(crate) fn check(&self, at: &mut Checks<'_>, known: &[&str]) {
        if self.when.trim().is_empty() {
            at.problem("when", "when is empty; write a rule, or \"true\" to take every series".to_owned());
        }
        rules::path(at, "model", &self.model);
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
}
