//! DIMSE: a Storage SCP and a Storage SCU of our own (PS3.7, PS3.8) on plain threads and sockets.
//!
//! `dicom-ul` reads and writes the PDUs of negotiation; commands and P-DATA, which every slice passes through, are read
//! here without extra copies. Nothing is decided about an object: its bytes go to the [`Inbox`](crate::inbox::Inbox).
//!
//! From the bottom: `wire` (bytes under deadlines), `command`, `message` and `data_sets` (what bytes mean), `association`
//! (negotiation, with `accept` and `sources` for what and who is let in), `scu` and `scp` (the two services), `commitment`,
//! `asking` and `committing` (an archive's word that it keeps what it was sent, and ours), `steps` (what a scanner says that
//! it made), `find` (what an archive says that it holds).

pub mod accept;
mod asking;
mod association;
pub mod command;
pub mod commitment;
pub mod committing;
mod data_sets;
pub mod find;
mod message;
pub mod scp;
pub mod scu;
mod service;
pub mod sources;
pub mod status;
pub mod steps;
mod wire;

pub use message::MAX_PDU;
pub use wire::WireError;

/// Implementation Version Name (PS3.7 D.3.3.2.3); the class UID is that of the files we write.
pub use sulcus_operators::part10::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION as IMPLEMENTATION_VERSION_NAME};
