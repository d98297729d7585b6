//! What a crash campaign is made of: a study that is another each time with the same voxels, how far a site is with
//! it, which of its processes die when, and what has to hold at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dicom_dictionary_std::tags;
use sulcus_engine::lanes::deliver::file_name;
use sulcus_engine::ledger::event::{Arrival, Entry, Event};
use sulcus_engine::ledger::read::Reader;
use sulcus_engine::receiver::{ledger_path, spool_path};
use sulcus_engine::spool::read::SpoolReader;
use sulcus_operators::digest::Digest;
use sulcus_operators::phantom::dicom::{Encoding, ScanSpec, Vendor, study};
use sulcus_operators::phantom::{Field, Phantom, PhantomSpec, Sequence};
use sulcus_operators::rows::{LesionRow, Role, RunOutcome};

use crate::orthanc::Orthanc;
use crate::peer::PeerError;
use crate::serving::{Object, Serving};
use crate::unsynced::Chance;

/// The phantom of the campaign: coarse, so that a run takes seconds.
///
/// # Errors
/// Where it cannot be drawn.
pub fn head() -> Result<Phantom, PeerError> {
    let spec = PhantomSpec {
        spacing_mm: [1.5; 3],
        size: [128, 104, 104],
        lesions: 4..=6,
        ..PhantomSpec::demo(Field::T3, Sequence::Mprage, 11)
    };
    Phantom::generate(&spec).map_err(|error| PeerError::failed(error.to_string()))
}

/// A scan of the phantom: the same voxels under UIDs of its own.
///
/// # Errors
/// Where it cannot be written.
pub fn scan(phantom: &Phantom, label: &str) -> Result<Vec<Object>, PeerError> {
    let scan =
        ScanSpec { vendor: Vendor::Siemens, encoding: Encoding::Classic, localizer: false, label: label.to_owned() };
    let series = study(phantom, &scan).map_err(|error| PeerError::failed(error.to_string()))?;
    let instances = series.into_iter().flat_map(|series| series.instances);
    Ok(instances
        .map(|instance| Object {
            sop_class_uid: instance.sop_class_uid,
            sop_instance_uid: instance.sop_instance_uid,
            transfer_syntax: instance.transfer_syntax,
            data_set: instance.data_set,
        })
        .collect())
}

/// How far a site is with its study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Slices come in.
    Receiving,
    /// All slices are there; no run has begun.
    Settling,
    /// A run has begun.
    Inferring,
    /// The run is finished; its revision or an object of it is missing.
    Encoding,
    /// An object has not reached a destination.
    Delivering,
    /// Nothing is left to do.
    Resting,
}

/// Destinations of each role.
const ROUTES: [(Role, &str); 8] = [
    (Role::Segmentation, "folder"),
    (Role::StructuredReport, "folder"),
    (Role::KeyImages, "folder"),
    (Role::Report, "folder"),
    (Role::Page, "folder"),
    (Role::Segmentation, "archive"),
    (Role::StructuredReport, "archive"),
    (Role::EncapsulatedReport, "archive"),
];

/// What a destination takes in the campaign.
pub fn outputs(destination: &str) -> Vec<Role> {
    ROUTES.into_iter().filter(|(_, to)| *to == destination).map(|(role, _)| role).collect()
}

/// The ledger, read for the campaign.
#[derive(Debug, Default)]
pub struct Story {
    /// UIDs of the instances that are new, with how many events say so.
    pub received: BTreeMap<String, usize>,
    /// Instances that came again.
    pub repeated: usize,
    /// What the last run that finished gave.
    pub outcome: Option<RunOutcome>,
    /// Attempts of the last run that began, and whether it finished.
    pub attempts: BTreeSet<u32>,
    finished: bool,
    newest: u32,
    /// ObjectKey to revision, role, UID and bytes.
    objects: BTreeMap<Digest, (u32, Role, String, Digest)>,
    started: BTreeSet<(Digest, String)>,
    settled: BTreeSet<(Digest, String)>,
    /// Objects that two events describe differently.
    contradictions: Vec<String>,
}

impl Story {
    /// Reads it from the events so far.
    pub fn of(entries: &[Entry]) -> Story {
        let mut story = Story::default();
        let mut run = Digest::default();
        for entry in entries {
            match &entry.event {
                Event::InstanceReceived { facts, arrival: Arrival::New, .. } => {
                    *story.received.entry(facts.sop_instance_uid.clone()).or_default() += 1;
                }
                Event::InstanceReceived { .. } => story.repeated += 1,
                Event::RunStarted { run_key, attempt } => {
                    if *run_key != run {
                        (run, story.finished) = (*run_key, false);
                        story.attempts.clear();
                    }
                    story.attempts.insert(*attempt);
                }
                Event::RunFinished(outcome) => {
                    story.finished |= outcome.run_key == run;
                    story.outcome = Some(outcome.clone());
                }
                Event::RevisionIssued { key, .. } => story.newest = story.newest.max(key.revision),
                Event::ObjectEncoded { object, key, role, uid, bytes, .. } => {
                    let said = (key.revision, *role, uid.clone(), *bytes);
                    let before = story.objects.insert(*object, said.clone());
                    if before.is_some_and(|before| before != said) {
                        story.contradictions.push(format!("object {uid} was encoded twice, and differently"));
                    }
                }
                Event::DeliveryStarted { object, destination, .. } => {
                    story.started.insert((*object, destination.clone()));
                }
                Event::DeliverySettled { object, destination, .. } => {
                    story.settled.insert((*object, destination.clone()));
                }
                _ => {}
            }
        }
        story
    }

    /// How far the site is with a study of so many objects.
    pub fn phase(&self, objects: usize) -> Phase {
        let newest = |role: Role| {
            self.objects
                .iter()
                .find(|(_, (revision, of, ..))| (*revision, *of) == (self.newest, role))
                .map(|(key, _)| key)
        };
        let settled = |(role, to): (Role, &str)| {
            newest(role).is_some_and(|object| self.settled.contains(&(*object, to.to_owned())))
        };
        if self.received.len() < objects {
            Phase::Receiving
        } else if self.attempts.is_empty() {
            Phase::Settling
        } else if !self.finished {
            Phase::Inferring
        } else if ROUTES.iter().any(|(role, _)| newest(*role).is_none()) {
            Phase::Encoding
        } else if !ROUTES.into_iter().all(settled) {
            Phase::Delivering
        } else {
            Phase::Resting
        }
    }

    /// What a destination should hold, by UID: revision, role, bytes, and whether it must (or, superseded while on
    /// its way, only may) be there.
    fn destined(&self, destination: &str) -> BTreeMap<String, (u32, Role, Digest, bool)> {
        let begun = self.started.iter().filter(|(_, to)| to == destination);
        begun
            .filter_map(|key| {
                let (revision, role, uid, bytes) = self.objects.get(&key.0)?;
                let must = self.settled.contains(key) || *revision == self.newest;
                Some((uid.clone(), (*revision, *role, *bytes, must)))
            })
            .collect()
    }
}

/// The result of an undisturbed run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The label map.
    pub mask: Digest,
    lesions: Vec<LesionRow>,
    pixels: Vec<u8>,
}

impl Outcome {
    /// The newest result of a site.
    ///
    /// # Errors
    /// Where there is none.
    pub fn newest(serving: &Serving, story: &Story) -> Result<Outcome, PeerError> {
        let outcome = story.outcome.as_ref().ok_or_else(|| PeerError::failed("no run has finished"))?;
        let file = files(&serving.results())?
            .into_iter()
            .find(|path| path.ends_with(format!("revision-{}/segmentation.dcm", story.newest)))
            .ok_or_else(|| PeerError::failed("the newest revision has no segmentation"))?;
        // A lesion's identity follows from its run's, and that from the study's UIDs.
        let lesion = |row: &LesionRow| LesionRow { tracking_uid: String::new(), ..row.clone() };
        Ok(Outcome {
            mask: outcome.mask,
            lesions: outcome.lesions.iter().map(lesion).collect(),
            pixels: pixels(&fs::read(file)?)?,
        })
    }

    /// How many lesions it has.
    pub fn lesions(&self) -> usize {
        self.lesions.len()
    }
}

fn pixels(file: &[u8]) -> Result<Vec<u8>, PeerError> {
    let failed = |error: &dyn std::fmt::Display| PeerError::failed(format!("a segmentation cannot be read: {error}"));
    let object = dicom_object::from_reader(Cursor::new(file)).map_err(|error| failed(&error))?;
    let pixels = object.element(tags::PIXEL_DATA).map_err(|error| failed(&error))?;
    Ok(pixels.to_bytes().map_err(|error| failed(&error))?.into_owned())
}

/// All files below a folder; none where it is missing.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
        }
    }
    Ok(found)
}

/// Everything that is wrong at the end of a run. `before` are the instances that Orthanc held before it.
///
/// # Errors
/// Where it cannot be looked at.
pub fn faults(
    serving: &Serving,
    sent: &[Object],
    acknowledged: &[String],
    expected: &Outcome,
    (orthanc, before): (&Orthanc, &BTreeSet<String>),
) -> Result<Vec<String>, PeerError> {
    let story = Story::of(&serving.entries());
    let mut wrong = story.contradictions.clone();
    if acknowledged.len() != sent.len() {
        wrong.push(format!("{} of {} instances were acknowledged", acknowledged.len(), sent.len()));
    }
    kept(serving, sent, acknowledged, &story, &mut wrong)?;
    if Outcome::newest(serving, &story)? != *expected {
        wrong.push("the newest result is not that of an undisturbed run".to_owned());
    }
    in_folder(serving, &story, &mut wrong)?;

    let mut destined = story.destined("archive");
    for id in orthanc.instances()?.into_iter().filter(|id| !before.contains(id)) {
        let uid = orthanc.value(&id, "SOPInstanceUID")?.as_str().unwrap_or_default().to_owned();
        // What it holds twice, or never was ours, is not destined for it (any more).
        match destined.remove(&uid) {
            None => wrong.push(format!("Orthanc holds {uid}, which was not delivered")),
            Some((revision, Role::Segmentation, ..))
                if revision == story.newest && pixels(&orthanc.file(&id)?)? != expected.pixels =>
            {
                wrong.push(format!("the newest segmentation {uid} in Orthanc has other pixels"));
            }
            Some(_) => {}
        }
    }
    let absent = destined.into_iter().filter(|(_, (.., must))| *must);
    wrong.extend(absent.map(|(uid, _)| format!("Orthanc does not hold {uid}")));
    Ok(wrong)
}

/// Every acknowledged instance stands in the ledger once, as new, and its bytes are those that were sent.
fn kept(
    serving: &Serving,
    sent: &[Object],
    acknowledged: &[String],
    story: &Story,
    wrong: &mut Vec<String>,
) -> Result<(), PeerError> {
    let failed = |error: &dyn std::fmt::Display| PeerError::failed(format!("the ledger cannot be read: {error}"));
    let reader = Reader::open(&ledger_path(&serving.data())).map_err(|error| failed(&error))?;
    let spool = spool_path(&serving.data());
    let report = reader.verify(&spool).map_err(|error| failed(&error))?;
    wrong.extend(report.faults.into_iter().map(|fault| format!("{}: {}", fault.key, fault.reason)));
    let mut spool = SpoolReader::new(&spool);
    let sent: BTreeMap<&str, &Object> = sent.iter().map(|object| (object.sop_instance_uid.as_str(), object)).collect();
    for uid in acknowledged {
        let times = story.received.get(uid).copied().unwrap_or(0);
        if times != 1 {
            wrong.push(format!("{uid} was acknowledged and is new in {times} events"));
        }
        let held = reader.held(uid).map_err(|error| failed(&error))?;
        let bytes = held.and_then(|held| spool.data_set(&held.place).ok()).map(|(_, bytes)| bytes);
        if bytes.as_ref() != sent.get(uid.as_str()).map(|object| &object.data_set) {
            wrong.push(format!("{uid} was acknowledged, and its bytes are not in the spool"));
        }
    }
    Ok(())
}

/// The folder holds what was delivered to it, and nothing else: no second copy, no half file.
fn in_folder(serving: &Serving, story: &Story, wrong: &mut Vec<String>) -> Result<(), PeerError> {
    let mut destined: BTreeMap<String, (Digest, bool)> = BTreeMap::new();
    for (revision, role, bytes, must) in story.destined("folder").into_values() {
        let name = file_name(role);
        if destined.insert(format!("revision-{revision}/{name}"), (bytes, must)).is_some() {
            wrong.push(format!("revision {revision} has two of {name}"));
        }
    }
    for path in files(&serving.results())? {
        let end: PathBuf = path.components().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
        match destined.remove(&end.display().to_string()) {
            Some((bytes, _)) if Digest::of(&fs::read(&path)?) == bytes => {}
            Some(_) => wrong.push(format!("{} has other bytes than were encoded", path.display())),
            None => wrong.push(format!("{} was not delivered", path.display())),
        }
    }
    let absent = destined.into_iter().filter(|(_, (_, must))| *must);
    wrong.extend(absent.map(|(name, _)| format!("the folder does not hold {name}")));
    Ok(())
}

/// A moment to strike at: a phase, and how long after it was first seen.
pub fn moment(chance: &mut Chance) -> (Phase, Duration) {
    // Longest delays about as the phases take, undisturbed, on a small machine.
    let (phase, millis) = match chance.below(9) {
        0..3 => (Phase::Receiving, 500),
        3..5 => (Phase::Inferring, 1500),
        5..7 => (Phase::Encoding, 70),
        _ => (Phase::Delivering, 40),
    };
    (phase, Duration::from_millis(chance.below(millis)))
}
