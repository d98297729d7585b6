//! The objects that leave: the DICOM Segmentation, the structured report, the rejection note and `report.json`, their
//! identities, and the check that reads a written segmentation back before anything is sent.
//!
//! Storing and sending them is the engine's.

pub mod check;
pub mod dicom;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixture;
pub mod judged;
pub mod kos;
pub mod report;
pub mod seg;
pub mod sr;
pub mod uid;

/// What every object says of itself until a site's own configuration says otherwise.
pub const RESEARCH_USE: &str = "Research use only, not for diagnosis";
