//! What events are made of: places, scopes, timers, what operators say.

use serde::{Deserialize, Serialize};
use sulcus_operators::{digest::Digest, rows::Seq};

/// Where the bytes of an instance lie in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpoolPlace {
    /// Number of the segment file.
    pub segment: u32,
    /// Offset of the record within it, in bytes.
    pub offset: u64,
    /// Length of the data set (without group 0002), in bytes.
    pub length: u64,
}

/// What a withdrawal covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// One SOP Instance UID.
    Instance(String),
    /// One Series Instance UID.
    Series(String),
    /// One Study Instance UID.
    Study(String),
}

/// What kind of reason a withdrawal has, by what follows for objects made of the instances (titles of rejection notes,
/// PS3.16 CID 7010); what weighs more is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
pub enum Because {
    /// They are kept no longer.
    Retention,
    /// They are too poor to be used.
    Quality,
    /// A wrong worklist entry was chosen for them at the scanner.
    WrongWorklistEntry,
    /// They are of another patient than they say.
    WrongPatient,
}

impl Because {
    /// True where the instances are of another patient than they say: whom a wrong worklist entry names is not who lay in
    /// the scanner.
    pub fn disowns(self) -> bool {
        matches!(self, Because::WrongPatient | Because::WrongWorklistEntry)
    }

    /// It in words, said of a series.
    pub fn words(self) -> &'static str {
        match self {
            Because::Retention => "it is kept no longer",
            Because::Quality => "it is too poor to be used",
            Because::WrongWorklistEntry => "a wrong worklist entry was chosen for it",
            Because::WrongPatient => "it is of another patient",
        }
    }
}

/// What a series waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerKind {
    /// The settle window after what looks complete and was released.
    Settle,
    /// The idle timer, the last resort.
    Idle,
    /// The archive of its source is to be asked how many instances the series has. It never runs out: what was answered is an
    /// event of its own.
    Count,
    /// Further series of its study, for so long; what ran out counts for whoever waits no longer.
    Inputs {
        /// How long.
        millis: u64,
    },
}

/// A timer that the graph wants: it is due `millis` after it is first seen wanted by a running engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timer {
    /// SeriesInstanceUID.
    pub series_uid: String,
    /// What for.
    pub kind: TimerKind,
    /// The series' last member when it was set (`SeriesState::last_member`): a later slice makes another timer. Of
    /// [`TimerKind::Inputs`] its first member, since a late slice gives the other series no more time.
    pub as_of: Seq,
    /// How long, from the source's policy or the pipeline's rule.
    pub millis: u64,
}

/// Names one revision of one pipeline's report on one study.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionKey {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// 1 for the first.
    pub revision: u32,
}

/// The run that a revision reports on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReportedRun {
    /// The run.
    pub run_key: Digest,
    /// SeriesInstanceUID of the series that it ran on; of several the first.
    pub series_uid: String,
    /// SeriesInstanceUIDs of its further inputs.
    #[serde(default)]
    pub inputs: Vec<String>,
}

/// What became of an instance that came in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Arrival {
    /// New to the ledger (or its UID was withdrawn before).
    New,
    /// The same UID with the same bytes again: nothing changes.
    Repeated {
        /// The event that brought it first.
        first: Seq,
    },
    /// The same UID with other bytes: the first is kept, this one is held in quarantine.
    Conflict {
        /// The event that brought the one that is kept.
        first: Seq,
    },
}

/// What an operator says of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Directive {
    /// It is to be worked on as it stands.
    Close {
        /// Its last member (`SeriesState::last_member`): void once more comes.
        as_of: Seq,
    },
    /// It is to wait, whatever the evidence says.
    Hold,
    /// The evidence counts again.
    Release,
}

/// How far a performed procedure step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StepState {
    /// The scanner is at it.
    InProgress,
    /// It ended as it was meant to.
    Completed,
    /// It was broken off.
    Discontinued,
}
