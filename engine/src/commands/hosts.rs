//! To which host of a cluster something is to be said: whoever acts on a study is its one voice.

use sulcus_config::Site;

use super::CommandError;
use crate::ledger::read::Reader;

/// Refuses what is said of a study that came to another host alone.
pub(super) fn said_here(reader: &Reader, study_uid: &str) -> Result<(), CommandError> {
    match reader.elsewhere(study_uid).map_err(CommandError::plain)? {
        None => Ok(()),
        Some(host) => Err(CommandError::work(
            format!("study {study_uid} came to host {host}, which alone acts on it, so nothing was recorded"),
            format!("say it there: run the command with the configuration of host {host}"),
        )),
    }
}

/// Refuses what is said of patients to a host that is not the first by name: of two merges the newer counts.
pub(super) fn said_to_first(site: &Site) -> Result<(), CommandError> {
    let Some(cluster) = &site.cluster else { return Ok(()) };
    match cluster.peers.iter().map(|peer| &peer.name).min().filter(|first| **first < cluster.host) {
        None => Ok(()),
        Some(first) => Err(CommandError::work(
            "merges are said to the first host of a cluster by name, so nothing was recorded",
            format!("say it there: run the command with the configuration of host {first}"),
        )),
    }
}
