//! The supervisor of `sulcus serve`: starts the receiver and the engine as processes of their own, and starts each
//! again when it ends, so that one crash never takes the other with it.
//!
//! A child lives as long as its standard input is open; should the supervisor itself be killed, both end by
//! themselves.

use std::{
    io::Read,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{failure::Hinted, lanes::port::StopFlag};

/// How often the children are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// A child that ends at once is started again after this time, doubled each time up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A child that ran this long was well.
const WELL: Duration = Duration::from_secs(10);
/// How long a child may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// The program and the configuration that the children run with.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// The binary `sulcus`.
    pub program: PathBuf,
    /// The site's configuration file.
    pub config: PathBuf,
}

struct Part {
    name: &'static str,
    child: Option<Child>,
    started: Instant,
    pause: Duration,
    start_at: Instant,
}

impl Supervisor {
    /// Keeps both children running until stopped.
    pub fn run(&self, stop: &StopFlag) -> Result<(), Hinted> {
        let now = Instant::now();
        let mut parts = ["receiver", "engine"].map(|name| Part {
            name,
            child: None,
            started: now,
            pause: FIRST_PAUSE,
            start_at: now,
        });
        while !stop.is_set() {
            for part in &mut parts {
                self.watch(part)?;
            }
            sleep(LOOK);
        }
        // The engine first: it hands its last outcomes to the receiver.
        for part in parts.iter_mut().rev() {
            part.end();
        }
        Ok(())
    }

    fn watch(&self, part: &mut Part) -> Result<(), Hinted> {
        let cannot = |error: std::io::Error| {
            Hinted::work(
                format!("the process of the {} cannot be started: {error}", part.name),
                "check the installation",
            )
        };
        match &mut part.child {
            None if Instant::now() >= part.start_at => {
                let child = Command::new(&self.program)
                    .arg(part.name)
                    .arg("--config")
                    .arg(&self.config)
                    .stdin(Stdio::piped())
                    .spawn()
                    .map_err(cannot)?;
                tracing::info!(part = part.name, process = child.id(), "started");
                part.child = Some(child);
                part.started = Instant::now();
            }
            None => {}
            Some(child) => {
                if let Some(status) = child.try_wait().map_err(cannot)? {
                    part.child = None;
                    part.pause =
                        if part.started.elapsed() > WELL { FIRST_PAUSE } else { (part.pause * 2).min(LONGEST_PAUSE) };
                    part.start_at = Instant::now() + part.pause;
                    tracing::error!(part = part.name, %status, again_in = ?part.pause, "ended by itself");
                }
            }
        }
        Ok(())
    }
}

impl Part {
    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        drop(child.stdin.take());
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(LOOK);
        }
        tracing::warn!(part = self.name, "did not end in time and is killed; nothing acknowledged is lost by that");
        // It may have ended in between; all that matters is that it is gone and reaped.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Stops `stop` when standard input ends: the supervisor is gone, or wants this process to end.
pub fn stop_with_input(stop: &StopFlag) -> std::io::Result<()> {
    let stop = stop.clone();
    std::thread::Builder::new().name("supervised".to_owned()).spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        stop.stop();
    })?;
    Ok(())
}

/// Stops `stop` at SIGTERM or SIGINT; at the second one the process ends at once.
pub fn stop_with_signals(stop: &StopFlag) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])?;
    let stop = stop.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if stop.is_set() {
                std::process::exit(1);
            }
            stop.stop();
        }
    })?;
    Ok(())
}
