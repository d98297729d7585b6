//! Where results go: DICOM nodes and folders, with how a failed delivery is tried again.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problems::Checks;
use crate::rules;
use crate::seconds::Seconds;

/// `[[destination]]`: one receiver of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Destination {
    /// A Storage SCP.
    Dicom(DicomDestination),
    /// A folder.
    Folder(FolderDestination),
}

/// A Storage SCP that results are sent to by C-STORE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DicomDestination {
    /// The name that pipelines use.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
    /// The AE title that is called.
    pub ae_title: String,
    /// The AE title that Sulcus calls itself.
    #[serde(default = "calling_ae_title")]
    pub calling_ae_title: String,
    /// Whether an object is delivered only once the archive has committed itself to keep it (PS3.4 annex J).
    #[serde(default)]
    pub storage_commitment: bool,
    /// How long the archive may take to say so, before the delivery counts as failed.
    #[serde(default = "commitment")]
    pub commitment_seconds: Seconds,
    /// How a failed delivery is tried again.
    #[serde(default)]
    pub retry: Retry,
}

/// A folder that results are written to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FolderDestination {
    /// The name that pipelines use.
    pub name: String,
    /// The folder; a relative path counts from the file's own folder.
    pub path: PathBuf,
    /// How a failed delivery is tried again.
    #[serde(default)]
    pub retry: Retry,
}

fn calling_ae_title() -> String {
    "SULCUS".to_owned()
}

fn commitment() -> Seconds {
    Seconds(60.0)
}

/// The pause before a failed delivery is tried again: the first, doubled each time, up to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// The first pause.
    pub first_seconds: Seconds,
    /// The longest pause.
    pub limit_seconds: Seconds,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { first_seconds: Seconds(1.0), limit_seconds: Seconds(300.0) }
    }
}

impl Retry {
    /// The pause after so many failed attempts; none after zero.
    pub fn pause(&self, attempts: u32) -> Duration {
        let Some(doublings) = attempts.checked_sub(1) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first_seconds.duration().saturating_mul(factor).min(self.limit_seconds.duration())
    }
}

impl Destination {
    /// The name that pipelines use.
    pub fn name(&self) -> &str {
        match self {
            Destination::Dicom(destination) => &destination.name,
            Destination::Folder(destination) => &destination.name,
        }
    }

    /// How a failed delivery is tried again.
    pub fn retry(&self) -> Retry {
        match self {
            Destination::Dicom(destination) => destination.retry,
            Destination::Folder(destination) => destination.retry,
        }
    }

    pub(crate) fn check(&self, at: &mut Checks<'_>) {
        match self {
            Destination::Dicom(destination) => {
                rules::host_and_port(at, "address", &destination.address);
                rules::ae_title(at, "ae_title", &destination.ae_title);
                rules::ae_title(at, "calling_ae_title", &destination.calling_ae_title);
                rules::seconds(at, "commitment_seconds", destination.commitment_seconds);
            }
            Destination::Folder(destination) => rules::path(at, "path", &destination.path),
        }
        let retry = self.retry();
        let mut at = at.within("retry");
        rules::seconds(&mut at, "first_seconds", retry.first_seconds);
        rules::seconds(&mut at, "limit_seconds", retry.limit_seconds);
        if retry.limit_seconds < retry.first_seconds {
            at.problem(
                "limit_seconds",
                "limit_seconds is shorter than first_seconds; make it at least as long".to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_however_many_attempts_failed() {
        let retry = Retry::default();
        assert_eq!(retry.pause(0), Duration::ZERO);
        assert_eq!([1, 2, 3].map(|n| retry.pause(n).as_secs()), [1, 2, 4]);
        assert_eq!(retry.pause(10), Duration::from_secs(300));
        assert_eq!(retry.pause(u32::MAX), Duration::from_secs(300));
    }
}
