//! The objects that leave: the DICOM Segmentation and `report.json`, their identities, and the check that reads a
//! written segmentation back before anything is sent.
//!
//! Storing and sending them is the engine's.

pub mod check;
pub mod dicom;
pub mod encapsulated;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixture;
pub mod judged;
pub mod key_images;
pub mod page;
pub(crate) mod planes;
pub(crate) mod raster;
pub mod report;
pub mod seg;
pub mod typeface;
pub mod uid;
pub(crate) mod wording;

/// What every object says of itself until a site's own configuration says otherwise.
pub const RESEARCH_USE: &str = "Research use only, not for diagnosis";
