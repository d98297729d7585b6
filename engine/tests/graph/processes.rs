//! The same graph over two processes that stay up: what one of them is fed, both work on, and together they hold what the
//! oracle makes of the log. The other process is this program once more, which feeds nothing.
//!
//! For each case both build the dataflow anew in the same cluster. The first one writes to the other how many epochs there
//! are, and reads back the rows that ended there.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write, stdin},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
};

use proptest::prelude::*;
use sulcus_engine::{
    graph::{Output, Sink, build, drain, oracle},
    ledger::event::Entry,
};
use timely::{CommunicationConfig, Config, WorkerConfig, worker::Worker};

use crate::random::{Step, cases, step, step_of_several, written};

/// Where both processes listen, for the other one; unset in all other runs.
const ADDRESSES: &str = "SULCUS_TEST_TWO_PROCESSES";
/// How a line of rows begins, among what the test program prints itself.
const ROWS: &str = "rows of the other process: ";
/// Threads of each process.
const THREADS: usize = 2;

type Rows = Vec<(Output, isize)>;

fn config(process: usize, addresses: &[String]) -> Config {
    let addresses = addresses.to_vec();
    let communication =
        CommunicationConfig::Cluster { threads: THREADS, process, addresses, report: false, zerocopy: false };
    Config { communication, worker: WorkerConfig::default() }
}

/// One case at one worker: builds the dataflow, takes it through its epochs and ends it. Rows of the process meet in `sink`.
fn work(worker: &mut Worker, epochs: u64, log: &[Entry], sink: &Sink) {
    let into = Sink::clone(sink);
    let (mut inputs, probe) = worker.dataflow(|scope| build(scope, into));
    let mut chunks = log.chunk_by(|a, b| a.epoch == b.epoch);
    for epoch in 1..=epochs {
        chunks.next().unwrap_or_default().iter().for_each(|entry| inputs.apply(entry));
        inputs.advance_to(epoch);
        worker.step_or_park_while(None, || probe.less_than(&epoch));
    }
    drop(inputs);
    while worker.has_dataflows() {
        worker.step_or_park(None);
    }
}

/// Tells all threads of a process of a case, the first one with its log, and waits until each has done it.
struct Crew {
    threads: Vec<Sender<(u64, Vec<Entry>)>>,
    done: Receiver<()>,
    sink: Sink,
}

impl Crew {
    /// Starts the threads of a process; they end with it.
    fn start(process: usize, addresses: &[String]) -> Crew {
        let (sink, (finished, done)) = (Sink::default(), channel());
        let (threads, jobs): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| channel::<(u64, Vec<Entry>)>()).unzip();
        let jobs = Mutex::new(jobs.into_iter().map(Some).collect::<Vec<_>>());
        let (of_threads, config) = (Sink::clone(&sink), config(process, addresses));
        std::thread::spawn(move || {
            let finished = Mutex::new(finished);
            let guards = timely::execute(config, move |worker| {
                let own = worker.index() % THREADS;
                let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner)[own].take().unwrap();
                let finished = finished.lock().unwrap_or_else(PoisonError::into_inner).clone();
                for (epochs, log) in jobs {
                    work(worker, epochs, &log, &of_threads);
                    finished.send(()).unwrap();
                }
            });
            guards.unwrap().join().into_iter().for_each(Result::unwrap);
        });
        Crew { threads, done, sink }
    }

    fn begin(&self, epochs: u64, log: Vec<Entry>) {
        let mut logs = std::iter::once(log).chain(std::iter::repeat_with(Vec::new));
        self.threads.iter().for_each(|thread| thread.send((epochs, logs.next().unwrap())).unwrap());
    }

    fn end(&self) -> Rows {
        self.threads.iter().for_each(|_| self.done.recv().unwrap());
        drain(&self.sink)
    }
}

/// Both processes, seen from the first.
struct Cluster {
    here: Crew,
    there: Child,
    said: ChildStdin,
    heard: BufReader<ChildStdout>,
}

impl Cluster {
    fn start() -> Cluster {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [free(), free()].map(|listener| listener.local_addr().unwrap().to_string()).to_vec();
        let mut there = Command::new(env::current_exe().unwrap())
            .args(["processes::the_other_process", "--exact", "--ignored", "--nocapture"])
            .env(ADDRESSES, addresses.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, heard) = (there.stdin.take().unwrap(), BufReader::new(there.stdout.take().unwrap()));
        Cluster { here: Crew::start(0, &addresses), there, said, heard }
    }

    /// The rows after the last epoch, of both processes, and how many came from the other.
    fn play(&mut self, log: Vec<Entry>) -> (BTreeMap<Output, isize>, usize) {
        let epochs = log.chunk_by(|a, b| a.epoch == b.epoch).count() as u64;
        writeln!(self.said, "{epochs}").unwrap();
        self.here.begin(epochs, log);
        let mut rows = self.here.end();
        let mut line = String::new();
        let there: Rows = loop {
            line.clear();
            assert!(self.heard.read_line(&mut line).unwrap() > 0, "the other process ended");
            // The test program begins a line of its own.
            if let Some((_, rows)) = line.split_once(ROWS) {
                break serde_json::from_str(rows).unwrap();
            }
        };
        let from_there = there.len();
        rows.extend(there);
        let mut all = BTreeMap::new();
        rows.into_iter().for_each(|(output, diff)| *all.entry(output).or_default() += diff);
        all.retain(|_, diff| *diff != 0);
        (all, from_there)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ended = self.there.kill().and_then(|()| self.there.wait());
    }
}

#[test]
#[ignore = "it is the other process of the property"]
fn the_other_process() {
    let Ok(addresses) = env::var(ADDRESSES) else { return };
    let crew = Crew::start(1, &addresses.split(' ').map(str::to_owned).collect::<Vec<_>>());
    for line in stdin().lines() {
        crew.begin(line.unwrap().parse().unwrap(), Vec::new());
        println!("{ROWS}{}", serde_json::to_string(&crew.end()).unwrap());
    }
    // The workers wait for cases that no longer come.
    std::process::exit(0);
}

/// The processes that all cases share, and how many rows the other one has given.
fn play(log: Vec<Entry>) -> (BTreeMap<Output, isize>, usize) {
    static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Mutex::new(Cluster::start()));
    cluster.lock().unwrap().play(log)
}

fn holds_what_the_oracle_makes(steps: Vec<Step>) -> Result<usize, TestCaseError> {
    let site = written(steps);
    let wants: BTreeMap<Output, isize> = oracle::outputs(&site.log).into_iter().map(|output| (output, 1)).collect();
    let (holds, from_there) = play(site.log);
    prop_assert_eq!(holds, wants);
    Ok(from_there)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(cases(200)) })]

    #[test]
    fn two_processes_give_the_same(
        of in 10..17u8,
        steps in prop::collection::vec(prop_oneof![step(), step_of_several()], 1..40),
    ) {
        holds_what_the_oracle_makes([vec![Step::Rules(of, 3)], steps].concat())?;
    }
}

#[test]
fn both_processes_have_a_part_of_the_work() {
    let steps = (0..2).map(|study| Step::Study(study, 0)).chain([Step::Advance, Step::DeliverAll, Step::Close]);
    let from_there = holds_what_the_oracle_makes(steps.collect()).unwrap();
    assert!(from_there > 5, "the other process gave {from_there} rows");
}
