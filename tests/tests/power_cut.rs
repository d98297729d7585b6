//! What was acknowledged survives a kill at any moment and a power cut that drops what was not synced.
//!
//! `SULCUS_CUTS` says how many cuts (default 10).

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use sulcus_engine::{
    ledger::{event::Event, read::Reader},
    receiver::{Limits, Receiver, ledger_path, spool_path},
    results_store::ResultsStore,
    spool::read::SpoolReader,
};
use sulcus_operators::digest::Digest;
use sulcus_tests::{
    made_up,
    unsynced::{Chance, Layer},
};

fn keeper(layer: &Layer, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keeper"));
    layer.under(&mut command).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_cut_takes_what_was_not_synced_and_nothing_else() {
    let (mut grown, mut created, mut removed) = (0, 0, 0);
    for seed in 0..12 {
        let work = tempfile::tempdir().unwrap();
        let layer = Layer::build(work.path()).unwrap();
        let folder = layer.folder();
        let mut child = keeper(&layer, &["files", folder.to_str().unwrap()]).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "written\n");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(fs::read(folder.join("synced")).unwrap(), b"before and after");
        layer.cut(&mut Chance(seed)).unwrap();
        let synced = fs::read(folder.join("synced")).unwrap();
        assert!(synced.starts_with(b"before"), "synced bytes stay");
        assert!(!folder.join("renamed.new").exists(), "a synced rename stays");
        grown += u32::from(synced.len() > 6);
        created += u32::from(folder.join("unsynced").exists());
        match fs::read(folder.join("renamed")) {
            Ok(bytes) => assert_eq!(bytes, b"renamed", "a removal that is taken back brings the bytes back"),
            Err(_) => removed += 1,
        }
    }
    for (what, times) in [("appended", grown), ("created", created), ("removed", removed)] {
        assert!(times > 0 && times < 12, "what was {what} without sync is lost sometimes, not always: {times} of 12");
    }
}

/// What was acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    instances: Vec<(u32, u32)>,
    events: HashMap<u64, u32>,
    results: Vec<Digest>,
}

impl Acknowledged {
    /// Runs one life and kills it after `life_time`.
    fn live(&mut self, command: &mut Command, life_time: Duration) {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut errors = child.stderr.take().unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| out.lines().map_while(Result::ok).collect::<Vec<_>>());
            std::thread::sleep(life_time);
            child.kill().unwrap();
            child.wait().unwrap();
            for line in reader.join().unwrap() {
                self.note(&line);
            }
        });
        let mut said = String::new();
        errors.read_to_string(&mut said).unwrap();
        assert_eq!(said, "", "the keeper failed before it was killed");
    }

    fn note(&mut self, line: &str) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["instance", series, number] => self.instances.push((series.parse().unwrap(), number.parse().unwrap())),
            ["event", seq, attempt] => drop(self.events.insert(seq.parse().unwrap(), attempt.parse().unwrap())),
            ["result", digest] => self.results.push(Digest::parse(digest).unwrap()),
            _ => panic!("the keeper said {line}"),
        }
    }

    /// What of it is missing from the state in `folder`, and what else is wrong there.
    fn missing(&self, folder: &Path) -> Vec<String> {
        let limits = Limits { minimum_free: 0, ..Limits::default() };
        let receiver = match Receiver::open(folder, limits, Box::new(made_up::read)) {
            Ok(receiver) => receiver,
            Err(error) => return vec![format!("{error}: {error:?}")],
        };
        let mut wrong: Vec<String> = receiver.reconciled().faults.iter().map(|fault| fault.reason.clone()).collect();
        let reader = Reader::open(&ledger_path(folder)).unwrap();
        wrong.extend(reader.verify(&spool_path(folder)).unwrap().faults.into_iter().map(|fault| fault.reason));
        let mut spool = SpoolReader::new(&spool_path(folder));
        for (series, number) in &self.instances {
            let held = reader.held(&format!("1.2.3.{series}.{number}")).unwrap();
            let start = format!("{series} {number} ");
            let bytes = held.and_then(|held| spool.data_set(&held.place).ok()).map(|(_, bytes)| bytes);
            if bytes.is_none_or(|bytes| !bytes.starts_with(start.as_bytes())) {
                wrong.push(format!("instance {start}is lost"));
            }
        }
        let entries: HashMap<u64, Event> =
            reader.entries_after(0, usize::MAX).unwrap().into_iter().map(|entry| (entry.seq, entry.event)).collect();
        for (seq, attempt) in &self.events {
            if !matches!(entries.get(seq), Some(Event::RunStarted { attempt: found, .. }) if found == attempt) {
                wrong.push(format!("event {seq} is lost"));
            }
        }
        let results = ResultsStore::open(folder).unwrap();
        for digest in &self.results {
            if results.get(digest).is_err() {
                wrong.push(format!("result {digest:?} is lost"));
            }
        }
        wrong
    }
}

/// Copies a state, so that looking at it does not mend it for the life that comes next.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &to.join(entry.file_name())),
            kind if kind.is_file() => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
            _ => {}
        }
    }
}

fn cuts() -> u32 {
    std::env::var("SULCUS_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(10)
}

#[test]
fn what_was_acknowledged_survives_every_cut() {
    let work = tempfile::tempdir().unwrap();
    let layer = Layer::build(work.path()).unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut chance = Chance(2);
    let mut lost = 0;
    for life in 1..=cuts() {
        let mut command = keeper(&layer, &["keep", layer.folder().to_str().unwrap(), &life.to_string()]);
        acknowledged.live(&mut command, Duration::from_millis(10 + chance.below(400)));
        let cut = layer.cut(&mut chance).unwrap();
        lost += cut.lost;
        let seen = work.path().join(format!("seen-{life}"));
        copy(layer.folder(), &seen);
        assert_eq!(acknowledged.missing(&seen), Vec::<String>::new(), "after life {life}, {cut:?}");
        fs::remove_dir_all(seen).unwrap();
    }
    let counts = (acknowledged.instances.len(), acknowledged.events.len(), acknowledged.results.len());
    println!("{} cuts, {lost} unsynced changes dropped; kept {counts:?} instances, events, results", cuts());
    assert!(counts.0 > 100 && counts.1 > 10 && counts.2 > 10 && lost > 0, "the cuts had something to cut: {counts:?}");
}

#[test]
fn a_missing_sync_is_caught_wherever_it_is_missing() {
    for place in [".segment", "ledger.sqlite-wal", "/results/"] {
        let caught = (0..8).any(|seed| {
            let work = tempfile::tempdir().unwrap();
            let layer = Layer::build(work.path()).unwrap();
            let mut acknowledged = Acknowledged::default();
            let mut command = keeper(&layer, &["keep", layer.folder().to_str().unwrap(), "1"]);
            acknowledged.live(command.env("UNSYNCED_IGNORE", place), Duration::from_millis(400));
            layer.cut(&mut Chance(seed)).unwrap();
            !acknowledged.missing(layer.folder()).is_empty()
        });
        assert!(caught, "the syncs of {place} are not made, and nothing was lost");
    }
}
