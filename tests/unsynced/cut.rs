//! A power cut: takes back a random part of what a killed process wrote and never synced.
//!
//! `unsynced.c` is loaded under the process and keeps a journal; `cut` reads it. All changes that no sync covers
//! are rolled back, then some are made again: a prefix, or any subset, each possibly torn between 512-byte sectors,
//! as a disk's cache would have it. Names are lost from the end, folder by folder, as a journalling file system does.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

/// A folder under the layer, and where the layer keeps its journal (on the same file system, outside the folder).
#[derive(Clone, Debug)]
pub struct Layer {
    library: PathBuf,
    folder: PathBuf,
    journal: PathBuf,
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Changes of content that no sync covered and that are gone.
    pub lost: u64,
    /// Changes of content that no sync covered and that stayed, whole or torn.
    pub stayed: u64,
    /// Names (creations, renames, removals) that are as before.
    pub names: u64,
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

impl Layer {
    /// Compiles the layer (with `cc`) in `work` and lays it under `work/state`, which is made.
    pub fn build(work: &Path) -> io::Result<Self> {
        let work = work.canonicalize()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("unsynced/unsynced.c");
        let library = work.join("unsynced.so");
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).args(["-ldl"]);
        if !cc.status()?.success() {
            return Err(io::Error::other("cc could not compile tests/unsynced/unsynced.c"));
        }
        let (folder, journal) = (work.join("state"), work.join("journal"));
        fs::create_dir(&folder)?;
        Ok(Layer { library, folder, journal })
    }

    /// The folder whose files are covered.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets a command run above the layer.
    pub fn under<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.envs(self.environment())
    }

    /// The variables by which a process, and all that it starts, runs above the layer.
    pub fn environment(&self) -> [(&'static str, &Path); 3] {
        [("LD_PRELOAD", &self.library), ("UNSYNCED_FOLDER", &self.folder), ("UNSYNCED_JOURNAL", &self.journal)]
    }

    /// Stops all processes above the layer at the next sync that one of them makes, or gives up after `limit`. A cut
    /// there can leave what any earlier cut since the last sync could, so none is better placed.
    pub fn halt_at_sync(&self, limit: Duration) -> io::Result<()> {
        fs::write(self.journal.with_extension("halt"), "")?;
        let begun = Instant::now();
        while !self.journal.with_extension("halted").exists() && begun.elapsed() < limit {
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Cuts the power. All processes above the layer must have ended (by SIGKILL). What is left is durable; the
    /// journal begins anew.
    pub fn cut(&self, chance: &mut Chance) -> io::Result<Cut> {
        let bytes = match fs::read(&self.journal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Cut::default()),
            read => read?,
        };
        let entries = parse(&bytes);
        let mut done = Cut::default();
        self.cut_contents(&entries, chance, &mut done)?;
        self.cut_names(&entries, chance, &mut done)?;
        fs::remove_file(&self.journal)?;
        for (path, _) in files(self.journal.parent().unwrap_or(&self.folder))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains(".kept-")
                || name.starts_with("journal.halt")
                || (name.ends_with("-shm") && path.starts_with(&self.folder))
            {
                fs::remove_file(path)?;
            }
        }
        Ok(done)
    }

    fn cut_contents(&self, entries: &[Entry<'_>], chance: &mut Chance, done: &mut Cut) -> io::Result<()> {
        let mut unsynced: BTreeMap<u64, Vec<&Entry<'_>>> = BTreeMap::new();
        for entry in entries {
            match entry.op {
                WRITE | RESIZE => unsynced.entry(entry.inode).or_default().push(entry),
                SYNC => drop(unsynced.remove(&entry.inode)),
                _ => {}
            }
        }
        let by_inode: HashMap<u64, PathBuf> = files(self.journal.parent().unwrap_or(&self.folder))?
            .into_iter()
            .map(|(path, inode)| (inode, path))
            .collect();
        for (inode, changes) in unsynced {
            let Some(path) = by_inode.get(&inode) else { continue };
            let file = File::options().write(true).open(path)?;
            for change in changes.iter().rev() {
                file.write_all_at(change.first, change.offset)?;
                file.set_len(change.old_size)?;
            }
            // Half of the cuts lose a tail, the others any part.
            let prefix = (chance.below(2) == 0).then(|| chance.below(changes.len() as u64 + 1));
            for (change, number) in changes.iter().zip(0u64..) {
                if prefix.map_or_else(|| chance.below(2) == 0, |kept| number >= kept) {
                    done.lost += 1;
                    continue;
                }
                done.stayed += 1;
                match change.op {
                    RESIZE => file.set_len(change.offset)?,
                    _ => write_torn(&file, change, chance)?,
                }
            }
        }
        Ok(())
    }

    fn cut_names(&self, entries: &[Entry<'_>], chance: &mut Chance, done: &mut Cut) -> io::Result<()> {
        let mut unsynced: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for (number, entry) in entries.iter().enumerate() {
            match entry.op {
                CREATE | MKDIR | UNLINK | RENAME => {
                    let folder = entry.path().parent().unwrap_or(Path::new("/")).to_owned();
                    unsynced.entry(folder).or_default().push(number);
                }
                SYNC_FOLDER => drop(unsynced.remove(&entry.path())),
                _ => {}
            }
        }
        let mut lost: Vec<usize> = Vec::new();
        for numbers in unsynced.values() {
            let kept = chance.below(numbers.len() as u64 + 1) as usize;
            lost.extend(numbers.iter().skip(kept));
        }
        lost.sort_unstable();
        for entry in lost.iter().rev().filter_map(|&number| entries.get(number)) {
            done.names += 1;
            let (path, kept) = (entry.path(), PathBuf::from(text(entry.second)));
            let undone = match entry.op {
                CREATE => fs::remove_file(&path),
                MKDIR => fs::remove_dir_all(&path),
                RENAME => fs::rename(&path, text(entry.first).split('\n').next().unwrap_or_default()),
                _ => Ok(()),
            };
            // What a lost creation or folder took away already is not there to be undone.
            if undone.is_ok() && !entry.second.is_empty() && kept.exists() {
                fs::rename(kept, path)?;
            }
        }
        Ok(())
    }
}

/// Writes the change again, whole or with some of its sectors missing.
fn write_torn(file: &File, change: &Entry<'_>, chance: &mut Chance) -> io::Result<()> {
    if chance.below(3) > 0 {
        return file.write_all_at(change.second, change.offset);
    }
    let mut at = change.offset;
    let mut rest = change.second;
    while !rest.is_empty() {
        let (sector, later) = rest.split_at(rest.len().min(512 - (at % 512) as usize));
        if chance.below(2) == 0 {
            file.write_all_at(sector, at)?;
        }
        at += sector.len() as u64;
        rest = later;
    }
    Ok(())
}

const WRITE: u64 = 1;
const RESIZE: u64 = 2;
const SYNC: u64 = 3;
const CREATE: u64 = 4;
const MKDIR: u64 = 5;
const UNLINK: u64 = 6;
const RENAME: u64 = 7;
const SYNC_FOLDER: u64 = 8;

/// One entry of the journal: see `struct entry` in `unsynced.c`.
struct Entry<'a> {
    op: u64,
    inode: u64,
    offset: u64,
    old_size: u64,
    first: &'a [u8],
    second: &'a [u8],
}

impl Entry<'_> {
    /// The name that the entry made, changed, removed or synced.
    fn path(&self) -> PathBuf {
        PathBuf::from(text(self.first).rsplit('\n').next().unwrap_or_default())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whole entries; one that the kill cut short was noted before its change was made, which then never was.
fn parse(mut bytes: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(48) {
        let word = |n: usize| head.get(8 * n..8 * n + 8).and_then(|w| w.try_into().ok()).map_or(0, u64::from_le_bytes);
        let Some((first, rest)) = rest.split_at_checked(word(4) as usize) else { break };
        let Some((second, rest)) = rest.split_at_checked(word(5) as usize) else { break };
        entries.push(Entry { op: word(0), inode: word(1), offset: word(2), old_size: word(3), first, second });
        bytes = rest;
    }
    entries
}

/// Files below a folder, with their inodes.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push((entry.path(), metadata.ino()));
        }
    }
    Ok(found)
}
