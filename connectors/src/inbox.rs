//! What a connector hands received objects to. The engine implements it over the spool and the ledger.

use std::collections::{BTreeMap, BTreeSet};

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

/// A sender's request that we keep what it sent (PS3.4 J.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitmentRequest {
    /// Transaction UID (0008,1195).
    pub transaction_uid: String,
    /// SOP Class UID and SOP Instance UID of each object; no instance twice.
    pub listed: Vec<(String, String)>,
}

/// Whether one object of a request is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Its bytes and its event are durable.
    Safe,
    /// It is not, with Failure Reason (0008,1197).
    Not(u16),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is durable; whether each object is kept, in the order of the request.
    Recorded(Vec<Kept>),
    /// It could not be recorded; the sender may ask again.
    Failed,
}

/// How far a performed procedure step is (Performed Procedure Step Status, PS3.3 C.4.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// The scanner is at it.
    InProgress,
    /// It ended as it was meant to.
    Completed,
    /// It was broken off.
    Discontinued,
}

/// What a scanner says of a performed procedure step as it begins one or reports of one (PS3.4 F.7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMessage {
    /// SOP Instance UID of the step.
    pub step_uid: String,
    /// True for N-CREATE, false for N-SET.
    pub begins: bool,
    /// How far it is; none where that is as it was.
    pub state: Option<StepState>,
    /// Study Instance UIDs that it is of; empty where they are as they were.
    pub study_uids: Vec<String>,
    /// SOP Instance UIDs of what it made, by Series Instance UID; none where that is as it was.
    pub series: Option<BTreeMap<String, BTreeSet<String>>>,
}

/// What became of a message on a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// It is durable, or was already.
    Recorded,
    /// The step was begun before.
    Begun,
    /// The step was never begun here.
    Unknown,
    /// The step has ended, and says something else now.
    Ended,
    /// There are more messages on this step than any scanner has reason to send.
    TooMany,
    /// It could not be recorded; the scanner may say it again.
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

    /// Takes a sender's request for commitment, and returns when it is durable (or not). Blocks. Who keeps no list commits
    /// himself to nothing.
    fn commitment_asked(&self, _source: &str, _request: &CommitmentRequest) -> Asked {
        Asked::Failed
    }

    /// Takes what a scanner says of a step, and returns when it is durable (or refused). Blocks. Who keeps no steps knows
    /// none.
    fn step_reported(&self, _source: &str, _message: &StepMessage) -> Stepped {
        Stepped::Failed
    }
}
