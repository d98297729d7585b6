//! Lesions as connected components of a mask, and their measurements.
//!
//! What a lesion means to a report, and what a reader decides about it, is left to the engine.

pub mod components;
pub mod measure;
