//! What a report says of its run: model, series, grid.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::thousandths;
use crate::{
    domain::ToldDistance,
    rows::{RunInput, RunOrder, RunOutcome},
};

/// One run of one model on one volume, or on several of one grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// RunKey: digest of pixels, geometry, model and parameters.
    pub run_key: String,
    /// SeriesInstanceUID of the series that was used; of several the first, on whose grid the lesions lie.
    pub series_instance_uid: String,
    /// Which volume of the series, in words.
    pub stack: String,
    /// Further series that the model read beside it, in its order; left out where it read none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Name of the model.
    pub model_name: String,
    /// Version of the model.
    pub model_version: String,
    /// Digest of the model package.
    pub model_digest: String,
    /// Voxels of the volume (columns, rows, slices).
    pub size: [u32; 3],
    /// Distance between columns, rows and slices, mm.
    pub spacing_mm: [f64; 3],
    /// Which scale intensities are in.
    pub intensity_scale: String,
    /// How far the scan is from those that the model learned from; none where it cannot tell.
    #[serde(default)]
    pub domain: Option<ToldDistance>,
}

/// A further series that the model read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What the pipeline calls it.
    pub name: String,
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// Which volume of the series, in words.
    pub stack: String,
}

impl Run {
    /// `model` is its name and version.
    pub(super) fn new(order: &RunOrder, outcome: &RunOutcome, model: (&str, &str)) -> Self {
        Run {
            run_key: order.run_key.to_string(),
            series_instance_uid: order.series_uid.clone(),
            stack: order.stack.clone(),
            inputs: order.inputs.iter().map(Input::new).collect(),
            model_name: model.0.to_owned(),
            model_version: model.1.to_owned(),
            model_digest: order.model.to_string(),
            size: outcome.size,
            spacing_mm: outcome.spacing_um.map(thousandths),
            intensity_scale: outcome.intensity_scale.clone(),
            domain: outcome.domain.as_ref().map(ToldDistance::new),
        }
    }
}

impl Input {
    fn new(row: &RunInput) -> Self {
        Self { name: row.name.clone(), series_instance_uid: row.series_uid.clone(), stack: row.stack.clone() }
    }
}
