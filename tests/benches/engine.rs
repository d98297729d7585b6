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
use tikv_jemallocator::Jemalloc;

use crate::history::{SLICES, rules, slice};

/// As in `sulcus`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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

/// The events of so many series, slice by slice, after the rules; read from JSON, as a ledger's are.
fn scans(series: usize) -> impl Iterator<Item = Entry> {
    let events = std::iter::once(Event::RulesChanged(rules()))
        .chain((0..series).flat_map(|study| (1..=SLICES).map(move |number| slice(study, number))));
    let read = |event: Event| -> serde_json::Result<Event> { serde_json::from_str(&serde_json::to_string(&event)?) };
    let events = events.map_while(move |event| read(event).ok());
    events.enumerate().map(|(index, event)| Entry { seq: index as u64 + 1, epoch: 1, at: 0, host: None, event })
}

/// Events a second of `feed`, which takes so many in one epoch. They are made before its time is taken, as a ledger's are
/// read before the graph sees them.
fn rate(series: usize, batch: usize, mut feed: impl FnMut(&[Entry])) -> f64 {
    let (mut entries, mut count, mut time) = (scans(series), 0, Duration::ZERO);
    loop {
        let batch: Vec<Entry> = entries.by_ref().take(batch).collect();
        if batch.is_empty() {
            return f64::from(count) / time.as_secs_f64();
        }
        let start = Instant::now();
        feed(&batch);
        time += start.elapsed();
        count += batch.len() as u32;
    }
}

fn events(bench: &mut Bench) {
    for (name, series, batch) in [("one epoch a slice", 25, 1), ("batches of 4,800", 500, BATCH)] {
        let mut graph = Graph::new();
        let alone = rate(series, batch, |entries| {
            entries.iter().for_each(|entry| graph.apply(entry));
            graph.close_epoch();
        });
        bench.add(&format!("{name}, 1 worker"), "events/s", alone);
        drop(graph);
        bench.add(&format!("{name}, 2 workers"), "events/s", at_two_workers(series, batch));
    }
}

fn at_two_workers(series: usize, batch: usize) -> f64 {
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let (mut inputs, probe) = worker.dataflow(|scope| build(scope, Sink::default()));
        let mut epoch = 0;
        let is_fed = worker.index() == 0;
        let mut close = |entries: &[Entry]| {
            entries.iter().for_each(|entry| inputs.apply(entry));
            epoch += 1;
            inputs.advance_to(epoch);
            worker.step_while(|| probe.less_than(&epoch));
        };
        if is_fed {
            return rate(series, batch, close);
        }
        // The other worker goes along.
        (0..(1 + series * SLICES as usize).div_ceil(batch)).for_each(|_| close(&[]));
        f64::NAN
    });
    let rates = guards.map(|guards| guards.join().into_iter().flatten().fold(f64::NAN, f64::max));
    rates.unwrap_or(f64::NAN)
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
