//! A span of time as a site writes it: a number of seconds.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds, fractions allowed. In a loaded [`Site`](crate::Site) always above zero and at most a week.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl Seconds {
    /// The longest span a setting may ask for: a week.
    pub const LIMIT: f64 = 7.0 * 86_400.0;

    /// The same span as a [`Duration`]; a value that no loaded site can hold counts as zero.
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or_default()
    }
}
