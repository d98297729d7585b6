//! What other rules would change: the ledger in a graph of its own, the rules as if they were recorded now, and then
//! everything that would follow as if it went well. Nothing is written, run or sent.
//!
//! What is to do already is done first, so that only what the rules add is counted. A run that is not computed is
//! taken to end without lesions: how many reports follow does not depend on that.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sulcus_operators::{
    digest::Digest,
    rows::{Millis, ReportStatus, RunOutcome, Seq, Verdict},
};

use crate::{
    cohort::counted,
    failure::Hinted,
    graph::{
        Graph,
        versions::{Rulings, Scan},
    },
    ledger::event::{Entry, Event, Rules},
    standing::Standing,
};

/// A run leads to a revision, to two objects and to deliveries; more rounds than this mean that something is amiss.
const MOST_ROUNDS: usize = 64;

/// What would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The ledger's last event.
    pub ledger: Seq,
    /// Runs in all; one that several pipelines want is one.
    pub runs_to_compute: usize,
    /// What would change by pipeline, for those that the rules name.
    pub pipelines: BTreeMap<String, Effect>,
}

/// What would change for one pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// Series that another rule or model would govern than now.
    pub series: usize,
    /// Their studies.
    pub studies: usize,
    /// Those of the series that still wait for more: what follows of them is not counted.
    pub series_waiting: usize,
    /// Studies of which further series would be waited for: what follows of them is not counted.
    pub studies_awaiting_inputs: usize,
    /// Runs that would be computed.
    pub runs_to_compute: usize,
    /// Runs that reports would be made from and that are done already.
    pub runs_done: usize,
    /// Studies that would be reported on for the first time.
    pub reports_first: usize,
    /// Reports that would be issued again with a result.
    pub reports_reissued: usize,
    /// Reports that would be withdrawn.
    pub reports_withdrawn: usize,
    /// Objects that would be delivered, by destination.
    pub deliveries: BTreeMap<String, usize>,
}

/// A graph that goes on by itself from where the ledger ends.
#[derive(Default)]
pub struct Rehearsal {
    graph: Graph,
    standing: Standing,
    ledger: Seq,
    seq: Seq,
    at: Millis,
}

/// What was done on the way to rest.
#[derive(Default)]
struct Done {
    runs: BTreeSet<Digest>,
    /// The pipeline, its revision, and the run that it states; none where it withdraws.
    revisions: Vec<(String, u32, Option<Digest>)>,
    deliveries: BTreeMap<(String, String), usize>,
}

impl Rehearsal {
    /// Takes in what the ledger holds, in order.
    pub fn read(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.graph.apply(entry);
            self.standing.note(entry);
            (self.ledger, self.seq, self.at) = (entry.seq, entry.seq, entry.at);
        }
        self.standing.update(self.graph.close_epoch());
    }

    /// What would change if these rules were recorded now.
    ///
    /// # Errors
    /// Where the graph does not come to rest.
    pub fn preview(mut self, rules: &Rules) -> Result<Preview, Hinted> {
        self.rest()?;
        let before = self.standing.rulings.clone();
        if self.standing.rules.as_ref() != Some(rules) {
            self.next(vec![Event::RulesChanged(rules.clone())]);
        }
        let mut effects = self.governed_anew(&before, rules);
        let done = self.rest()?;
        for row in self.standing.awaited.iter() {
            effects.entry(row.pipeline.clone()).or_default().studies_awaiting_inputs += 1;
        }
        let mut runs: BTreeMap<&String, BTreeSet<&Digest>> = BTreeMap::new();
        for (pipeline, revision, run) in &done.revisions {
            let effect = effects.entry(pipeline.clone()).or_default();
            match (run, revision) {
                (None, _) => effect.reports_withdrawn += 1,
                (Some(_), 1) => effect.reports_first += 1,
                (Some(_), _) => effect.reports_reissued += 1,
            }
            runs.entry(pipeline).or_default().extend(run);
        }
        for (pipeline, runs) in runs {
            let effect = effects.entry(pipeline.clone()).or_default();
            effect.runs_to_compute = runs.iter().filter(|run| done.runs.contains(**run)).count();
            effect.runs_done = runs.len() - effect.runs_to_compute;
        }
        for ((pipeline, destination), count) in done.deliveries {
            effects.entry(pipeline).or_default().deliveries.insert(destination, count);
        }
        Ok(Preview { ledger: self.ledger, runs_to_compute: done.runs.len(), pipelines: effects })
    }

    /// Counts series that a pipeline may take and that another version governs than `before`.
    fn governed_anew(&self, before: &Rulings, rules: &Rules) -> BTreeMap<String, Effect> {
        let verdicts: BTreeMap<&str, Verdict> =
            self.standing.completeness.iter().map(|row| (row.series_uid.as_str(), row.verdict)).collect();
        let mut effects = BTreeMap::new();
        for rule in &rules.pipelines {
            let (mut effect, mut studies) = (Effect::default(), BTreeSet::new());
            for series in self.standing.series.iter() {
                let Some(verdict) = verdicts.get(series.series_uid.as_str()) else { continue };
                let governs = |rulings: &Rulings| rulings.of(&rule.name)?.of(Scan::from(series.as_ref())).cloned();
                if governs(before) != governs(&self.standing.rulings) {
                    effect.series += 1;
                    effect.series_waiting += usize::from(*verdict == Verdict::Waiting);
                    studies.insert(&series.study_uid);
                }
            }
            effect.studies = studies.len();
            effects.insert(rule.name.clone(), effect);
        }
        effects
    }

    /// Does all that is to do, as if it went well.
    fn rest(&mut self) -> Result<Done, Hinted> {
        let mut done = Done::default();
        for _ in 0..MOST_ROUNDS {
            let events = self.to_do(&mut done);
            if events.is_empty() {
                return Ok(done);
            }
            self.next(events);
        }
        Err(Hinted::work("the graph does not come to rest", "report this with the ledger"))
    }

    fn to_do(&self, done: &mut Done) -> Vec<Event> {
        let mut events = Vec::new();
        for run in self.standing.runs.iter() {
            done.runs.insert(run.order.run_key);
            events.push(Event::RunFinished(outcome(run.order.run_key)));
        }
        for revision in self.standing.revisions.iter() {
            let (key, row) = (&revision.key, &revision.row);
            let withdrawn = matches!(row.status, ReportStatus::Withdrawn(_));
            let run = row.run.as_ref().filter(|_| !withdrawn).map(|run| run.run_key);
            done.revisions.push((key.pipeline.clone(), key.revision, run));
            events.push(revision.event(self.at, counted(row, &self.standing)));
        }
        for object in self.standing.objects.iter() {
            let (key, role) = (object.key.clone(), object.role);
            let digest = Digest::of_row("rehearsal", &(&key, role));
            let uid = digest.uid();
            events.push(Event::ObjectEncoded { object: digest, key, role, uid, bytes: digest, length: 0 });
        }
        for delivery in self.standing.deliveries.iter() {
            let (row, receipt) = (&delivery.row, String::new());
            *done.deliveries.entry((row.pipeline.clone(), row.destination.clone())).or_default() += 1;
            let destination = row.destination.clone();
            events.push(Event::DeliverySettled { object: row.object, destination, receipt });
        }
        events
    }

    /// One further epoch.
    fn next(&mut self, events: Vec<Event>) {
        let epoch = self.seq + 1;
        for event in events {
            self.seq += 1;
            let entry = Entry { seq: self.seq, epoch, at: self.at, host: None, event };
            self.graph.apply(&entry);
            self.standing.note(&entry);
        }
        self.standing.update(self.graph.close_epoch());
    }
}

fn outcome(run_key: Digest) -> RunOutcome {
    RunOutcome {
        run_key,
        mask: Digest::default(),
        probability: None,
        size: [0; 3],
        spacing_um: [0; 3],
        affine_nm: None,
        frame_of_reference_uid: String::new(),
        intensity_scale: String::new(),
        notes: Vec::new(),
        lesions: Vec::new(),
        alignments: Vec::new(),
        of_visits: false,
        domain: None,
    }
}
