//! The graph: what should exist, minus what does, kept by timely dataflow at the cost of each change alone.
//!
//! One stage a file, each a function of collections. Beside each stage stands its batch function, which computes
//! the same from the whole log; [`oracle`] puts them together, and the tests compare. No stage reads a clock, draws a
//! random number, or sees a pixel.
//!
//! ```text
//! arrivals, withdrawals -> instances -> series -> completeness -> matches -> choice -> departed -> runs -> findings -> timeline -> reports -> objects -> deliveries
//!                                                  releases, timers   rules           outcomes  verdicts   revisions  encodings  receipts
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use sulcus_operators::rows::{Fault, PatientKey};
use timely::{
    WorkerConfig,
    communication::Allocator,
    dataflow::{
        Scope,
        operators::{Probe as _, core::inspect::Inspect as _, probe::Handle},
    },
    worker::Worker,
};

pub mod choice;
mod collections;
pub mod completeness;
pub mod deliveries;
pub mod departed;
mod evidence;
pub mod facts;
pub mod findings;
pub mod group;
pub mod inputs;
pub mod instances;
mod keyed;
mod listings;
pub mod matches;
mod newest;
pub mod objects;
pub mod oracle;
pub mod persons;
pub mod reports;
mod rows;
pub mod runs;
pub mod series;
mod sessions;
pub mod taken_back;
pub mod timeline;
pub mod versions;

pub use sessions::Owner;

pub use rows::{
    Changes, DeliveryToDo, InputsAwaited, Lesion, MOST_ATTEMPTS, ObjectToEncode, Output, RevisionToIssue, RunToDo,
};

use self::{
    collections::Collections,
    group::{Epoch, Key, Row, Rows},
    inputs::Inputs,
    keyed::{all, distinct, each, net, shared},
};
use crate::ledger::event::Entry;

/// Where the changes of the outputs come together, from all workers.
pub type Sink = Arc<Mutex<Vec<(Output, isize)>>>;

/// Builds the graph on one worker. Each worker of a cluster builds the same; one of them feeds its inputs, all
/// advance theirs. Once the probe has passed an epoch on each of them, `sink` holds its changes.
pub fn build(scope: Scope<'_, Epoch>, sink: Sink) -> (Inputs, Handle<Epoch>) {
    let (inputs, collections) = Inputs::new(scope);
    let probe = Handle::new();
    let outputs = stages(collections);
    outputs
        .inspect_core(move |news| {
            let Ok((_, updates)) = news else { return };
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            let output = |row: &Row| if let Row::Output(output) = row { Some(output.as_ref().clone()) } else { None };
            sink.extend(updates.iter().filter_map(|((_, row), diff)| Some((output(row)?, *diff))));
        })
        .probe_with(&probe);
    (inputs, probe)
}

/// The stages, from the input collections to the outputs.
fn stages<'scope>(from: Collections<'scope>) -> Rows<'scope> {
    let rules = shared(from.rules);
    let series = series::stage(from.arrived);
    let (applied, broken) = matches::stage(series.described, from.rulings);
    let evidence = [from.released, from.fired, from.directed, from.listed];
    let (offers, verdicts) = completeness::stage(series.states, evidence, applied, rules.clone());
    let (choices, unusable) = choice::stage(offers);
    let misled = departed::stage(choices.clone(), from.departed, from.alone.clone());
    let runs = runs::stage(choices.clone(), from.runs, misled);
    let findings = findings::stage(choices.clone(), runs.lesions, runs.unsettled, from.verdicts);
    let visits = timeline::stage(choices.clone(), runs.ended.clone(), findings.lesions, from.alone);
    let taken_back = taken_back::stage(from.issued.clone(), from.taken_back);
    let said = [findings.findings, visits, taken_back];
    let (issued, objects) = (from.issued, from.objects);
    let (reports, revisions) =
        reports::stage(choices, runs.ended, said, issued.clone(), objects.clone(), rules.clone());
    let (due, objects) = objects::stage(reports, issued, objects, rules);
    let told = all([
        series.told,
        from.circles,
        instances::stage(from.refused),
        verdicts,
        broken,
        unusable,
        runs.told,
        findings.told,
        revisions,
        objects,
        deliveries::stage(due, from.tried, from.settled),
    ]);
    // Two stages, or two arrivals, may find the same fault: it is one row.
    let faults = each(told.clone(), |_, row, out| {
        if let Some(fault) = fault(&row) {
            out.push((Key::Fault(fault.key.clone()), row));
        }
    });
    let others = each(told, |key, row, out| {
        if fault(&row).is_none() {
            out.push((key, row));
        }
    });
    all([distinct(faults, "faults"), others])
}

fn fault(row: &Row) -> Option<&Fault> {
    match row {
        Row::Output(output) => {
            if let Output::Fault(fault) = output.as_ref() {
                Some(fault)
            } else {
                None
            }
        }
        _ => None,
    }
}

/// The graph on the current thread. It stays on the thread that made it.
///
/// ```
/// use sulcus_engine::{graph::Graph, ledger::event::{Entry, Event, Rules}};
/// let mut graph = Graph::new();
/// graph.apply(&Entry { seq: 1, epoch: 1, at: 0, host: None, event: Event::RulesChanged(Rules::default()) });
/// assert!(graph.close_epoch().is_empty());
/// ```
pub struct Graph {
    worker: Worker,
    inputs: Inputs,
    probe: Handle<Epoch>,
    sink: Sink,
    open: Epoch,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        let mut worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Default::default()), None);
        let sink = Sink::default();
        let into = Arc::clone(&sink);
        let (inputs, probe) = worker.dataflow(|scope| build(scope, into));
        Graph { worker, inputs, probe, sink, open: 0 }
    }

    /// Feeds one event into the open epoch.
    pub fn apply(&mut self, entry: &Entry) {
        self.inputs.apply(entry);
    }

    /// Feeds one event as part of what belongs to `owner`.
    pub fn apply_of(&mut self, owner: Owner, entry: &Entry) {
        self.inputs.apply_of(owner, entry);
    }

    /// Says that a study that is fed as its own is not told of among the patient's visits.
    pub fn stands_alone(&mut self, study_uid: &str, patient: &PatientKey) {
        self.inputs.stands_alone(study_uid, patient);
    }

    /// Takes out all that belongs to `owner`.
    pub fn forget(&mut self, owner: &Owner) {
        self.inputs.forget(owner);
    }

    /// Closes the open epoch, works until all that follows from it is done, and gives the net changes.
    pub fn close_epoch(&mut self) -> Changes {
        self.open += 1;
        self.inputs.advance_to(self.open);
        while self.probe.less_than(&self.open) {
            self.worker.step();
        }
        Changes::sort(drain(&self.sink))
    }
}

impl Default for Graph {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the net changes out of a sink, sorted by row.
pub fn drain(sink: &Sink) -> Vec<(Output, isize)> {
    let mut updates = std::mem::take(&mut *sink.lock().unwrap_or_else(PoisonError::into_inner));
    net(&mut updates);
    updates
}
