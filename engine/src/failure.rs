//! A failure of the engine with what to do about it, and whether the configuration is to blame.

use thiserror::Error;

/// What failed, and the hint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason} ({hint})")]
pub struct Hinted {
    /// True where usage or configuration is wrong: exit code 2.
    pub usage: bool,
    /// What failed.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

impl Hinted {
    /// Wrong usage or configuration.
    pub fn usage(reason: impl ToString, hint: impl ToString) -> Self {
        Hinted { usage: true, reason: reason.to_string(), hint: hint.to_string() }
    }

    /// Work that failed.
    pub fn work(reason: impl ToString, hint: impl ToString) -> Self {
        Hinted { usage: false, reason: reason.to_string(), hint: hint.to_string() }
    }
}
