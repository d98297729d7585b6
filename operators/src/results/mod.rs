//! What leaves of a result: DICOM Segmentation, structured report, rejection note, the page for people and its key images,
//! `report.json`, FHIR bundle, BIDS derivatives; their identities; and the check that reads a written segmentation back
//! before anything is sent.
//!
//! Storing and sending them is the engine's.

pub mod check;
pub mod derivatives;
pub mod dicom;
pub mod encapsulated;
pub mod fhir;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixture;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixture_report;
pub mod judged;
pub mod key_images;
pub mod kos;
pub mod page;
pub mod parts;
pub(crate) mod planes;
pub(crate) mod raster;
pub mod report;
pub mod seg;
pub mod sr;
pub mod typeface;
pub mod uid;
pub(crate) mod wording;

pub use dicom::text::iso_8601;

/// What every object says of itself until a site's own configuration says otherwise.
pub const RESEARCH_USE: &str = "Research use only, not for diagnosis";
