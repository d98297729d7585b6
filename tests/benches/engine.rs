//! The graph on headers alone, without pixels: events a second at one epoch a slice and in batches; what one late slice,
//! a rule and a start cost in a history of so many studies; and plain SQL recomputation beside it, which is what a user
//! would write instead. A number on the command line is the largest history (1,000,000 unless told otherwise).

#[path = "engine/history.rs"]
mod history;
#[path = "engine/sql.rs"]
mod sql;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sulcus_engine::graph::{Graph, Sink, build};
use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_tests::PeerError;
use sulcus_tests::bench::Bench;

use crate::history::{SLICES, rules, slice};

/// Slices of one batch: 25 series.
const BATCH: usize = 25 * SLICES as usize;

fn main() -> ExitCode {
    // The bench starts itself for each start that it measures, so that a process holds nothing else.
    let mut words = std::env::args().skip(1);
    if let (Some("start"), Some(data)) = (words.next().as_deref(), words.next()) {
        return match history::start(data.as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    sulcus_tests::bench::rounds(1_000_000, |largest| {
        let mut bench = Bench::new("engine");
        events(&mut bench);
        let mut studies = 1_000;
        while studies <= largest as usize {
            history::measure(&mut bench, studies)?;
            studies *= 10;
        }
        sql::measure(&mut bench, 100_000.min(largest as usize))?;
        for size in [1_000, 10_000, 100_000] {
            let (ours, theirs) = (format!("{size} late slice, open, graph"), format!("{size} recomputed by SQL"));
            bench.ratio_of_times(&format!("SQL, {size} studies"), &ours, &theirs);
        }
        bench.finish()
    })
}

/// A scan's events, made before anything is timed.
fn scans(series: usize) -> Vec<Entry> {
    let events = std::iter::once(Event::RulesChanged(rules()))
        .chain((0..series).flat_map(|study| (1..=SLICES).map(move |number| slice(study, number))));
    let entry = |(index, event)| Entry { seq: index as u64 + 1, epoch: 1, at: 0, host: None, event };
    events.enumerate().map(entry).collect()
}

fn events(bench: &mut Bench) {
    let entries = scans(25);
    let mut graph = Graph::new();
    let start = Instant::now();
    for entry in &entries {
        graph.apply(entry);
        graph.close_epoch();
    }
    bench.add("one epoch a slice, 1 worker", "events/s", rate(entries.len(), start.elapsed()));
    drop(graph);

    let entries = scans(500);
    let mut graph = Graph::new();
    let start = Instant::now();
    for batch in entries.chunks(BATCH) {
        batch.iter().for_each(|entry| graph.apply(entry));
        graph.close_epoch();
    }
    bench.add("batches of 4,800, 1 worker", "events/s", rate(entries.len(), start.elapsed()));
    drop(graph);
    for (name, batch, series) in [("one epoch a slice, 2 workers", 1, 25), ("batches of 4,800, 2 workers", BATCH, 500)]
    {
        bench.add(name, "events/s", at_two_workers(scans(series), batch));
    }
}

fn at_two_workers(entries: Vec<Entry>, batch: usize) -> f64 {
    let count = entries.len();
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let (mut inputs, probe) = worker.dataflow(|scope| build(scope, Sink::default()));
        let start = Instant::now();
        for (index, batch) in entries.chunks(batch).enumerate() {
            if worker.index() == 0 {
                batch.iter().for_each(|entry| inputs.apply(entry));
            }
            let next = index as u64 + 1;
            inputs.advance_to(next);
            worker.step_while(|| probe.less_than(&next));
        }
        start.elapsed()
    });
    let longest = guards.map(|guards| guards.join().into_iter().flatten().max().unwrap_or_default());
    rate(count, longest.unwrap_or_default())
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Median and 99th percentile of some times, in milliseconds.
fn summary(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: f64| {
        let index = (times.len().saturating_sub(1) as f64 * share) as usize;
        times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    (at(0.5), at(0.99))
}

/// Adds the median and the 99th percentile of some times.
fn add_times(bench: &mut Bench, name: &str, times: Vec<Duration>) {
    let (median, late) = summary(times);
    bench.add(name, "ms", median);
    bench.add(&format!("{name}, 99th percentile"), "ms", late);
}

/// What the graph or the ledger refused.
fn failed(error: impl std::fmt::Display) -> PeerError {
    PeerError::Failed(error.to_string())
}
