//! Asks the archive of a source how many instances a series has (C-FIND). What it says is an event where it is news; where
//! it cannot be asked, weaker evidence and the idle timer remain.

use std::time::Duration;

use sulcus_connectors::dimse::find::Archive;
use sulcus_operators::rows::Seq;

use super::port::{Port, Stopping};
use crate::ledger::{event::Event, read::Reader};

/// For the connection, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A series whose instances are to be counted.
#[derive(Clone, Debug)]
pub struct Question {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// SeriesInstanceUID.
    pub series_uid: String,
}

/// One source's archive.
pub struct Counter {
    source: String,
    archive: Archive,
    reader: Reader,
    port: Port,
    /// It could not be asked the last time, which is said once.
    failing: bool,
}

impl Counter {
    /// Of the archive of a source.
    pub fn new(source: &str, archive: &sulcus_config::Archive, reader: Reader, port: Port) -> Self {
        let archive = Archive {
            address: archive.address.clone(),
            calling_ae_title: archive.calling_ae_title.clone(),
            called_ae_title: archive.ae_title.clone(),
            timeout: TIMEOUT,
        };
        Counter { source: source.to_owned(), archive, reader, port, failing: false }
    }

    /// Asks, and records what is news.
    pub fn ask(&mut self, Question { study_uid, series_uid }: Question) -> Result<Seq, Stopping> {
        let instances = match self.archive.count(&study_uid, &series_uid) {
            Ok(instances) => instances,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(source = self.source, %error, "the archive cannot be asked how many instances its series have");
                }
                return Ok(0);
            }
        };
        if std::mem::take(&mut self.failing) {
            tracing::info!(source = self.source, "the archive answers again");
        }
        match self.counted(&series_uid) {
            Some(known) if known == instances => Ok(0),
            _ => {
                let source = self.source.clone();
                self.port.append(&[Event::SeriesCounted { source, study_uid, series_uid, instances }])
            }
        }
    }

    /// What it last said of a series. What cannot be read is said again.
    fn counted(&self, series_uid: &str) -> Option<u32> {
        let entries = self.reader.entries_about(series_uid, usize::MAX).ok()?;
        entries.iter().rev().find_map(|entry| match &entry.event {
            Event::SeriesCounted { series_uid: of, instances, .. } if of == series_uid => Some(*instances),
            _ => None,
        })
    }
}
