//! Where results go: DICOM nodes, folders, FHIR servers and BIDS data sets, with how a failed delivery is tried again.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outputs::Role;
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
    /// A FHIR R4 server.
    Fhir(FhirDestination),
    /// A BIDS data set of derivatives.
    Bids(BidsDestination),
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
    /// What it is sent, DICOM objects alone. With "rejection-note" it is told of results that no longer stand (IHE IOCM).
    #[serde(default = "outputs_of_dicom")]
    pub outputs: Vec<Role>,
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
    /// What is written there.
    #[serde(default = "FolderDestination::default_outputs")]
    pub outputs: Vec<Role>,
    /// How a failed delivery is tried again.
    #[serde(default)]
    pub retry: Retry,
}

/// A FHIR R4 server that results are posted to, one transaction a revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FhirDestination {
    /// The name that pipelines use.
    pub name: String,
    /// The server's base URL, http or https.
    pub url: String,
    /// A file that holds a bearer token; read before each delivery. A relative path counts from the file's own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// How a failed delivery is tried again.
    #[serde(default)]
    pub retry: Retry,
}

/// The root of a BIDS data set of derivatives: label maps, probability maps and what is known of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BidsDestination {
    /// The name that pipelines use.
    pub name: String,
    /// The data set's root; a relative path counts from the file's own folder.
    pub path: PathBuf,
    /// How a failed delivery is tried again.
    #[serde(default)]
    pub retry: Retry,
}

pub(crate) fn calling_ae_title() -> String {
    "SULCUS".to_owned()
}

fn outputs_of_dicom() -> Vec<Role> {
    vec![Role::Segmentation, Role::StructuredReport, Role::EncapsulatedReport]
}

impl FolderDestination {
    /// What a folder is given unless it says otherwise.
    pub fn default_outputs() -> Vec<Role> {
        vec![Role::Segmentation, Role::StructuredReport, Role::KeyImages, Role::Report, Role::Page]
    }
}

fn commitment() -> Seconds {
    Seconds(60.0)
}

/// The pause before a failed delivery is tried again: the first, doubled each time, up to the limit; and when it is given
/// up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// The first pause.
    pub first_seconds: Seconds,
    /// The longest pause.
    pub limit_seconds: Seconds,
    /// Attempts before a delivery is given up until somebody asks for it (`sulcus resend`). With the pauses above, the
    /// default is three days and a half.
    pub attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { first_seconds: Seconds(1.0), limit_seconds: Seconds(300.0), attempts: 1000 }
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
            Destination::Fhir(destination) => &destination.name,
            Destination::Bids(destination) => &destination.name,
        }
    }

    /// How a failed delivery is tried again.
    pub fn retry(&self) -> Retry {
        match self {
            Destination::Dicom(destination) => destination.retry,
            Destination::Folder(destination) => destination.retry,
            Destination::Fhir(destination) => destination.retry,
            Destination::Bids(destination) => destination.retry,
        }
    }

    /// The folder that results are written to, where it is one.
    pub fn folder(&self) -> Option<&PathBuf> {
        match self {
            Destination::Folder(destination) => Some(&destination.path),
            Destination::Bids(destination) => Some(&destination.path),
            Destination::Dicom(_) | Destination::Fhir(_) => None,
        }
    }

    /// What it is sent.
    pub fn outputs(&self) -> &[Role] {
        match self {
            Destination::Dicom(destination) => &destination.outputs,
            Destination::Folder(destination) => &destination.outputs,
            Destination::Fhir(_) => &[Role::Fhir],
            Destination::Bids(_) => &[Role::Derivatives],
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
            Destination::Bids(destination) => rules::path(at, "path", &destination.path),
            Destination::Fhir(destination) => {
                let private = rules::base_url(at, "url", &destination.url);
                if let Some(file) = &destination.token_file {
                    rules::path(at, "token_file", file);
                    if !private {
                        at.problem(
                            "token_file",
                            "token_file would be sent in the clear over http; use an https url".to_owned(),
                        );
                    }
                }
            }
        }
        self.check_outputs(at);
        let retry = self.retry();
        let mut at = at.within("retry");
        rules::between(&mut at, "attempts", retry.attempts.into(), 1, 1_000_000);
        rules::seconds(&mut at, "first_seconds", retry.first_seconds);
        rules::seconds(&mut at, "limit_seconds", retry.limit_seconds);
        if retry.limit_seconds < retry.first_seconds {
            at.problem(
                "limit_seconds",
                "limit_seconds is shorter than first_seconds; make it at least as long".to_owned(),
            );
        }
    }

    fn check_outputs(&self, at: &mut Checks<'_>) {
        let outputs = self.outputs();
        if outputs.is_empty() {
            at.problem(
                "outputs",
                "outputs is an empty list; leave it out for what this kind takes by itself".to_owned(),
            );
        }
        for (index, output) in outputs.iter().enumerate() {
            let name = output.name();
            if outputs.iter().take(index).any(|earlier| earlier == output) {
                at.within("outputs").problem(index, format!("outputs names \"{name}\" twice; name it once"));
            } else if matches!(self, Destination::Dicom(_)) && !output.is_dicom() {
                at.within("outputs").problem(
                    index,
                    format!("\"{name}\" is no DICOM object, and \"{}\" takes nothing else; leave it out", self.name()),
                );
            }
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
