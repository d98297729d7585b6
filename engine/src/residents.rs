//! Which models a device holds ready: those of the configuration and one other, as far as its memory goes. Where it does
//! not, what was used least recently makes room. A worker keeps its sessions so; the engine keeps count beside it, and so
//! knows which device has a model at hand.

use std::path::{Path, PathBuf};

use sulcus_config::Site;

use crate::devices::Room;

struct Resident<T> {
    package: PathBuf,
    /// Bytes that it takes at the least; 0 where its package does not tell.
    bytes: u64,
    held: T,
}

/// The models of one device, each with what is held of it.
pub struct Residents<T> {
    room: Room,
    configured: Vec<PathBuf>,
    /// The least recently used first.
    all: Vec<Resident<T>>,
}

impl<T> Residents<T> {
    /// None yet.
    pub fn new(site: &Site, room: Room) -> Self {
        let alone = |pipeline: &sulcus_config::Pipeline| pipeline.alone.as_ref().map(|alone| alone.model.clone());
        let mut configured = Vec::new();
        for model in
            site.pipelines.iter().flat_map(|pipeline| [Some(pipeline.model.clone()), alone(pipeline)]).flatten()
        {
            if !configured.contains(&model) {
                configured.push(model);
            }
        }
        Residents { room, configured, all: Vec::new() }
    }

    /// The models that are loaded at a start: of the configuration those for which there is room beside each other.
    pub fn first(&self) -> Vec<PathBuf> {
        let (mut first, mut taken) = (Vec::new(), Vec::new());
        for package in &self.configured {
            let bytes = self.room.needed(package);
            if self.room.holds(bytes) && leaving(&taken, bytes, self.room.memory()) == 0 {
                first.push(package.clone());
                taken.push(bytes);
            }
        }
        first
    }

    /// True where a package's model is ready.
    pub fn holds(&self, package: &Path) -> bool {
        self.all.iter().any(|resident| resident.package == package)
    }

    /// Takes a package's model out.
    pub fn take(&mut self, package: &Path) -> Option<T> {
        let at = self.all.iter().position(|resident| resident.package == package)?;
        Some(self.all.remove(at).held)
    }

    /// Lets go of as many others as must leave for a package, and names them.
    pub fn make_room(&mut self, package: &Path) -> Vec<PathBuf> {
        // Earlier models are rarely run: one at a time is kept beside those of the configuration.
        let (mut left, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.all)
            .into_iter()
            .partition(|resident| !self.configured.contains(&resident.package));
        self.all = kept;
        let held: Vec<u64> = self.all.iter().map(|resident| resident.bytes).collect();
        let leaving = leaving(&held, self.room.needed(package), self.room.memory());
        left.extend(self.all.drain(..leaving));
        left.into_iter().map(|resident| resident.package).collect()
    }

    /// Lets go of all but a package; false where there were no others.
    pub fn leave_alone(&mut self, package: &Path) -> bool {
        let before = self.all.len();
        self.all.retain(|resident| resident.package == package);
        self.all.len() < before
    }

    /// Puts a package's model in as the one used last.
    pub fn put(&mut self, package: &Path, held: T) -> Option<&mut T> {
        self.all.push(Resident { package: package.to_owned(), bytes: self.room.needed(package), held });
        self.all.last_mut().map(|resident| &mut resident.held)
    }
}

/// How many of the models that are held, least recently used first, leave so that there is room for another. All numbers
/// are bytes; with a memory of 0 none leaves.
fn leaving(held: &[u64], needed: u64, memory: u64) -> usize {
    let mut left = held.iter().fold(needed, |sum, bytes| sum.saturating_add(*bytes));
    let leaves = |bytes: &&u64| {
        let is_over = memory > 0 && left > memory;
        left = left.saturating_sub(**bytes);
        is_over
    };
    held.iter().take_while(leaves).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_make_room_and_no_more_than_needed() {
        assert_eq!(leaving(&[3, 4, 5], 2, 14), 0);
        assert_eq!(leaving(&[3, 4, 5], 3, 14), 1);
        assert_eq!(leaving(&[3, 4, 5], 6, 14), 2);
        assert_eq!(leaving(&[3, 4, 5], 14, 14), 3);
        assert_eq!(leaving(&[3, 4, 5], 99, 14), 3, "what does not fit at all stands alone");
        assert_eq!(leaving(&[3, 4, 5], 99, 0), 0, "without a limit none leaves");
        assert_eq!(leaving(&[], 99, 14), 0);
    }

    /// A site of two pipelines with a model each, which take 11 MiB each, on a device of so many.
    fn residents(memory_mib: u32) -> (Residents<()>, [PathBuf; 3]) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        // One package under three names.
        let [first, second, earlier] =
            ["", "../tests/", "../tests/../tests/"].map(|way| folder.join(way).join("blob-filter"));
        let text = format!(
            "[[pipeline]]\nname = \"a\"\nwhen = \"true\"\nmodel = {first:?}\n\
             [[pipeline]]\nname = \"b\"\nwhen = \"true\"\nmodel = {second:?}\n\
             [[device]]\nname = \"cpu\"\nprovider = \"cpu\"\nmemory_mib = {memory_mib}\n"
        );
        let site = Site::parse(&text, Path::new("/site.toml")).unwrap();
        (Residents::new(&site, Room::of(&site.devices[0])), [first, second, earlier])
    }

    #[test]
    fn models_of_the_configuration_are_loaded_as_far_as_there_is_room_and_one_other_beside_them() {
        let (narrow, [first, second, _]) = residents(15);
        assert_eq!(narrow.first(), std::slice::from_ref(&first));
        let (mut wide, [_, _, earlier]) = residents(40);
        assert_eq!(wide.first(), [first.clone(), second.clone()]);
        for package in [&first, &second, &earlier] {
            assert_eq!(wide.make_room(package), Vec::<PathBuf>::new());
            wide.put(package, ());
        }
        let another = earlier.join("../../tests/blob-filter");
        assert_eq!(wide.make_room(&another), std::slice::from_ref(&earlier), "of earlier models one is kept");
        wide.put(&another, ());
        assert!(wide.holds(&first) && wide.holds(&another) && !wide.holds(&earlier));
        assert!(wide.leave_alone(&first) && !wide.leave_alone(&first));
        assert_eq!((wide.take(&first), wide.take(&first), residents(1).0.first().len()), (Some(()), None, 0));
    }
}
