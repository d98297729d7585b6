//! A receiver that keeps made-up objects as fast as it can, for the power cuts and as a measure of the store path.
//!
//! - `keeper files FOLDER`: one file is written and synced with its folder, another is not; then it waits.
//! - `keeper keep FOLDER LIFE`: keeps objects, events and results until it is killed, and prints a line for each
//!   that was acknowledged: `instance SERIES NUMBER`, `event SEQ ATTEMPT`, `result DIGEST`.
//! - `keeper rate FOLDER THREADS BYTES COUNT`: how many objects a second.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use sulcus_connectors::inbox::{Inbox, Stored};
use sulcus_engine::{
    ledger::event::Event,
    receiver::{Limits, Receiver, client::Client},
    results_store::ResultsStore,
    spool::sync_folder,
};
use sulcus_operators::digest::Digest;
use sulcus_tests::made_up;

type Done = Result<(), Box<dyn std::error::Error>>;

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["files", folder] => files(Path::new(folder)),
        ["keep", folder, life] => keep(Path::new(folder), life.parse()?),
        ["rate", folder, threads, bytes, count] => {
            rate(Path::new(folder), threads.parse()?, bytes.parse()?, count.parse()?)
        }
        _ => Err("usage: keeper files FOLDER | keep FOLDER LIFE | rate FOLDER THREADS BYTES COUNT".into()),
    }
}

fn files(folder: &Path) -> Done {
    let mut synced = File::create(folder.join("synced"))?;
    synced.write_all(b"before")?;
    synced.sync_all()?;
    let mut renamed = File::create(folder.join("renamed.new"))?;
    renamed.write_all(b"renamed")?;
    renamed.sync_data()?;
    fs::rename(folder.join("renamed.new"), folder.join("renamed"))?;
    sync_folder(folder)?;
    synced.write_all(b" and after")?;
    File::create(folder.join("unsynced"))?.write_all(b"unsynced")?;
    fs::remove_file(folder.join("renamed"))?;
    println!("written");
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

/// An object whose bytes follow from its number.
fn filling(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = Digest::of(&number.to_le_bytes()).0.repeat(length.div_ceil(32));
    bytes.truncate(length);
    bytes
}

fn keep(folder: &Path, life: u32) -> Done {
    let limits = Limits { segment_bytes: 1 << 20, minimum_free: 0, ..Limits::default() };
    let receiver = Receiver::open(folder, limits, Box::new(made_up::read))?;
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // Some come twice, so that repetitions are cut too.
                    for _ in 0..=u32::from(number.is_multiple_of(8)) {
                        let length = (number as usize * 7919) % 40_000;
                        let stored = receiver.store(made_up::incoming(life, number, &filling(number, length)));
                        match stored {
                            Stored::Kept { .. } | Stored::Repeated { .. } => println!("instance {life} {number}"),
                            other => panic!("instance {life} {number}: {other:?}"),
                        }
                    }
                }
            });
        }
        let mut client = Client::new(folder);
        let results = ResultsStore::open(folder)?;
        for attempt in 0.. {
            let event = Event::RunStarted { run_key: Digest::of(&life.to_le_bytes()), attempt };
            for seq in client.append(vec![event])? {
                println!("event {seq} {attempt}");
            }
            println!("result {}", results.put(&filling(attempt % 50, 3000))?);
        }
        Ok(())
    })
}

fn rate(folder: &Path, threads: u32, bytes: usize, count: u32) -> Done {
    let receiver = Receiver::open(folder, Limits::default(), Box::new(made_up::read))?;
    let begun = Instant::now();
    let mut waits: Vec<Duration> = std::thread::scope(|scope| {
        let store = |thread: u32| {
            let receiver = &receiver;
            move || {
                let of_thread = (0..count).filter(|number| number % threads == thread);
                let timed = of_thread.map(|number| {
                    let incoming = made_up::incoming(1, number, &filling(number, bytes));
                    let sent = Instant::now();
                    let stored = receiver.store(incoming);
                    assert!(matches!(stored, Stored::Kept { .. }), "{stored:?}");
                    sent.elapsed()
                });
                timed.collect::<Vec<_>>()
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(store(thread))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
    let (median, tail) = (at(50), at(99));
    let stored = f64::from(count) / seconds;
    writeln!(io::stdout(), "{threads} threads: {stored:.0} objects/s, median {median:?}, 99% {tail:?}")?;
    let begun = Instant::now();
    let mut commits = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        receiver.append(vec![Event::RunStarted { run_key: Digest::default(), attempt: commits }])?;
        commits += 1;
    }
    writeln!(io::stdout(), "{commits} commits/s, one after the other")?;
    Ok(())
}
