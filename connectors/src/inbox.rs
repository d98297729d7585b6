//! What a connector hands received objects to. The engine implements it over the spool and the ledger.

/// One object as it came in.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Name of the source in the site's configuration.
    pub source: String,
    /// TransferSyntaxUID of `data_set`.
    pub transfer_syntax: String,
    /// Affected SOP Class UID of the command, or of the file's group 0002; may be empty.
    pub sop_class_uid: String,
    /// Affected SOP Instance UID of the command, or of the file's group 0002; may be empty.
    pub sop_instance_uid: String,
    /// The data set's bytes, without group 0002.
    pub data_set: Vec<u8>,
}

/// What became of it. Every variant but the last two means: the bytes are durable, the sender may forget them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Kept, as an instance of this series.
    Kept {
        /// SeriesInstanceUID.
        series_uid: String,
    },
    /// The same bytes are already held; nothing changes.
    Repeated {
        /// SeriesInstanceUID.
        series_uid: String,
    },
    /// The same UID with other bytes: the first is kept, this one is held in quarantine.
    Conflict,
    /// Kept in quarantine: it cannot be understood.
    Quarantined {
        /// Why.
        reason: String,
    },
    /// Not kept: the disk or a limit is exhausted (status 0xA700).
    OutOfResources {
        /// What is exhausted.
        reason: String,
    },
    /// Not kept: storing failed (status 0x0110, processing failure).
    Failed {
        /// Why.
        reason: String,
    },
}

/// What an archive reports of a storage commitment transaction (PS3.4 J.3.3): which objects it keeps, and which not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitmentReport {
    /// Transaction UID (0008,1195), the one that the request carried.
    pub transaction_uid: String,
    /// SOP Instance UIDs that it commits itself to keep.
    pub committed: Vec<String>,
    /// SOP Instance UIDs that it does not, each with Failure Reason (0008,1197).
    pub failed: Vec<(String, u16)>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is durable, or was already.
    Recorded,
    /// Nobody here began this transaction.
    Unknown,
    /// There are more reports on this transaction than any archive has reason to send.
    TooMany,
    /// It could not be recorded; the archive may report again.
    Failed,
}

/// Where received objects go. Calls come from many threads at once.
pub trait Inbox: Send + Sync {
    /// Stores one object and returns when it is durable (or refused). Blocks.
    fn store(&self, incoming: Incoming) -> Stored;

    /// Tells that the association (or folder pass) that brought `series_uids` ended. `orderly` is true for A-RELEASE.
    fn released(&self, source: &str, series_uids: Vec<String>, orderly: bool);

    /// Takes an archive's report and returns when it is durable (or refused). Blocks. Who asks for no commitment knows no
    /// transaction.
    fn commitment_reported(&self, _report: CommitmentReport) -> Reported {
        Reported::Unknown
    }
}
