//! How whole-system tests and benches start their peers, and what they share.
//!
//! A peer that is not installed makes its tests skip, plainly said ([`or_skip`]); a peer that is there and misbehaves
//! makes them fail. Every peer listens on a free port, keeps its state in a folder of its test, and ends with its
//! guard.

pub mod bench;
pub mod blob_filter;
pub mod campaign;
pub mod dciodvfy;
pub mod dcmqi;
pub mod dcmtk;
mod http;
pub mod link;
#[path = "../../engine/src/testing.rs"]
pub mod made_up;
pub mod medplum;
pub mod memory;
pub mod npy;
pub mod ohif;
pub mod orthanc;
mod peer;
pub mod phantoms;
pub mod places;
pub mod processes;
pub mod python;
pub mod reported;
pub mod reported_phantom;
pub mod scans;
pub mod segmented;
pub mod serving;
pub mod slices;
pub mod three_channels;
#[path = "../unsynced/cut.rs"]
pub mod unsynced;
pub mod wayward;

pub use peer::{PeerError, Running, free_port, or_skip, program, skip};
