//! How this host stands to each other one, for whoever asks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use sulcus_operators::rows::Seq;

/// How this host follows another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The last of its events that has been taken in or passed over.
    pub upto: Seq,
    /// Why it is not followed now; none where it is.
    pub trouble: Option<String>,
}

/// All of them, by name of host.
#[derive(Debug, Default)]
pub struct Links(Mutex<BTreeMap<String, Link>>);

impl Links {
    /// Notes how a host is followed.
    pub fn note(&self, host: &str, link: Link) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), link);
    }

    /// How all are followed.
    pub fn all(&self) -> BTreeMap<String, Link> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
