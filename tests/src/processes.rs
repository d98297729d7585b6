//! Processes under test as the system tells of them: killed, ended, and their command lines.

use std::fs;
use std::process::{Command, Stdio};

/// `kill -9` of these processes at once.
pub fn kill(ids: &[u32]) {
    let ids = ids.iter().map(u32::to_string);
    // A process that is gone already is what was wanted.
    let _status = Command::new("kill").arg("-9").args(ids).stderr(Stdio::null()).status();
}

/// True once a process holds nothing more. Its command line is gone as soon as its first thread is, while its sockets
/// listen until the last one is: so its threads are looked at.
pub fn has_ended(id: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { return true };
    let lives = |stat: String| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']);
    !threads.flatten().any(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(lives))
}

/// The words of a live process's command line; none once it has ended.
pub fn words_of(id: u32) -> Option<Vec<String>> {
    let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let words: Vec<String> = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| !word.is_empty())
        .collect();
    (!words.is_empty()).then_some(words)
}
