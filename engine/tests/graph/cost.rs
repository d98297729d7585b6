//! What a change costs. These measure, so they are run by hand: `cargo nextest run --release -p sulcus-engine
//! --test graph --run-ignored only --no-capture`.

use std::time::{Duration, Instant};

use sulcus_config::AppliesTo;
use sulcus_engine::{
    graph::Graph,
    ledger::event::{Arrival, Entry, Event, SpoolPlace},
};
use sulcus_operators::digest::Digest;

use crate::{
    site::{Slice, rules},
    versions::with_model,
};

struct Feed {
    graph: Graph,
    seq: u64,
}

impl Feed {
    fn new() -> Self {
        let mut feed = Feed { graph: Graph::new(), seq: 0 };
        feed.event(Event::RulesChanged(rules()));
        feed.graph.close_epoch();
        feed
    }

    fn event(&mut self, event: Event) {
        self.seq += 1;
        self.graph.apply(&Entry { seq: self.seq, epoch: self.seq, at: 0, host: None, event });
    }

    fn slice(&mut self, series: usize, number: i64, expected: Option<u32>) {
        let mut facts = Slice { expected, ..Slice::new(0, 0, number) }.facts();
        facts.study_uid = format!("1.2.826.0.1.3680043.8.498.{series}");
        facts.series_uid = format!("{}.1", facts.study_uid);
        facts.sop_instance_uid = format!("{}.{number}", facts.series_uid);
        // Equal pixels would be one run.
        facts.content_digest = Digest::of(facts.sop_instance_uid.as_bytes());
        facts
            .keywords
            .make_mut()
            .extend((0..30).map(|k| (format!("Keyword{k}"), "a value of common length".to_owned())));
        let place = SpoolPlace { segment: 0, offset: 0, length: 0 };
        self.event(Event::InstanceReceived {
            source: "scanner".into(),
            place,
            facts: facts.into(),
            arrival: Arrival::New,
        });
    }

    /// One epoch, timed.
    fn close(&mut self) -> Duration {
        let start = Instant::now();
        assert!(!self.graph.close_epoch().is_empty());
        start.elapsed()
    }
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn summary(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (at(&times, 0.5), at(&times, 0.99))
}

#[test]
#[ignore = "measures"]
fn a_slice_of_a_large_series_stays_cheap() {
    let mut feed = Feed::new();
    let mut times = Vec::new();
    for number in 1..=1000 {
        feed.slice(0, number, None);
        times.push(feed.close());
    }
    let total: Duration = times.iter().sum();
    let (first, last) = (summary(times[..100].to_vec()), summary(times[900..].to_vec()));
    println!("1,000 slices, one an epoch: {total:?}; slices 1-100 {first:?}, 901-1000 {last:?} (median, 99th)");
    assert!(last.0 < Duration::from_millis(5), "a slice of a series of 1,000 costs {:?}", last.0);
}

#[test]
#[ignore = "measures"]
fn a_late_slice_costs_the_same_in_a_long_history() {
    let mut medians = Vec::new();
    for history in [1_000, 10_000] {
        let mut feed = Feed::new();
        let start = Instant::now();
        for series in 0..history {
            (1..=20).for_each(|number| feed.slice(series, number, None));
            if series % 20 == 0 {
                feed.close();
            }
        }
        feed.close();
        let loaded = start.elapsed();
        let mut times = Vec::new();
        for late in 0..500 {
            feed.slice(late * history / 500, 21, None);
            times.push(feed.close());
        }
        let (median, worst) = summary(times);
        println!("history of {history} series of 20 ({loaded:?} to load): a late slice {median:?}, 99th {worst:?}");
        medians.push(median);
    }
    assert!(medians[1] < 3 * medians[0], "the cost of a late slice grows with the history");
}

#[test]
#[ignore = "measures"]
fn a_changed_rule_costs_by_what_it_governs() {
    const HISTORY: usize = 10_000;
    let mut feed = Feed::new();
    for series in 0..HISTORY {
        (1..=3).for_each(|number| feed.slice(series, number, Some(3)));
        if series % 20 == 0 {
            feed.close();
        }
    }
    feed.close();
    let mut change = |applies_to: AppliesTo| {
        feed.event(Event::RulesChanged(with_model(format!("{applies_to:?}").as_bytes(), applies_to)));
        let start = Instant::now();
        let changed = feed.graph.close_epoch().runs.len();
        let spent = start.elapsed();
        println!(
            "{applies_to:?} over {HISTORY} series: {spent:?}, {:?} a series, {changed} changes",
            spent / HISTORY as u32
        );
        changed
    };
    assert_eq!(change(AppliesTo::New), 0);
    assert_eq!(change(AppliesTo::All), 2 * HISTORY);
}
