//! The events of the ledger: everything that ever happened, in order, and nothing else.
//!
//! Whatever the graph knows comes from here. Dates, attempts, revisions and timers are recorded data, so a replay
//! gives the same collections, always.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{InstanceFacts, LesionVerdict, Millis, PatientKey, Role, RunOutcome, Seq},
};

pub use sulcus_config::AppliesTo;

pub use super::cohort::Counted;
pub use super::entry::Entry;
pub use super::parts::{
    Arrival, Because, Directive, ReportedRun, RevisionKey, Scope, SpoolPlace, StepState, Timer, TimerKind,
};
pub use super::rules::{AloneRule, DestinationRule, InputRule, PipelineRule, Rules, SourcePolicy};
pub use super::summary::{ReportSummary, SeriesSummary, StudySummary};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)]
pub enum Event {
    /// An instance is durably in the spool.
    InstanceReceived {
        /// Name of the source.
        source: Arc<str>,
        /// Where its bytes lie.
        place: SpoolPlace,
        /// What its header says.
        facts: Arc<InstanceFacts>,
        /// New, repeated, or in conflict.
        arrival: Arrival,
    },
    /// Bytes that cannot be understood, durably kept.
    InstanceQuarantined {
        /// Name of the source.
        source: String,
        /// Where the bytes lie.
        place: SpoolPlace,
        /// The UID that the sender gave (Affected SOP Instance UID, or a file's name).
        sop_instance_uid: String,
        /// Why they cannot be used.
        reason: String,
    },
    /// Somebody took instances back.
    InstanceWithdrawn {
        /// Which.
        scope: Scope,
        /// Why, in the words of whoever did it.
        reason: String,
        /// What kind of reason that is, where it was said.
        #[serde(default)]
        because: Option<Because>,
    },
    /// The association (or folder pass) that brought these series ended.
    AssociationReleased {
        /// Name of the source.
        source: String,
        /// SeriesInstanceUIDs that it brought.
        series_uids: Vec<String>,
        /// True for A-RELEASE; false for an abort or a lost connection, which proves nothing.
        orderly: bool,
    },
    /// A timer ran out.
    TimerFired(Timer),
    /// The rules in force from here on.
    RulesChanged(Rules),
    /// A run begins. Recorded before it does.
    RunStarted {
        /// The run.
        run_key: Digest,
        /// 1 for the first.
        attempt: u32,
    },
    /// A run gave its result.
    RunFinished(RunOutcome),
    /// A run failed.
    RunFailed {
        /// The run.
        run_key: Digest,
        /// Which attempt.
        attempt: u32,
        /// True where another attempt would fail alike (bad input, not a crash).
        permanent: bool,
        /// What failed.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// A run was stopped, since nobody wanted it any more. The attempt does not count among those that failed.
    RunCancelled {
        /// The run.
        run_key: Digest,
        /// Which attempt.
        attempt: u32,
    },
    /// A report's next revision has its number.
    RevisionIssued {
        /// Which revision.
        key: RevisionKey,
        /// `ReportRow::content` that it states.
        content: Digest,
        /// The time that its objects carry.
        at: Millis,
        /// The run that it reports on; none where it is withdrawn, and in events of before this was recorded.
        #[serde(default)]
        run: Option<ReportedRun>,
        /// What it adds to the counts over all patients; none where it is withdrawn, and in events of before this was
        /// recorded.
        #[serde(default)]
        counted: Option<Counted>,
    },
    /// One object of a revision is encoded, checked, and durably in the results store.
    ObjectEncoded {
        /// ObjectKey.
        object: Digest,
        /// Which revision it belongs to.
        key: RevisionKey,
        /// What it is.
        role: Role,
        /// SOPInstanceUID.
        uid: String,
        /// Its bytes in the results store.
        bytes: Digest,
        /// Their number.
        length: u64,
    },
    /// An object could not be encoded, or what was written did not pass its check.
    EncodeFailed {
        /// Which revision.
        key: RevisionKey,
        /// Which object.
        role: Role,
        /// Which attempt.
        attempt: u32,
        /// True where another attempt would fail alike.
        permanent: bool,
        /// What failed.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// A delivery begins. Recorded before the first byte leaves.
    DeliveryStarted {
        /// ObjectKey.
        object: Digest,
        /// Name of the destination.
        destination: String,
        /// 1 for the first.
        attempt: u32,
    },
    /// A delivery failed and will be tried again.
    DeliveryFailed {
        /// ObjectKey.
        object: Digest,
        /// Name of the destination.
        destination: String,
        /// Which attempt.
        attempt: u32,
        /// What failed.
        reason: String,
        /// When to try again.
        retry_at: Millis,
    },
    /// The destination has it.
    DeliverySettled {
        /// ObjectKey.
        object: Digest,
        /// Name of the destination.
        destination: String,
        /// What it answered.
        receipt: String,
    },
    /// Somebody asks for an object to be sent once more: what was tried or settled before no longer counts.
    ResendAsked {
        /// ObjectKey.
        object: Digest,
        /// Name of the destination.
        destination: String,
    },
    /// An archive reported which objects of a transaction it commits itself to keep.
    CommitmentReported {
        /// Transaction UID, of the attempt that asked.
        transaction_uid: String,
        /// SOPInstanceUIDs that it keeps.
        committed: Vec<String>,
        /// SOPInstanceUIDs that it does not keep, each with Failure Reason (0008,1197).
        failed: Vec<(String, u16)>,
    },
    /// A study is at rest: nothing of it is to do, waited for or at fault. Its events need not be read again until
    /// something touches it.
    StudySealed {
        /// StudyInstanceUID.
        study_uid: String,
        /// The last event that touched the study. One that does so later voids the seal, wherever the seal lies.
        as_of: Seq,
        /// What stands.
        summary: StudySummary,
    },
    /// What is in force may change what follows from a sealed study.
    StudyReopened {
        /// StudyInstanceUID.
        study_uid: String,
    },
    /// All studies that were sealed before the rules of an event have been looked at, and opened where these rules
    /// change what follows.
    SealsReviewed {
        /// The event that recorded the rules.
        rules: Seq,
    },
    /// A reader judged a lesion. The newest verdict on a study's lesion counts.
    VerdictGiven {
        /// StudyInstanceUID.
        study_uid: String,
        /// Tracking UID of the lesion.
        tracking_uid: String,
        /// The verdict.
        verdict: LesionVerdict,
        /// Who gave it; never logged.
        reader: String,
        /// What the reader adds; may be empty.
        comment: String,
    },
    /// An operator closed a series or lets it wait. The newest word on a series counts.
    SeriesDirected {
        /// StudyInstanceUID.
        study_uid: String,
        /// SeriesInstanceUID.
        series_uid: String,
        /// What is to be done.
        directive: Directive,
        /// Why, in the operator's words.
        reason: String,
        /// Who said so; never logged.
        by: String,
    },
    /// A sender listed what it sent and asked us to keep it (storage commitment, PS3.4 annex J): what of it is of one study.
    InstancesListed {
        /// Name of the source.
        source: String,
        /// StudyInstanceUID.
        study_uid: String,
        /// SOPInstanceUIDs of the study that were held.
        instances: Vec<String>,
        /// SOPInstanceUIDs of the same list that were held nowhere, and may be of this study.
        absent: Vec<String>,
    },
    /// A scanner said how far a performed procedure step is (MPPS, PS3.4 F.7), and what it has made: the whole of it, each
    /// time. Its end counts.
    StepReported {
        /// Name of the source.
        source: String,
        /// StudyInstanceUID.
        study_uid: String,
        /// SOPInstanceUID of the step.
        step_uid: String,
        /// How far it is.
        state: StepState,
        /// SOPInstanceUIDs of what it made, by SeriesInstanceUID.
        series: BTreeMap<String, BTreeSet<String>>,
    },
    /// An archive said how many instances of a series it holds (C-FIND, PS3.4 C.4.1). The newest word on a series counts.
    SeriesCounted {
        /// Name of the source whose archive was asked.
        source: String,
        /// StudyInstanceUID.
        study_uid: String,
        /// SeriesInstanceUID.
        series_uid: String,
        /// How many; zero where it knows no such series.
        instances: u32,
    },
    /// Somebody said that two ids are of one person. The newest word on `from` counts.
    PatientsMerged {
        /// The id that is given up.
        from: PatientKey,
        /// The one by which the person is known; none where `from` is an own person again.
        into: Option<PatientKey>,
        /// Why, in the words of whoever did it.
        reason: String,
        /// Who said so; never logged.
        by: String,
    },
}
