//! What passes between a lane and its worker process: one JSON line an order, one JSON line a reply.
//!
//! Pixels never pass here. A worker reads the spool, and writes the results store, by itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{Millis, PatientKey, ReportRow, Role, RunOrder, RunOutcome},
};

use crate::ledger::event::{Because, RevisionKey, SpoolPlace};

/// Where the bytes of an instance lie.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Lies {
    /// In the spool.
    Spool(SpoolPlace),
    /// In a file of their own, since they came from another host.
    File(PathBuf),
}

/// One instance that an order works on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceInstance {
    /// Where its bytes lie.
    pub lies: Lies,
    /// TransferSyntaxUID.
    pub transfer_syntax: String,
    /// SOPInstanceUID.
    pub sop_instance_uid: String,
}

/// A run that was reported before by those who now want another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EarlierRun {
    /// What it gave.
    pub outcome: RunOutcome,
    /// True where it ran on the series that is run now: then both lie in one patient space.
    pub same_series: bool,
}

/// What was reported on an earlier visit of the same patient, who lay another way then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EarlierVisit {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// StudyDate as in the file; empty where missing.
    pub study_date: String,
    /// What the reported run gave.
    pub outcome: RunOutcome,
    /// The instances of its series.
    pub instances: Vec<SourceInstance>,
    /// Why it cannot be compared with, where the host that has it does not give its bytes.
    pub away: Option<String>,
}

/// Work for a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)]
pub enum Order {
    /// Convert a series and find its lesions.
    Run {
        /// The run.
        order: RunOrder,
        /// Folder of the model package.
        package: PathBuf,
        /// The series' instances.
        instances: Vec<SourceInstance>,
        /// The instances of each of its further inputs.
        inputs: Vec<Vec<SourceInstance>>,
        /// Runs whose lesions the new ones may be, newest first.
        earlier: Vec<EarlierRun>,
        /// Visits whose lesions the new ones may be, nearest first.
        visits: Vec<EarlierVisit>,
    },
    /// Make one object of a revision, and check what was written.
    Encode(EncodeOrder),
    /// Stop the run that is under way at its next tile; it is answered as cancelled. Without one it means nothing.
    Stop,
}

/// An object to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncodeOrder {
    /// The revision it belongs to.
    pub key: RevisionKey,
    /// What to make.
    pub role: Role,
    /// What the revision says.
    pub row: ReportRow,
    /// What the run gave; none when withdrawn.
    pub outcome: Option<RunOutcome>,
    /// The time that the object carries.
    pub at: Millis,
    /// What was encoded of the report so far, of all revisions, in order.
    pub objects: Vec<StoredObject>,
    /// True where the study was received under more than one patient.
    pub several_patients: bool,
    /// The weightiest kind of reason for which a series was withdrawn that an earlier revision was made from.
    pub because: Option<Because>,
    /// Whose study.
    pub patient: PatientKey,
    /// Name and version of the run's model; empty when withdrawn.
    pub model: [String; 2],
    /// The instances of the run; when withdrawn one of the study, whatever became of it.
    pub instances: Vec<SourceInstance>,
}

/// An object that is in the results store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredObject {
    /// Revision of the report.
    pub revision: u32,
    /// When that was issued.
    pub at: Millis,
    /// What it is.
    pub role: Role,
    /// ObjectKey; its `uid()` is the SOPInstanceUID.
    pub object: Digest,
    /// Its bytes.
    pub bytes: Digest,
}

impl EncodeOrder {
    /// What was encoded of a role by earlier revisions, in order.
    pub fn earlier(&self, role: Role) -> impl DoubleEndedIterator<Item = &StoredObject> {
        let earlier = move |object: &&StoredObject| object.role == role && object.revision < self.key.revision;
        self.objects.iter().filter(earlier)
    }
}

/// A worker's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)]
pub enum Reply {
    /// How far the order has come; more replies follow.
    Progress {
        /// Tiles done.
        done: usize,
        /// Tiles in all.
        of: usize,
    },
    /// A run's result; its label map is in the results store.
    Run(RunOutcome),
    /// An object's identity and bytes; they are in the results store.
    Encoded {
        /// ObjectKey.
        object: Digest,
        /// SOPInstanceUID.
        uid: String,
        /// Digest of the bytes.
        bytes: Digest,
        /// Their number.
        length: u64,
    },
    /// The order cannot be carried out.
    Failed(Failure),
}

/// Why an order could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it is.
    pub cause: Cause,
    /// What failed.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

/// What kind of failure it is, and so what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The input: the same again would fail alike, so it is a fault at once.
    Input,
    /// A process died or a computation broke: tried again a few times, then a fault.
    Crash,
    /// A disk, a library or a file of this machine: nothing is wrong with the order, so the lane waits and tries
    /// again until it is cured.
    Surroundings,
    /// Nobody wants it any more.
    Cancelled,
}

impl Failure {
    /// A failure of the input.
    pub fn input(reason: impl ToString, hint: impl ToString) -> Self {
        Failure { cause: Cause::Input, reason: reason.to_string(), hint: hint.to_string() }
    }

    /// A failure that another attempt may cure.
    pub fn crash(reason: impl ToString, hint: impl ToString) -> Self {
        Failure { cause: Cause::Crash, reason: reason.to_string(), hint: hint.to_string() }
    }

    /// It was stopped, since nobody wants it any more.
    pub fn cancelled() -> Self {
        Failure { cause: Cause::Cancelled, reason: "nobody wants it any more".into(), hint: String::new() }
    }

    /// A failure of the machine around.
    pub fn surroundings(reason: impl ToString, hint: impl ToString) -> Self {
        Failure { cause: Cause::Surroundings, reason: reason.to_string(), hint: hint.to_string() }
    }
}
