//! Who sends: one entry for each kind of sender, with how long to wait before a series counts as whole.

use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problems::Checks;
use crate::rules;
use crate::seconds::Seconds;

/// `[[source]]`: where instances come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// A scanner, archive or router that opens associations to the receiver.
    Dicom(DicomSource),
    /// A folder that is watched for files and archives.
    Folder(FolderSource),
}

/// A sender known by its AE title and address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DicomSource {
    /// The name that rows and reports use.
    pub name: String,
    /// Calling AE titles that this entry speaks for; empty: any.
    #[serde(default)]
    pub ae_titles: Vec<String>,
    /// Addresses that it may call from; empty: any.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpAddr>,
    /// How long a series that looks whole is left open for late slices.
    #[serde(default = "settle")]
    pub settle_seconds: Seconds,
    /// Silence after which a series without other evidence counts as stalled, or as whole where it has no gap.
    #[serde(default = "idle")]
    pub idle_seconds: Seconds,
    /// An archive that holds the same series, and is asked how many instances they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
}

/// `[source.archive]`: an archive that a source's series come from, or go to as well (C-FIND SCP, Study Root).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// `HOST:PORT`.
    pub address: String,
    /// The AE title that is called.
    pub ae_title: String,
    /// The AE title that Sulcus calls itself.
    #[serde(default = "crate::destinations::calling_ae_title")]
    pub calling_ae_title: String,
}

/// A folder watched for Part-10 files and zip archives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FolderSource {
    /// The name that rows and reports use.
    pub name: String,
    /// The folder; a relative path counts from the file's own folder.
    pub path: PathBuf,
    /// How long a series that looks whole is left open for late slices.
    #[serde(default = "settle")]
    pub settle_seconds: Seconds,
    /// Silence after which a series without other evidence counts as stalled, or as whole where it has no gap.
    #[serde(default = "idle")]
    pub idle_seconds: Seconds,
}

fn settle() -> Seconds {
    Seconds(5.0)
}

fn idle() -> Seconds {
    Seconds(60.0)
}

impl Source {
    /// A DICOM source of this name that speaks for every caller, with the default windows.
    pub fn any_sender(name: &str) -> Source {
        Source::Dicom(DicomSource {
            name: name.to_owned(),
            ae_titles: Vec::new(),
            addresses: Vec::new(),
            settle_seconds: settle(),
            idle_seconds: idle(),
            archive: None,
        })
    }

    /// The name that rows and reports use.
    pub fn name(&self) -> &str {
        match self {
            Source::Dicom(source) => &source.name,
            Source::Folder(source) => &source.name,
        }
    }

    /// How long a series that looks whole is left open for late slices.
    pub fn settle_seconds(&self) -> Seconds {
        match self {
            Source::Dicom(source) => source.settle_seconds,
            Source::Folder(source) => source.settle_seconds,
        }
    }

    /// Silence after which a series is judged by what has arrived.
    pub fn idle_seconds(&self) -> Seconds {
        match self {
            Source::Dicom(source) => source.idle_seconds,
            Source::Folder(source) => source.idle_seconds,
        }
    }

    /// The archive that is asked how many instances its series have.
    pub fn archive(&self) -> Option<&Archive> {
        match self {
            Source::Dicom(source) => source.archive.as_ref(),
            Source::Folder(_) => None,
        }
    }

    pub(crate) fn check(&self, at: &mut Checks<'_>) {
        rules::seconds(at, "settle_seconds", self.settle_seconds());
        rules::seconds(at, "idle_seconds", self.idle_seconds());
        if self.idle_seconds() < self.settle_seconds() {
            at.problem(
                "idle_seconds",
                "idle_seconds is shorter than settle_seconds; make it at least as long".to_owned(),
            );
        }
        match self {
            Source::Dicom(source) => {
                for (index, title) in source.ae_titles.iter().enumerate() {
                    rules::ae_title(&mut at.within("ae_titles"), index, title);
                }
                if let Some(archive) = &source.archive {
                    let at = &mut at.within("archive");
                    rules::host_and_port(at, "address", &archive.address);
                    rules::ae_title(at, "ae_title", &archive.ae_title);
                    rules::ae_title(at, "calling_ae_title", &archive.calling_ae_title);
                }
            }
            Source::Folder(source) => rules::path(at, "path", &source.path),
        }
    }
}

impl DicomSource {
    /// Whether this entry speaks for a caller.
    pub fn admits(&self, calling_ae_title: &str, address: IpAddr) -> bool {
        let caller = calling_ae_title.trim_matches(' ');
        (self.ae_titles.is_empty() || self.ae_titles.iter().any(|title| title.trim_matches(' ') == caller))
            && (self.addresses.is_empty() || self.addresses.contains(&address.to_canonical()))
    }
}
