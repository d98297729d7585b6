//! One study corrected in six ways at a running site. Prints what `docs/explanation/one-study-corrected.md` shows: the
//! events of each correction, and which objects it made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sulcus_engine::ledger::event::{Entry, Event};
use sulcus_operators::results::report::Report;
use sulcus_operators::rows::Role;
use sulcus_tests::places::root;
use sulcus_tests::scans::{reports, send, series_with_lesions, small_series_uid};
use sulcus_tests::serving::{Object, Serving, SiteSpec, count, settled};

const PATIENCE: Duration = Duration::from_secs(120);
/// PatientName as it was sent, and as it should be.
const NAME: &[u8] = b"Synthetic^Slices";
const CORRECTED: &[u8] = b"Corrected^Slices";

/// The site, and how far its story was told.
struct Story {
    serving: Serving,
    told: usize,
}

/// What a correction cost and made.
#[derive(Debug, Default, PartialEq, Eq)]
struct Made {
    runs: usize,
    revisions: usize,
    segmentations: usize,
    reports: usize,
    deliveries: usize,
}

impl Story {
    /// Waits until so many deliveries are settled in all and nothing is to do, then tells what happened.
    fn tell(&mut self, title: &str, deliveries: usize) -> Made {
        self.serving.wait_for(title, PATIENCE, |entries| settled(entries, deliveries)).unwrap();
        let entries = self.serving.entries();
        let new = &entries[self.told..];
        self.told = entries.len();
        let mut made = Made::default();
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in new {
            *names.entry(entry.event.name()).or_default() += 1;
            match &entry.event {
                Event::RunStarted { .. } => made.runs += 1,
                Event::RevisionIssued { .. } => made.revisions += 1,
                Event::ObjectEncoded { role: Role::Segmentation, .. } => made.segmentations += 1,
                Event::ObjectEncoded { role: Role::Report, .. } => made.reports += 1,
                Event::DeliverySettled { .. } => made.deliveries += 1,
                _ => {}
            }
        }
        let names: Vec<String> = names.iter().map(|(name, count)| format!("{count} {name}")).collect();
        println!("## {title}\n\n{}\n", names.join(", "));
        for entry in new {
            if let Some(line) = object(entry) {
                println!("- {line}");
            }
        }
        println!("\nreport: {}\n", self.newest().result);
        made
    }

    fn newest(&self) -> Report {
        reports(&self.serving.results()).pop().unwrap().1
    }

    fn restart(&mut self, change: impl FnOnce(String) -> String) {
        let rules = count(&self.serving.entries(), "RulesChanged");
        let text = fs::read_to_string(self.serving.config()).unwrap();
        self.serving.kill_all();
        fs::write(self.serving.config(), change(text)).unwrap();
        self.serving.start_again().unwrap();
        self.serving.wait_until_listening().unwrap();
        let recorded = |entries: &[Entry]| count(entries, "RulesChanged") > rules;
        self.serving.wait_for("no rules", PATIENCE, recorded).unwrap();
    }
}

/// What an event says of an object, with the first digits of its UID.
fn object(entry: &Entry) -> Option<String> {
    match &entry.event {
        Event::ObjectEncoded { key, role, uid, .. } => {
            Some(format!("{role:?} of revision {}: {}...", key.revision, uid.get(..13).unwrap_or(uid)))
        }
        Event::RunStarted { run_key, .. } => Some(format!("run {}", run_key.short())),
        _ => None,
    }
}

fn made(runs: usize, revisions: usize, segmentations: usize) -> Made {
    let deliveries = segmentations + revisions;
    Made { runs, revisions, segmentations, reports: revisions, deliveries }
}

/// The filter as a package of another version.
fn another_model(folder: &Path) -> PathBuf {
    let path = folder.join("filter-2");
    fs::create_dir(&path).unwrap();
    for entry in fs::read_dir(root().join("tests/blob-filter")).unwrap().flatten() {
        fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
    let manifest = path.join("manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, text.replace("version = \"1\"", "version = \"2\"")).unwrap();
    path
}

/// The same bytes but for a text of the same length.
fn with_text(objects: &[Object], from: &[u8], to: &[u8]) -> Vec<Object> {
    assert_eq!(from.len(), to.len());
    let mut objects = objects.to_vec();
    for object in &mut objects {
        let at = object.data_set.windows(from.len()).position(|window| window == from).unwrap();
        object.data_set[at..at + to.len()].copy_from_slice(to);
    }
    objects
}

#[test]
fn one_study_is_corrected_in_six_ways() {
    let work = tempfile::tempdir().unwrap();
    let spec = SiteSpec { idle_seconds: 2.0, seal_after_seconds: 1.0, ..SiteSpec::default() };
    let mut story = Story { serving: Serving::start(work.path(), spec).unwrap(), told: 0 };
    let slices = series_with_lesions(&work.path().join("in"), 51, &[[14, 20, 8], [18, 44, 12]]).unwrap();
    let (late, others) = slices.split_last().unwrap();
    let series = small_series_uid(51);

    send(story.serving.address(), others).unwrap();
    assert_eq!(story.tell("A scan arrives, its last slice does not", 2), made(1, 1, 1));
    assert_eq!(story.newest().lesions.len(), 2);

    send(story.serving.address(), std::slice::from_ref(late)).unwrap();
    assert_eq!(story.tell("1. The late slice", 4), made(1, 1, 1));

    let lesion = story.newest().lesions[0].tracking_uid.clone();
    let study = story.newest().study_instance_uid;
    let reject = ["verdict", "--study", &study, "--lesion", &lesion, "--reject", "--reader", "A. Reader"];
    let (said, done) = story.serving.command(&reject).unwrap();
    assert!(done, "{said}");
    assert_eq!(story.tell("2. A reader rejects a lesion", 6), made(0, 1, 1));
    assert_eq!((story.newest().lesions.len(), story.newest().lesions_rejected.len()), (1, 1));

    let withdraw = ["withdraw", "--series", &series, "--reason", "the name is wrong"];
    assert!(story.serving.command(&withdraw).unwrap().1);
    assert_eq!(story.tell("3. The name was wrong: the series is withdrawn", 7), made(0, 1, 0));
    send(story.serving.address(), &with_text(&slices, NAME, CORRECTED)).unwrap();
    assert_eq!(story.tell("and sent again under the right one", 9), made(0, 1, 1));
    assert_eq!(story.newest().lesions_rejected.len(), 1, "the verdict holds");

    let model = another_model(work.path());
    let first = root().join("tests/blob-filter");
    let named = |model: &Path| format!("model = \"{}\"", model.display());
    let (old, new) = (named(&first), format!("applies_to = \"all\"\n{}", named(&model)));
    story.restart(|text| text.replace(&old, &new));
    assert_eq!(story.tell("4. Another model, for all scans", 11), made(1, 1, 1));
    assert_eq!(story.newest().lesions_rejected.len(), 1, "the lesion is followed");
    story.restart(|text| text.replace(&named(&model), &named(&first)));
    assert_eq!(story.tell("and the earlier one again", 13), made(0, 1, 1));

    let archive = work.path().join("second");
    let destination = format!(
        "[[destination]]\nname = \"second\"\nkind = \"folder\"\npath = \"{}\"\noutputs = [\"segmentation\", \"report\"]\n[[device]]",
        archive.display()
    );
    story.restart(|text| {
        text.replace("destinations = [\"folder\"]", "destinations = [\"folder\", \"second\"]")
            .replace("[[device]]", &destination)
    });
    let added = story.tell("5. A destination is added", 15);
    assert_eq!(added, Made { deliveries: 2, ..Made::default() });
    assert_eq!(reports(&archive).len(), 1, "it gets the newest revision alone");

    let open = ["verdict", "--study", &study, "--lesion", &lesion, "--open", "--reader", "A. Reader"];
    assert!(story.serving.command(&open).unwrap().1);
    let opened = story.tell("6. The reader takes the verdict back", 19);
    assert_eq!(opened, Made { deliveries: 4, ..made(0, 1, 1) });
    assert_eq!((story.newest().lesions.len(), story.newest().lesions_rejected.len()), (2, 0));
    let (said, _) = story.serving.command(&["status", "--json"]).unwrap();
    assert!(said.contains("\"faults\": []"), "{said}");
}
