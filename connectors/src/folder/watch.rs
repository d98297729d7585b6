//! A watched folder: files that others put there are taken once they rest, and moved aside once their bytes are durable.
//!
//! A file rests when its size and time of change are the same in two polls. Then it is delivered and moved into `done` or,
//! when it is no DICOM or the inbox holds it in quarantine, into `refused`, below the folder. What the inbox did not keep
//! stays and is tried again. Nothing is ever deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{FolderError, FolderLimits, FolderPass, Skip, content, give, walk};
use crate::inbox::Inbox;

const DONE: &str = "done";
const REFUSED: &str = "refused";
/// How often a waiting watch looks at its stop flag.
const TICK: Duration = Duration::from_millis(100);

/// A folder being watched.
#[derive(Debug)]
pub struct Watch {
    folder: PathBuf,
    source: String,
    limits: FolderLimits,
    /// Size and time of change of the files that were there in the last poll.
    seen: BTreeMap<PathBuf, (u64, SystemTime)>,
    /// Series delivered since the folder was last empty of files.
    series: BTreeSet<String>,
}

impl Watch {
    /// Starts to watch; makes the subfolders `done` and `refused`.
    pub fn new(folder: &Path, source: &str, limits: FolderLimits) -> Result<Watch, FolderError> {
        for name in [DONE, REFUSED] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(|source| FolderError::Unreadable { path, source })?;
        }
        let (seen, series) = (BTreeMap::new(), BTreeSet::new());
        Ok(Watch { folder: folder.to_owned(), source: source.to_owned(), limits, seen, series })
    }

    /// Polls every `interval` until `stop` is set. A poll that fails is logged and tried again.
    pub fn run(&mut self, interval: Duration, inbox: &dyn Inbox, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match self.poll(inbox) {
                Ok(pass) if pass == FolderPass::default() => {}
                Ok(pass) => tracing::info!(
                    source = self.source,
                    stored = pass.stored,
                    repeated = pass.repeated,
                    conflicts = pass.conflicts,
                    quarantined = pass.quarantined,
                    failed = pass.failed,
                    skipped = ?pass.skipped,
                    "folder polled"
                ),
                Err(error) => tracing::warn!(source = self.source, %error, "folder not polled"),
            }
            let next = Instant::now() + interval;
            while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                thread::sleep(TICK.min(interval));
            }
        }
    }

    /// Takes the files that rest. When none is left, the inbox is told that the series delivered so far are released.
    pub fn poll(&mut self, inbox: &dyn Inbox) -> Result<FolderPass, FolderError> {
        let mut present = BTreeMap::new();
        // What is no file stays where it is and would be counted in every poll: these counts are let go.
        let mut ignored = FolderPass::default();
        let aside = [self.folder.join(DONE), self.folder.join(REFUSED)];
        walk(&self.folder, &aside, &self.limits, &mut ignored, &mut |file, _| {
            // A file may be gone between listing and looking.
            if let Ok(metadata) = fs::symlink_metadata(file) {
                let changed = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                present.insert(file.to_owned(), (metadata.len(), changed));
            }
            Ok(())
        })?;
        let mut pass = FolderPass::default();
        let mut left = 0;
        for (file, state) in &present {
            if self.seen.get(file) != Some(state) || !self.take(file, inbox, &mut pass) {
                left += 1;
            }
        }
        self.seen = present;
        self.series.extend(pass.series.iter().cloned());
        if left == 0 && !self.series.is_empty() {
            let series = std::mem::take(&mut self.series).into_iter().collect();
            inbox.released(&self.source, series, true);
        }
        Ok(pass)
    }

    /// Delivers one file and moves it aside; false if it has to stay.
    fn take(&self, file: &Path, inbox: &dyn Inbox, total: &mut FolderPass) -> bool {
        let mut pass = FolderPass::default();
        let result = content(file, &self.limits)
            .and_then(|content| give(content, file, &self.source, inbox, &self.limits, &mut pass));
        // Names are left out of the log: a file may be called after a patient.
        let target = match &result {
            Ok(()) if pass.conflicts == 0 && pass.quarantined == 0 && pass.skipped.is_empty() => Some(DONE),
            Ok(()) => Some(REFUSED),
            // It may be readable later.
            Err(FolderError::Unreadable { .. }) => {
                pass.skip(Skip::Unreadable);
                None
            }
            Err(_) => {
                pass.skip(Skip::BrokenArchive);
                Some(REFUSED)
            }
        };
        let moved = match target.filter(|_| pass.failed == 0).map(|target| self.move_aside(file, target)) {
            Some(Err(error)) => {
                tracing::warn!(source = self.source, %error, "a delivered file cannot be moved aside");
                false
            }
            moved => moved.is_some(),
        };
        total.add(pass);
        moved
    }

    /// Moves a file to its own relative path below `done` or `refused`, under a numbered name if that is taken.
    fn move_aside(&self, file: &Path, target: &str) -> io::Result<()> {
        let relative = file.strip_prefix(&self.folder).map_err(io::Error::other)?;
        let wanted = self.folder.join(target).join(relative);
        if let Some(parent) = wanted.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut free = wanted.clone();
        let mut number = 0u32;
        while free.symlink_metadata().is_ok() {
            number += 1;
            let mut name = wanted.clone().into_os_string();
            name.push(format!(".{number}"));
            free = name.into();
        }
        fs::rename(file, free)
    }
}
