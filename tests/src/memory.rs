//! Time and memory of a command with all the processes that it starts, as Linux counts them.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::peer::PeerError;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a command to its end. Gives the seconds it took and the most bytes that it and its children held at once
/// (proportional set size, so that shared pages count once).
///
/// # Errors
/// Where it cannot be started or fails.
pub fn measured(command: &mut Command) -> Result<(f64, u64), PeerError> {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut most = 0;
    let mut looked = Instant::now();
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        if looked.elapsed() >= LOOK {
            most = most.max(held(child.id()));
            looked = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let seconds = begun.elapsed().as_secs_f64();
    if ended.success() {
        Ok((seconds, most))
    } else {
        Err(PeerError::failed(format!("{command:?} ended with {ended}")))
    }
}

/// Bytes of a process and its descendants.
fn held(root: u32) -> u64 {
    let Ok(all) = fs::read_dir("/proc") else { return 0 };
    let parents: BTreeMap<u32, u32> = all
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|id: u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The name in brackets may hold anything; the state and the parent follow it.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(id, _)| *id));
        next += 1;
    }
    family.into_iter().filter_map(proportional).sum()
}

fn proportional(id: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
