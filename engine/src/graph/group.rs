//! What the stages are made of: one type of row, and the few operators that they share.
//!
//! All collections hold the same type, so that the compiler makes each of differential's operators once, not once a
//! stage: twenty instances took minutes to build.

use std::{collections::BTreeSet, sync::Arc};

use differential_dataflow::VecCollection;
use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{DeliveryRow, Finding, PatientKey, ReportRow, Role, RunOrder, Seq, SeriesState, VisitRow},
};

use super::{
    choice::{Candidate, Choice, Offer},
    completeness::{Directed, Judged},
    deliveries::{Due, Target},
    inputs::{Issued, ObjectFact, ReportKey, RunFact, Tried},
    instances::Arrived,
    listings::Listed,
    matches::{Applied, Described},
    objects::Ready,
    reports::Wanted,
    rows::{Lesion, Output},
    timeline::Visit,
    versions::Ruling,
};
use crate::ledger::{
    event::{Rules, TimerKind},
    merges::During,
};

/// The dataflow's time: the ledger's epoch.
pub type Epoch = u64;

/// By what rows are gathered and joined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Everything, for the few rows that all must meet.
    All,
    /// One of the lists of a series.
    Chunk(Arc<str>, u8),
    /// SeriesInstanceUID.
    Series(Arc<str>),
    /// StudyInstanceUID.
    Study(String),
    /// One of the parts that series are spread over.
    Part(u8),
    /// RunKey.
    Run(Digest),
    /// One report.
    Report(ReportKey),
    /// One lesion of a study, by its tracking UID.
    Lesion(String, String),
    /// One patient.
    Patient(PatientKey),
    /// Name of a pipeline.
    Pipeline(String),
    /// Objects of one role of one pipeline.
    Route(String, Role),
    /// One object and one destination.
    Delivery(Digest, String),
    /// What a fault concerns.
    Fault(String),
}

/// What the collections hold. Large rows are shared by reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)] // A variant is named after what it holds, which says what it is.
pub enum Row {
    Arrived(Arc<Arrived>),
    Chunk(Arc<Vec<Arc<Arrived>>>),
    State(Arc<SeriesState>),
    Patient(PatientKey),
    Released(Seq),
    Fired(TimerKind, Seq),
    Directed(Arc<Directed>),
    Listed(Listed),
    Judged(Arc<Judged>),
    Waits(Arc<SeriesState>, TimerKind),
    Rules(Arc<Rules>),
    Described(Described),
    Ruling(Arc<Ruling>),
    Applied(Arc<Applied>),
    Candidate(Candidate),
    Offer(Offer),
    Choice(Arc<Choice>),
    Run(ReportKey, Arc<RunOrder>),
    RunFact(Arc<RunFact>),
    Done(ReportKey, Digest),
    GivenUp(ReportKey, Digest, String),
    Compared(ReportKey, BTreeSet<Digest>),
    Visit(PatientKey, Arc<Visit>),
    Alone(String),
    Departed(String, During),
    Disowned(String, Seq),
    Amended(String, Seq),
    Ran(ReportKey, Digest),
    RunMisled(Digest, During),
    Misled(During),
    Again(ReportKey, Digest),
    Visits(ReportKey, Arc<Vec<VisitRow>>),
    Unsettled(ReportKey),
    Lesion(Arc<Lesion>),
    Finding(Arc<Finding>),
    Said(ReportKey, Arc<Finding>),
    Issued(Issued),
    Wanted(Arc<Wanted>),
    Report(Arc<ReportRow>),
    Object(Arc<ObjectFact>),
    Of(ReportKey),
    Roles(BTreeSet<Role>),
    Ready(ReportKey, Arc<Ready>),
    Destination(Target),
    Deaf(String),
    Left(ReportKey, Arc<Ready>),
    Delivery(Arc<Due>),
    LeftAt(Arc<DeliveryRow>),
    Tried(Arc<Tried>),
    Settled,
    Named,
    Output(Arc<Output>),
}

impl From<Output> for Row {
    fn from(output: Output) -> Self {
        Row::Output(Arc::new(output))
    }
}

/// A collection of the graph.
pub type Rows<'scope> = VecCollection<'scope, Epoch, (Key, Row), isize>;

type EachLogic = Box<dyn FnMut(Key, Row, &mut Vec<(Key, Row)>)>;
type GatherLogic = Box<dyn FnMut(&Key, &[&Row], &mut Vec<Row>)>;
type JoinLogic = Box<dyn FnMut(&Key, &Row, &Row) -> Option<(Key, Row)>>;

/// Gives for each row what `logic` pushes.
pub fn each<'scope>(rows: Rows<'scope>, logic: impl FnMut(Key, Row, &mut Vec<(Key, Row)>) + 'static) -> Rows<'scope> {
    fn made<'scope>(rows: Rows<'scope>, mut logic: EachLogic) -> Rows<'scope> {
        rows.flat_map(move |(key, row)| {
            let mut out = Vec::new();
            logic(key, row, &mut out);
            out
        })
    }
    made(rows, Box::new(logic))
}

/// Gathers the rows of one key and gives what `judge` makes of them. `judge` sees each distinct row once, in order,
/// and is called only for keys that have rows; what it pushes must be free of repeats.
pub fn gather<'scope>(
    rows: Rows<'scope>,
    name: &str,
    judge: impl FnMut(&Key, &[&Row], &mut Vec<Row>) + 'static,
) -> Rows<'scope> {
    fn made<'scope>(rows: Rows<'scope>, name: &str, mut judge: GatherLogic) -> Rows<'scope> {
        let mut out = Vec::new();
        rows.reduce_named(name, move |key, rows: &[(&Row, isize)], changes| {
            let present: Vec<&Row> = rows.iter().filter(|(_, count)| *count > 0).map(|(row, _)| *row).collect();
            if !present.is_empty() {
                judge(key, &present, &mut out);
                changes.extend(out.drain(..).map(|row| (row, 1)));
            }
        })
    }
    made(rows, name, Box::new(judge))
}

/// Gives for each pair of rows with equal keys what `logic` makes of it.
pub fn join<'scope>(
    left: Rows<'scope>,
    right: Rows<'scope>,
    logic: impl FnMut(&Key, &Row, &Row) -> Option<(Key, Row)> + 'static,
) -> Rows<'scope> {
    fn made<'scope>(left: Rows<'scope>, right: Rows<'scope>, mut logic: JoinLogic) -> Rows<'scope> {
        left.arrange_by_key().join_core(right.arrange_by_key(), move |key, a, b| logic(key, a, b))
    }
    made(left, right, Box::new(logic))
}

/// Each row once, however often it is there.
pub fn distinct<'scope>(rows: Rows<'scope>, name: &str) -> Rows<'scope> {
    gather(rows, name, |_, rows, out| out.extend(rows.iter().map(|row| (*row).clone())))
}
