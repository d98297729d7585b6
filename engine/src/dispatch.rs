//! The engine's loop: tails the ledger, feeds the graph epoch by epoch, and hands what is to do to the lanes.
//!
//! Lanes act only on closed epochs, and at start-up only once the replay has passed the ledger's end: what looks
//! undone in the middle of a replay may be done later in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender, bounded};
use sulcus_config::Site;
use sulcus_operators::{
    digest::Digest,
    rows::{Fault, Seq},
};

use crate::{
    cohort::counted,
    failure::Hinted,
    graph::{DeliveryToDo, ObjectToEncode, RunToDo},
    hosts::{Hosts, fetch::Fetcher},
    lanes::{
        Done, Key, Lane,
        child::{Worker, WorkerCommand},
        deliver::{deliver, now},
        due::due,
        encode::encode,
        infer::infer,
        port::{Port, StopFlag},
    },
    ledger::event::{Event, Rules, Timer},
    receiver::client::Subscription,
    results_store::ResultsStore,
    review::Review,
    seals::seals,
    standing::{Tail, open_reader, unreadable},
    urgency::Urgencies,
};

/// The engine takes in what was committed at most this often.
const GATHER: Duration = Duration::from_millis(20);
/// Studies at rest are looked for at most this often, and at most so many are sealed at once.
const SEALS_EVERY: Duration = Duration::from_millis(500);
const MOST_SEALS: usize = 128;
/// The engine looks at the ledger at least this often, whether it was woken or not.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// The engine of one machine.
pub struct Engine {
    tail: Tail,
    seal_after: Duration,
    seals_looked: Instant,
    review: Review,
    in_flight: BTreeMap<Key, Option<Seq>>,
    deadlines: BTreeMap<Timer, Instant>,
    done: Receiver<Done>,
    clerk: Lane<Vec<Event>>,
    infer: Vec<Lane<RunToDo>>,
    encode: Lane<ObjectToEncode>,
    deliver: BTreeMap<String, Lane<DeliveryToDo>>,
    urgencies: Urgencies,
    hosts: Hosts,
    stop: StopFlag,
}

/// Which program works for the lanes, and with which configuration.
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    /// The binary `sulcus`.
    pub program: PathBuf,
    /// The site's configuration file.
    pub config: PathBuf,
}

impl WorkerProgram {
    fn command(&self, device: Option<&str>) -> WorkerCommand {
        let mut arguments = vec!["worker".to_owned(), "--config".to_owned(), self.config.display().to_string()];
        if let Some(device) = device {
            arguments.extend(["--device".to_owned(), device.to_owned()]);
        }
        WorkerCommand { program: self.program.clone(), arguments }
    }
}

impl Engine {
    /// Replays the ledger, states the rules in force, and starts the lanes.
    pub fn start(site: &Site, rules: &Rules, program: &WorkerProgram, stop: StopFlag) -> Result<Self, Hinted> {
        let data = &site.site.data;
        let open = || open_reader(data);
        // First of all, since a changed rule governs what comes from here on.
        let tail = stated(rules, data, Port::new(data, stop.clone()))?;
        let models = &tail.standing().models;
        let (finished, done) = bounded(1024);
        let thread_failed = |error: std::io::Error| {
            Hinted::work(format!("a lane cannot be started: {error}"), "raise the limit on threads")
        };

        let mut port = Port::new(data, stop.clone());
        let clerk = Lane::start("clerk", 256, finished.clone(), move |events: Vec<Event>| port.append(&events))
            .map_err(thread_failed)?;

        let mut infer_lanes = Vec::new();
        for device in &site.devices {
            let (mut port, reader, models) = (Port::new(data, stop.clone()), open()?, models.clone());
            let fetcher = Fetcher::of(site, &device.name);
            // What a run left whose engine was stopped.
            fetcher.clear();
            let mut worker = Worker::new(program.command(Some(&device.name)));
            if let Err(error) = worker.warm() {
                return Err(Hinted::work(
                    format!("the worker process cannot be started: {error}"),
                    "check the installation",
                ));
            }
            let lane = Lane::start(&format!("infer {}", device.name), 0, finished.clone(), move |job: RunToDo| {
                infer(&job, &models, &mut worker, &reader, &fetcher, &mut port)
            });
            infer_lanes.push(lane.map_err(thread_failed)?);
        }

        let (mut port, reader, models) = (Port::new(data, stop.clone()), open()?, models.clone());
        let fetcher = Fetcher::of(site, "encode");
        let mut worker = Worker::new(program.command(None));
        let encode_lane = Lane::start("encode", 1, finished.clone(), move |job: ObjectToEncode| {
            encode(&job, &models, &mut worker, &reader, &fetcher, &mut port)
        })
        .map_err(thread_failed)?;

        let mut deliver_lanes = BTreeMap::new();
        for destination in &site.destinations {
            let (mut port, reader, results) = (Port::new(data, stop.clone()), open()?, open_results(data)?);
            let target = destination.clone();
            let lane =
                Lane::start(&format!("deliver {}", target.name()), 1, finished.clone(), move |job: DeliveryToDo| {
                    deliver(&job.row, job.attempt, &target, &results, &reader, &mut port)
                });
            deliver_lanes.insert(destination.name().to_owned(), lane.map_err(thread_failed)?);
        }

        Ok(Engine {
            tail,
            seal_after: site.site.seal_after_seconds.duration(),
            seals_looked: Instant::now(),
            review: Review::default(),
            in_flight: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            done,
            clerk,
            infer: infer_lanes,
            encode: encode_lane,
            deliver: deliver_lanes,
            urgencies: Urgencies::of(site),
            hosts: Hosts::of(site),
            stop,
        })
    }

    /// Runs until stopped. `woken` gives a sign for each batch that was committed; `at_rest` is told the ledger's
    /// position whenever nothing is to do, in flight or waited for.
    pub fn run(mut self, woken: &Receiver<()>, at_rest: Option<&Sender<(Seq, Vec<Fault>)>>) -> Result<(), Hinted> {
        let mut last = Instant::now();
        while !self.stop.is_set() {
            // Commits that come close together are one epoch of the graph: while a scanner sends, that leaves the
            // processor to the receiver.
            if let Some(early) = GATHER.checked_sub(last.elapsed()) {
                std::thread::sleep(early);
            }
            last = Instant::now();
            self.tail.follow()?;
            let cursor = self.tail.cursor();
            self.in_flight.retain(|_, outcome| outcome.is_none_or(|seq| seq > cursor));
            let next = self.dispatch();
            self.offer_seals();
            self.review()?;
            if let Some(at_rest) = at_rest
                && self.tail.standing().at_rest()
                && self.in_flight.is_empty()
                && at_rest.send((cursor, self.tail.standing().faults.iter().cloned().collect())).is_err()
            {
                return Ok(());
            }
            let rest = next.map_or(LONGEST_REST, |at| at.saturating_duration_since(Instant::now()).min(LONGEST_REST));
            // A pass that concerned no study leaves nothing to wait for.
            let rest = if self.review_is_due() { Duration::ZERO } else { rest };
            crossbeam::select! {
                recv(woken) -> _ => {}
                recv(self.done) -> done => self.note(done.ok()),
                default(rest) => {}
            }
            while let Ok(done) = self.done.try_recv() {
                self.note(Some(done));
            }
        }
        Ok(())
    }

    /// Has the clerk seal studies that are at rest.
    fn offer_seals(&mut self) {
        if self.seals_looked.elapsed() < SEALS_EVERY {
            return;
        }
        self.seals_looked = Instant::now();
        let before = now() - self.seal_after.as_millis() as i64;
        for event in seals(self.tail.work(), self.tail.standing(), before, MOST_SEALS) {
            let Event::StudySealed { study_uid, .. } = &event else { continue };
            let key = Key::Seal(study_uid.clone());
            if !self.in_flight.contains_key(&key) && self.clerk.offer(&key, || vec![event]) {
                self.in_flight.insert(key, None);
            }
        }
    }

    fn review_is_due(&self) -> bool {
        let open = self.tail.work().studies().len();
        !self.in_flight.contains_key(&Key::Review) && Review::is_due(self.tail.standing(), open)
    }

    /// Has the clerk open sealed studies that changed rules concern.
    fn review(&mut self) -> Result<(), Hinted> {
        if !self.review_is_due() {
            return Ok(());
        }
        let open = self.tail.work().studies().len();
        let events = self.review.next(self.tail.standing(), open, self.tail.reader()).map_err(unreadable)?;
        if events.is_empty() {
            return Ok(());
        }
        if self.clerk.offer(&Key::Review, || events) {
            self.in_flight.insert(Key::Review, None);
        } else {
            // The clerk is full: what it did not take is looked at again.
            self.review = Review::default();
        }
        Ok(())
    }

    fn note(&mut self, done: Option<Done>) {
        if let Some(Done { key, seq }) = done {
            self.in_flight.insert(key, Some(seq));
        }
    }

    /// Offers everything that is to do to its lane. Returns when to look again at the latest.
    fn dispatch(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let standing = self.tail.standing();
        let acts = self.hosts.acts(self.tail.work(), standing);
        let in_flight = &mut self.in_flight;
        let running: BTreeSet<Digest> = in_flight
            .keys()
            .filter_map(|key| if let Key::Run(run_key) = key { Some(*run_key) } else { None })
            .collect();
        // A lane that has answered is free only once the graph has seen its answer.
        let free = if acts.revisions().next().is_none() { self.infer.len().saturating_sub(running.len()) } else { 0 };
        let mut offer = |key: Key, offered: &mut dyn FnMut(&Key) -> bool| {
            if !in_flight.contains_key(&key) && offered(&key) {
                in_flight.insert(key, None);
            }
        };
        for row in acts.revisions() {
            let event = || vec![row.event(now(), counted(&row.row, standing))];
            offer(Key::Revision(row.key.clone()), &mut |key| self.clerk.offer(key, event));
        }
        for row in self.urgencies.objects(acts.objects()) {
            offer(Key::Encode(row.key.clone(), row.role), &mut |key| self.encode.offer(key, || row.clone()));
        }
        // A run's lesions are compared with those of reports, so what has run is reported before the next one begins.
        let runs = acts.runs().filter(|_| free > 0);
        let runs = self.urgencies.runs(runs, standing.series.iter().map(AsRef::as_ref));
        for row in runs.into_iter().filter(|row| !running.contains(&row.order.run_key)).take(free) {
            let key = Key::Run(row.order.run_key);
            offer(key, &mut |key| self.infer.iter().any(|lane| lane.offer(key, || row.clone())));
        }
        let now_millis = now();
        let (due, later) = due(acts.deliveries(), now_millis);
        if let Some(later) = later {
            next = Some(Instant::now() + Duration::from_millis(later.abs_diff(now_millis)));
        }
        for row in due {
            let key = Key::Deliver(row.row.object, row.row.destination.clone());
            let lane = self.deliver.get(&row.row.destination);
            offer(key, &mut |key| lane.is_some_and(|lane| lane.offer(key, || row.clone())));
        }
        // A timer runs from when it is first wanted by a running engine, so idle deadlines start anew at start-up.
        self.deadlines.retain(|timer, _| standing.timers.contains(timer));
        for timer in standing.timers.iter().filter(|timer| acts.waits(timer)) {
            let due = *self
                .deadlines
                .entry(timer.clone())
                .or_insert_with(|| Instant::now() + Duration::from_millis(timer.millis));
            if due <= Instant::now() {
                let event = Event::TimerFired(timer.clone());
                offer(Key::Timer(timer.clone()), &mut |key| self.clerk.offer(key, || vec![event.clone()]));
            } else {
                next = Some(next.map_or(due, |earlier| earlier.min(due)));
            }
        }
        next
    }
}

/// The ledger's tail, once these rules are the last ones recorded.
fn stated(rules: &Rules, data: &Path, mut port: Port) -> Result<Tail, Hinted> {
    let mut tail = Tail::open(data)?;
    tail.follow()?;
    if tail.standing().rules.as_ref() != Some(rules) {
        port.append(&[Event::RulesChanged(rules.clone())])
            .map_err(|_| Hinted::work("stopped before the rules were recorded", "start again"))?;
        tail.follow()?;
    }
    Ok(tail)
}

/// Opens a site's results store.
pub fn open_results(data: &Path) -> Result<ResultsStore, Hinted> {
    ResultsStore::open(data).map_err(|error| {
        Hinted::work(format!("the results store cannot be opened: {error}"), "check the data folder's rights")
    })
}

/// A sign for each batch that the receiver of a data folder commits. Signs that nobody took run into one.
pub fn woken(data: &Path, stop: &StopFlag) -> Result<Receiver<()>, Hinted> {
    let (sign, woken) = bounded(1);
    let (data, stop) = (data.to_owned(), stop.clone());
    std::thread::Builder::new()
        .name("subscription".to_owned())
        .spawn(move || {
            while stop.nap(Duration::ZERO).is_ok() {
                if let Ok(mut subscription) = Subscription::open(&data) {
                    while !stop.is_set() && subscription.next().is_some() {
                        // A full channel holds a sign already.
                        let _ = sign.try_send(());
                    }
                }
                if stop.nap(Duration::from_millis(50)).is_err() {
                    return;
                }
            }
        })
        .map_err(|error| Hinted::work(format!("a thread cannot be started: {error}"), "raise the limit on threads"))?;
    Ok(woken)
}
