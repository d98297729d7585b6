//! What is computed: pure functions on headers, volumes and lesions, and the DICOM objects made of them.
//!
//! This room opens no socket, reads no clock and starts no thread of its own.

pub mod convert;
pub mod digest;
pub mod domain;
pub mod geometry;
pub mod header;
mod keywords;
pub mod lesions;
pub mod nifti_file;
pub mod nifti_image;
pub mod nnunet;
pub mod part10;
pub mod phantom;
pub mod pixels;
pub mod prescan;
pub mod registration;
pub mod results;
pub mod rows;
mod run_order;
pub mod series;
pub mod visits;
pub mod volume;

#[cfg(test)]
mod scanner_files;
