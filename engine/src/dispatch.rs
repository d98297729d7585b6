//! The engine's loop: tails the ledger, feeds the graph epoch by epoch, and hands what is to do to the lanes.
//!
//! Lanes act only on closed epochs, and at start-up only once the replay has passed the ledger's end: what looks
//! undone in the middle of a replay may be done later in it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender, bounded};
use sulcus_config::{Destination, Site};
use sulcus_operators::rows::{Fault, Millis, Seq};

use crate::{
    cohort::counted,
    devices::Devices,
    failure::Hinted,
    graph::{DeliveryToDo, ObjectToEncode},
    hosts::{Hosts, fetch::Fetcher},
    lanes::{
        Cancel, Done, Key, Lane,
        child::{Worker, WorkerCommand},
        count::{Counter, Question},
        deliver::{deliver, now},
        encode::encode,
        port::{Port, StopFlag},
    },
    ledger::event::{Event, Rules, Timer, TimerKind},
    queue::Urgencies,
    receiver::client::Subscription,
    results_store::ResultsStore,
    review::Review,
    seals::seals,
    standing::{Standing, Tail, open_reader, unreadable},
};

/// The engine takes in what was committed at most this often.
const GATHER: Duration = Duration::from_millis(20);
/// Studies at rest are looked for at most this often, and at most so many are sealed at once.
const SEALS_EVERY: Duration = Duration::from_millis(500);
const MOST_SEALS: usize = 128;
/// An archive is asked again about a series this often while the series waits.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// The engine looks at the ledger at least this often, whether it was woken or not.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// The engine of one machine.
pub struct Engine {
    tail: Tail,
    seal_after: Duration,
    seals_looked: Instant,
    review: Review,
    urgencies: Urgencies,
    in_flight: BTreeMap<Key, InFlight>,
    deadlines: BTreeMap<Timer, Instant>,
    done: Receiver<Done>,
    clerk: Lane<Vec<Event>>,
    devices: Devices,
    encode: Lane<ObjectToEncode>,
    deliver: BTreeMap<String, Lane<DeliveryToDo>>,
    longest_pause: Millis,
    count: BTreeMap<String, Lane<Question>>,
    hosts: Hosts,
    stop: StopFlag,
}

/// A job that a lane holds, or whose outcome the graph has not seen yet.
struct InFlight {
    /// The event that tells its outcome.
    outcome: Option<Seq>,
    /// What says that nobody wants it any more.
    cancel: Cancel,
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
    pub(crate) fn command(&self, device: Option<&str>) -> WorkerCommand {
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
        let mut port = Port::new(data, stop.clone());
        let clerk = Lane::start("clerk", 256, finished.clone(), move |events: Vec<Event>, _| port.append(&events))
            .map_err(thread_failed)?;

        let devices = Devices::start(site, models, program, &stop, &finished)?;

        let (mut port, reader, models) = (Port::new(data, stop.clone()), open()?, models.clone());
        let fetcher = Fetcher::of(site, "encode");
        let mut worker = Worker::new(program.command(None));
        let encode_lane = Lane::start("encode", 1, finished.clone(), move |job: ObjectToEncode, _| {
            encode(&job, &models, &mut worker, &reader, &fetcher, &mut port)
        })
        .map_err(thread_failed)?;

        let mut deliver_lanes = BTreeMap::new();
        for destination in &site.destinations {
            let (mut port, reader, results) = (Port::new(data, stop.clone()), open()?, open_results(data)?);
            let target = destination.clone();
            let lane =
                Lane::start(&format!("deliver {}", target.name()), 1, finished.clone(), move |job: DeliveryToDo, _| {
                    deliver(&job.row, job.attempt, &target, &results, &reader, &mut port)
                });
            deliver_lanes.insert(destination.name().to_owned(), lane.map_err(thread_failed)?);
        }

        let mut count_lanes = BTreeMap::new();
        for (source, archive) in site.sources.iter().filter_map(|source| Some((source.name(), source.archive()?))) {
            let mut counter = Counter::new(source, archive, open()?, Port::new(data, stop.clone()));
            let ask = move |question: Question, _: &Cancel| counter.ask(question);
            let lane = Lane::start(&format!("count {source}"), 64, finished.clone(), ask);
            count_lanes.insert(source.to_owned(), lane.map_err(thread_failed)?);
        }

        Ok(Engine {
            tail,
            seal_after: site.site.seal_after_seconds.duration(),
            seals_looked: Instant::now(),
            review: Review::default(),
            urgencies: Urgencies::of(site),
            in_flight: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            done,
            clerk,
            devices,
            encode: encode_lane,
            deliver: deliver_lanes,
            longest_pause: site.destinations.iter().map(longest_pause).max().unwrap_or(0),
            count: count_lanes,
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
            self.in_flight.retain(|_, job| job.outcome.is_none_or(|seq| seq > cursor));
            self.cancel_unwanted();
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
            if !self.in_flight.contains_key(&key)
                && let Some(cancel) = self.clerk.offer(&key, || vec![event])
            {
                self.in_flight.insert(key, InFlight { outcome: None, cancel });
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
        if let Some(cancel) = self.clerk.offer(&Key::Review, || events) {
            self.in_flight.insert(Key::Review, InFlight { outcome: None, cancel });
        } else {
            // The clerk is full: what it did not take is looked at again.
            self.review = Review::default();
        }
        Ok(())
    }

    fn note(&mut self, done: Option<Done>) {
        if let Some(Done { key, seq }) = done
            && let Some(job) = self.in_flight.get_mut(&key)
        {
            job.outcome = Some(seq);
        }
    }

    /// Cancels what lanes hold and nobody wants any more.
    fn cancel_unwanted(&self) {
        for (key, job) in &self.in_flight {
            if job.outcome.is_none() && !is_wanted(key, self.tail.standing()) {
                job.cancel.cancel();
            }
        }
    }

    /// Offers everything that is to do to its lane, in the order of the queue. Returns when to look again at the latest.
    fn dispatch(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let standing = self.tail.standing();
        let acts = self.hosts.acts(self.tail.work(), standing);
        let queue = self.urgencies.queue(self.tail.work(), standing);
        let in_flight = &mut self.in_flight;
        let runs = in_flight.keys().filter_map(|key| if let Key::Run(run_key) = key { Some(*run_key) } else { None });
        self.devices.note(&runs.collect());
        let mut offer = |key: Key, offered: &mut dyn FnMut(&Key) -> Option<Cancel>| {
            if !in_flight.contains_key(&key)
                && let Some(cancel) = offered(&key)
            {
                in_flight.insert(key, InFlight { outcome: None, cancel });
            }
        };
        for row in acts.revisions() {
            let event = || vec![row.event(now(), counted(&row.row, standing))];
            offer(Key::Revision(row.key.clone()), &mut |key| self.clerk.offer(key, event));
        }
        let encodes = self.encode.has_room();
        for row in queue.objects(acts.objects().filter(|_| encodes)) {
            offer(Key::Encode(row.key.clone(), row.role), &mut |key| self.encode.offer(key, || row.clone()));
        }
        // A run's lesions are compared with those of reports, so what has run is reported before the next one begins.
        let begins = acts.revisions().next().is_none() && self.devices.is_any_free();
        for (_, row) in queue.runs(acts.runs().filter(|_| begins)) {
            offer(Key::Run(row.order.run_key), &mut |_| self.devices.offer(row));
        }
        let now_millis = now();
        let lane = |destination: &str| self.deliver.get(destination).filter(|lane| lane.has_room());
        let deliveries = acts.deliveries().filter(|row| lane(&row.row.destination).is_some());
        let (due, later) = queue.deliveries(deliveries, now_millis, self.longest_pause);
        if let Some(later) = later {
            next = Some(Instant::now() + Duration::from_millis(later.abs_diff(now_millis)));
        }
        for row in due {
            let key = Key::Deliver(row.row.object, row.row.destination.clone());
            offer(key, &mut |key| lane(&row.row.destination)?.offer(key, || row.clone()));
        }
        // A timer runs from when it is first wanted by a running engine, so idle deadlines start anew at start-up.
        self.deadlines.retain(|timer, _| standing.timers.contains(timer));
        for timer in standing.timers.iter().filter(|timer| acts.waits(timer)) {
            let due = *self
                .deadlines
                .entry(timer.clone())
                .or_insert_with(|| Instant::now() + Duration::from_millis(timer.millis));
            if due <= Instant::now() && timer.kind == TimerKind::Count {
                let state = standing.series.iter().find(|state| state.series_uid == timer.series_uid);
                if let Some((state, lane)) = state.and_then(|state| Some((state, self.count.get(&state.source)?))) {
                    let [study_uid, series_uid] = [&state.study_uid, &state.series_uid].map(String::clone);
                    let question = Question { study_uid, series_uid };
                    offer(Key::Timer(timer.clone()), &mut |key| lane.offer(key, || question.clone()));
                }
                self.deadlines.insert(timer.clone(), Instant::now() + ASK_AGAIN);
            } else if due <= Instant::now() {
                let event = Event::TimerFired(timer.clone());
                offer(Key::Timer(timer.clone()), &mut |key| self.clerk.offer(key, || vec![event.clone()]));
            } else {
                next = Some(next.map_or(due, |earlier| earlier.min(due)));
            }
        }
        next
    }
}

/// The longest pause after a failed delivery, in milliseconds.
fn longest_pause(destination: &Destination) -> Millis {
    destination.retry().limit_seconds.duration().as_millis() as Millis
}

/// Whether somebody still wants what a lane holds. What only the clerk does is quick, and left to it.
fn is_wanted(key: &Key, standing: &Standing) -> bool {
    match key {
        Key::Run(run_key) => {
            let mut wanted = standing.runs.iter().chain(standing.unended.iter());
            wanted.any(|row| row.order.run_key == *run_key)
        }
        Key::Encode(key, role) => standing.objects.iter().any(|row| row.key == *key && row.role == *role),
        Key::Deliver(object, destination) => {
            let is_it = |row: &DeliveryToDo| row.row.object == *object && row.row.destination == *destination;
            standing.deliveries.iter().any(is_it)
        }
        Key::Timer(timer) if timer.kind == TimerKind::Count => standing.timers.contains(timer),
        Key::Revision(_) | Key::Timer(_) | Key::Seal(_) | Key::Review => true,
    }
}

/// What is said where a lane's thread cannot be had.
pub(crate) fn thread_failed(error: std::io::Error) -> Hinted {
    Hinted::work(format!("a lane cannot be started: {error}"), "raise the limit on threads")
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
