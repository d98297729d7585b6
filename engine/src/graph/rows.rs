//! The rows that leave the graph: what is to do, what is known, what failed. What an event says is defined with the
//! ledger; what crosses between rooms is defined in `operators::rows`.

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{Completeness, DeliveryRow, Fault, Finding, LesionRow, Millis, ReportRow, Role, RunOrder, SeriesState},
};

use super::inputs::ReportKey;
use crate::ledger::event::{Counted, Event, ReportedRun, RevisionKey, Timer};

/// How many attempts a run or an encoding gets before it is a fault.
pub const MOST_ATTEMPTS: u32 = 3;

/// A run that is wanted and not done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunToDo {
    /// What to run. Where several studies want the same run, each has its row.
    pub order: RunOrder,
    /// Number of the next attempt, 1 for the first. It rises as soon as an attempt's start is recorded, so a lane
    /// knows what it has in hand by `RunOrder::run_key` and starts nothing twice.
    pub attempt: u32,
    /// The reports that want it, sorted.
    pub wanted_by: Vec<ReportKey>,
}

/// A report whose content is not what the newest revision states.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionToIssue {
    /// The revision that it will be: one above the newest.
    pub key: RevisionKey,
    /// What it should say.
    pub row: ReportRow,
}

impl RevisionToIssue {
    /// The event that issues it, with what it adds to the counts over all patients.
    pub fn event(&self, at: Millis, counted: Option<Counted>) -> Event {
        let run = self.row.run.as_ref();
        let run = run.map(|run| ReportedRun {
            run_key: run.run_key,
            series_uid: run.series_uid.clone(),
            inputs: run.inputs.iter().map(|input| input.series_uid.clone()).collect(),
        });
        Event::RevisionIssued { key: self.key.clone(), content: self.row.content, at, run, counted }
    }
}

/// An object of the newest revision that is not encoded yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectToEncode {
    /// The revision it belongs to.
    pub key: RevisionKey,
    /// What it is.
    pub role: Role,
    /// What it should say.
    pub row: ReportRow,
    /// The revision's recorded time, for the dates inside.
    pub at: Millis,
    /// The newest earlier revision of which this role was encoded; the new object supersedes that one.
    pub supersedes: Option<u32>,
    /// Number of the next attempt, 1 for the first.
    pub attempt: u32,
}

/// An object that a destination should have and has not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryToDo {
    /// What goes where.
    pub row: DeliveryRow,
    /// Number of the next attempt, 1 for the first.
    pub attempt: u32,
    /// Not to be tried before; 0 where nothing failed yet.
    pub not_before: Millis,
}

/// One lesion of one finished run, as one pipeline reports it on one study.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lesion {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The run that found it.
    pub run_key: Digest,
    /// What was measured.
    pub lesion: LesionRow,
    /// What a reader said of it; none where nobody did, or it was taken back.
    pub finding: Option<Finding>,
}

/// A report that cannot be made, or not with all that its model reads, since a further series of the study is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputsAwaited {
    /// StudyInstanceUID.
    pub study_uid: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// SeriesInstanceUID of the first series, which is there.
    pub series_uid: String,
    /// What is waited for, in words.
    pub reason: String,
}

/// One row of any output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)] // Shared by reference within the graph.
pub enum Output {
    /// A run to do.
    Run(RunToDo),
    /// A run that is wanted and begun for the last time, as long as nothing tells how that ended.
    Unended(RunToDo),
    /// A revision to issue.
    Revision(RevisionToIssue),
    /// An object to encode.
    Object(ObjectToEncode),
    /// A delivery to do.
    Delivery(DeliveryToDo),
    /// A timer that is wanted and has not fired.
    Timer(Timer),
    /// A series as far as its instances tell.
    Series(std::sync::Arc<SeriesState>),
    /// The verdict on a series.
    Completeness(Completeness),
    /// A report as it should stand.
    Report(ReportRow),
    /// A lesion.
    Lesion(Lesion),
    /// Further series that a report waits for.
    Awaited(InputsAwaited),
    /// A failure.
    Fault(Fault),
}

/// The net changes of one epoch: +1 for a row that is now there, -1 for one that no longer is. Sorted by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Runs to do.
    pub runs: Vec<(RunToDo, isize)>,
    /// Runs whose last attempt has not ended.
    pub unended: Vec<(RunToDo, isize)>,
    /// Revisions to issue.
    pub revisions: Vec<(RevisionToIssue, isize)>,
    /// Objects to encode.
    pub objects: Vec<(ObjectToEncode, isize)>,
    /// Deliveries to do.
    pub deliveries: Vec<(DeliveryToDo, isize)>,
    /// Timers wanted.
    pub timers: Vec<(Timer, isize)>,
    /// Series.
    pub series: Vec<(std::sync::Arc<SeriesState>, isize)>,
    /// Verdicts on series.
    pub completeness: Vec<(Completeness, isize)>,
    /// Reports as they should stand, whether issued or not.
    pub reports: Vec<(ReportRow, isize)>,
    /// Lesions of the runs that are wanted and done.
    pub lesions: Vec<(Lesion, isize)>,
    /// Further series that reports wait for.
    pub awaited: Vec<(InputsAwaited, isize)>,
    /// Failures.
    pub faults: Vec<(Fault, isize)>,
}

impl Changes {
    /// True where nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    /// Sorts consolidated updates into their outputs.
    pub(super) fn sort(updates: Vec<(Output, isize)>) -> Self {
        let mut changes = Changes::default();
        for (output, diff) in updates {
            match output {
                Output::Run(row) => changes.runs.push((row, diff)),
                Output::Unended(row) => changes.unended.push((row, diff)),
                Output::Revision(row) => changes.revisions.push((row, diff)),
                Output::Object(row) => changes.objects.push((row, diff)),
                Output::Delivery(row) => changes.deliveries.push((row, diff)),
                Output::Timer(row) => changes.timers.push((row, diff)),
                Output::Series(row) => changes.series.push((row, diff)),
                Output::Completeness(row) => changes.completeness.push((row, diff)),
                Output::Report(row) => changes.reports.push((row, diff)),
                Output::Lesion(row) => changes.lesions.push((row, diff)),
                Output::Awaited(row) => changes.awaited.push((row, diff)),
                Output::Fault(row) => changes.faults.push((row, diff)),
            }
        }
        changes
    }
}
