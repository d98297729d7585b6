//! The Storage SCP against our own SCU and against hand-made bytes.
#![allow(clippy::unwrap_used, missing_docs)]

mod commitment;
mod find;
mod hostile;
mod protocol;
mod store;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sulcus_connectors::dimse::MAX_PDU;
use sulcus_connectors::dimse::scp::{Scp, ScpOptions};
use sulcus_connectors::dimse::scu::StoreOptions;
use sulcus_connectors::dimse::sources::SourceRule;
use sulcus_connectors::inbox::{CommitmentReport, Inbox, Incoming, Reported, Stored};

pub const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
pub const SEG: &str = "1.2.840.10008.5.1.4.1.1.66.4";
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// Keeps everything; what an instance UID ends with decides the answer.
#[derive(Default)]
pub struct MemoryInbox {
    pub objects: Mutex<Vec<Incoming>>,
    pub releases: Mutex<Vec<(String, Vec<String>, bool)>>,
    pub reports: Mutex<Vec<CommitmentReport>>,
}

impl Inbox for MemoryInbox {
    fn store(&self, incoming: Incoming) -> Stored {
        let reason = "by request".to_owned();
        let answer = match incoming.sop_instance_uid.rsplit('.').next() {
            Some("901") => Stored::Conflict,
            Some("902") => Stored::Quarantined { reason },
            Some("903") => Stored::OutOfResources { reason },
            Some("904") => Stored::Failed { reason },
            Some("905") => panic!("an inbox that panics"),
            Some("906") => {
                std::thread::sleep(Duration::from_millis(600));
                Stored::Repeated { series_uid: "1.2.3".to_owned() }
            }
            _ => Stored::Kept { series_uid: "1.2.3".to_owned() },
        };
        self.objects.lock().unwrap().push(incoming);
        answer
    }

    fn released(&self, source: &str, series_uids: Vec<String>, orderly: bool) {
        self.releases.lock().unwrap().push((source.to_owned(), series_uids, orderly));
    }

    fn commitment_reported(&self, report: CommitmentReport) -> Reported {
        let reported = match report.transaction_uid.rsplit('.').next() {
            Some("901") => Reported::Unknown,
            Some("902") => Reported::TooMany,
            Some("903") => Reported::Failed,
            Some("905") => panic!("an inbox that panics"),
            _ => Reported::Recorded,
        };
        self.reports.lock().unwrap().push(report);
        reported
    }
}

/// A running SCP; stopped and joined when dropped.
pub struct Server {
    pub inbox: Arc<MemoryInbox>,
    pub address: String,
    scp: Arc<Scp>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Server {
        Server::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ScpOptions)) -> Server {
        let mut options = ScpOptions::new("127.0.0.1:0", "SULCUS", vec![SourceRule::catch_all("scanner")]);
        change(&mut options);
        let inbox = Arc::new(MemoryInbox::default());
        let scp = Arc::new(Scp::bind(options, inbox.clone()).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (scp, stop) = (scp.clone(), stop.clone());
            move || scp.run(&stop)
        });
        Server { inbox, address: scp.local_addr().to_string(), scp, stop, thread: Some(thread) }
    }

    pub fn options(&self) -> StoreOptions {
        StoreOptions {
            address: self.address.clone(),
            calling_ae_title: "MR7T".to_owned(),
            called_ae_title: "SULCUS".to_owned(),
            contexts: vec![(MR.to_owned(), vec![EXPLICIT.to_owned()])],
            connect_timeout: Duration::from_secs(10),
            io_timeout: Duration::from_secs(10),
            max_pdu: MAX_PDU,
        }
    }

    /// Waits until no association is left, then returns what the inbox was told about their ends.
    pub fn ended(&self, count: usize) -> Vec<(String, Vec<String>, bool)> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.inbox.releases.lock().unwrap().len() < count || self.scp.open_associations() > 0 {
            assert!(Instant::now() < deadline, "the associations did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.inbox.releases.lock().unwrap().clone()
    }

    pub fn open_associations(&self) -> usize {
        self.scp.open_associations()
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
