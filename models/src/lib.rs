//! What is inferred: model packages, ONNX Runtime sessions, tiled prediction.
//!
//! This room knows nothing of DICOM networking or of the dataflow; it reads packages and gives lesions.

pub mod brain;
pub mod device;
pub mod embedding;
pub mod golden;
pub mod import;
mod manifest;
pub mod need;
pub mod onnx;
pub mod package;
pub mod plans;
pub mod predict;
pub mod reorient;
pub mod runtime;
pub mod session;
mod sliding;
mod spread;
