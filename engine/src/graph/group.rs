//! What the stages are made of: one type of row, so that the compiler makes each operator once, not once a stage.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use sulcus_operators::{
    digest::Digest,
    rows::{DeliveryRow, Finding, PatientKey, ReportRow, RunOrder, Seq, SeriesState, VisitRow},
};
use timely::dataflow::StreamVec;

use super::{
    choice::{Choice, Offer},
    completeness::Directed,
    deliveries::Due,
    inputs::{Issued, ObjectFact, ReportKey, RunFact, Tried},
    instances::Arrived,
    listings::Listed,
    matches::{Applied, Described},
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
    /// One worker, by its index, for the few rows that each of them holds.
    Worker(u64),
    /// RunKey.
    Run(Digest),
    /// One report.
    Report(ReportKey),
    /// One lesion of a study, by its tracking UID.
    Lesion(String, String),
    /// One patient.
    Patient(PatientKey),
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
    Rules(Arc<Rules>),
    Described(Described),
    Ruling(Arc<Ruling>),
    Applied(Arc<Applied>),
    Offer(Offer),
    Choice(Arc<Choice>),
    Run(ReportKey, Arc<RunOrder>),
    RunFact(Arc<RunFact>),
    Done(Digest),
    GivenUp(Digest, String),
    Compared(BTreeSet<Digest>),
    Visit(Arc<Visit>),
    Alone(String),
    Departed(String, During),
    Disowned(String, Seq),
    Amended(String, Seq),
    Ran(ReportKey, Digest),
    Misled(During),
    Again(Digest),
    Visits(Arc<Vec<VisitRow>>),
    Unsettled(ReportKey),
    Lesion(Arc<Lesion>),
    Finding(Arc<Finding>),
    Issued(Issued),
    Report(Arc<ReportRow>),
    Object(Arc<ObjectFact>),
    Of(ReportKey),
    Delivery(Arc<Due>),
    LeftAt(Arc<DeliveryRow>),
    Tried(Arc<Tried>),
    Settled,
    Output(Arc<Output>),
}

impl From<Output> for Row {
    fn from(output: Output) -> Self {
        Row::Output(Arc::new(output))
    }
}

/// The rules in force among rows that are shared; none before the first.
pub fn in_force<'a>(shared: &[&'a Row]) -> Option<&'a Rules> {
    shared.iter().find_map(|row| if let Row::Rules(rules) = row { Some(rules.as_ref()) } else { None })
}

/// A change of a collection: how many more of a row there are. Of which epoch it is, the message says that brings it.
pub type Update = ((Key, Row), isize);

/// A collection of the graph, as its changes.
pub type Rows<'scope> = StreamVec<'scope, Epoch, Update>;
