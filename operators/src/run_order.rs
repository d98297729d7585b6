//! What a run is to be made of: part of the plain rows (`rows`).

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, rows::Seq};

/// A further input of a run: one volume of another series of the study, which the model reads beside the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunInput {
    /// What the pipeline calls it, such as `INV1`.
    pub name: String,
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// `StackState::stack` of the volume that is used.
    pub stack: String,
    /// Events that brought the instances, ascending.
    pub members: Vec<Seq>,
}

/// A run that should exist: one model on one volume of one series, or of several series of a study.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunOrder {
    /// RunKey: digest of the pixels and geometry used, the model, its parameters, the algorithm version.
    pub run_key: Digest,
    /// StudyInstanceUID.
    pub study_uid: String,
    /// SeriesInstanceUID; of several series the first, on whose grid everything lies.
    pub series_uid: String,
    /// `StackState::stack` of the volume that is used.
    pub stack: String,
    /// Digest of the model package.
    pub model: Digest,
    /// Events that brought the instances, ascending.
    pub members: Vec<Seq>,
    /// Further inputs, in the order of the model's channels after the first; empty where it reads one series.
    #[serde(default)]
    pub inputs: Vec<RunInput>,
}
