//! Lesions as connected components of a mask, their measurements, and who they are from one run to the next.
//!
//! What a lesion means to a report, and what a reader decides about it, is left to the engine.

pub mod components;
pub mod measure;
pub mod tracking;
pub mod visits;
