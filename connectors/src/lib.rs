//! How the world is met: DIMSE, folders, FHIR servers, BIDS data sets, the scanner simulator.

pub mod bids;
pub mod dimse;
pub mod fhir;
pub mod folder;
pub mod inbox;
pub mod scanner;
