//! What the stages are made of: one type of row, so that the compiler makes each operator once, not once a stage.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{DeliveryRow, Finding, PatientKey, ReportRow, Role, RunOrder, Seq, SeriesState, VisitRow},
};
use timely::dataflow::StreamVec;

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

/// A change of a collection: how many more of a row there are. Of which epoch it is, the message says that brings it.
pub type Update = (Key, Row, isize);

/// A collection of the graph, as its changes.
pub type Rows<'scope> = StreamVec<'scope, Epoch, Update>;
