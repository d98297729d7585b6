//! An event in its place.

use serde::{Deserialize, Serialize};
use sulcus_operators::rows::{Millis, Seq};

use super::event::Event;

/// An event with its place in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its sequence number.
    pub seq: Seq,
    /// The committed batch it belongs to: one epoch of the dataflow. Monotone, never above `seq`.
    pub epoch: u64,
    /// When it was committed.
    pub at: Millis,
    /// The host whose ledger told it; none for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What happened.
    pub event: Event,
}
