//! How the world is met: DIMSE, folders, the scanner simulator.

pub mod dimse;
pub mod folder;
pub mod inbox;
pub mod scanner;
