//! The crash campaign: `kill -9` of any process at any moment, and power cuts that drop what was not synced.
//!
//! A sender keeps every slice until it is acknowledged, a killer strikes. At the end nothing acknowledged is lost, a
//! real Orthanc and a folder hold each output of each revision once, and the newest equals that of an undisturbed
//! run. An input that ends its process three times is given up by design, so at most the first attempt of a run and
//! the one behind it are struck.
//!
//! `SULCUS_CRASHES` says how many runs each test makes (default 10); `SULCUS_CRASH_SEED` repeats one alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sulcus_operators::phantom::Phantom;
use sulcus_tests::campaign::{Outcome, Phase, Story, faults, head, moment, outputs, scan};
use sulcus_tests::or_skip;
use sulcus_tests::orthanc::Orthanc;
use sulcus_tests::processes::kill;
use sulcus_tests::serving::{Serving, SiteSpec, send_until_acknowledged};
use sulcus_tests::unsynced::{Chance, Cut, Layer};

/// How long a run may take to its end after the last strike.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a power cut waits for a sync to strike at; where nothing is synced, it strikes then.
const SYNC_SOON: Duration = Duration::from_millis(100);

/// How a run is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strikes {
    None,
    Kills,
    Cuts,
}

/// What a campaign did.
#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    acknowledged: usize,
    repeated: usize,
    revisions: usize,
    kills: BTreeMap<(String, Phase), u32>,
    cut: Cut,
}

impl Tally {
    fn say(&self, failed: usize) -> String {
        let mut text = format!(
            "{} runs, {failed} failed; {} instances acknowledged, {} came again; {} segmentations in Orthanc\n",
            self.runs, self.acknowledged, self.repeated, self.revisions
        );
        for ((role, phase), times) in &self.kills {
            writeln!(text, "  kill -9 of {role} while {phase:?}: {times}").unwrap();
        }
        let Cut { lost, stayed, names } = self.cut;
        if lost + stayed + names > 0 {
            writeln!(text, "  unsynced changes dropped {lost}, kept {stayed}; names taken back {names}").unwrap();
        }
        text
    }

    fn kills_in(&self, phases: &[Phase]) -> u32 {
        self.kills.iter().filter(|((_, phase), _)| phases.contains(phase)).map(|(_, times)| times).sum()
    }
}

/// One run's surroundings.
struct Run<'a> {
    folder: &'a Path,
    orthanc: &'a Orthanc,
    phantom: &'a Phantom,
    label: String,
    chance: Chance,
    strikes: Strikes,
}

impl Run<'_> {
    /// Serves, sends, strikes, waits for the end. Gives the newest result and everything that is wrong.
    fn make(&mut self, expected: Option<&Outcome>, tally: &mut Tally) -> (Option<Outcome>, Vec<String>) {
        let objects = scan(self.phantom, &self.label).unwrap();
        let layer = (self.strikes == Strikes::Cuts).then(|| Layer::build(self.folder).unwrap());
        let environment = layer.as_ref().map(Layer::environment).into_iter().flatten();
        let spec = SiteSpec {
            idle_seconds: 4.0,
            seal_after_seconds: 0.2,
            archive: Some(self.orthanc.dicom_address()),
            folder_outputs: outputs("folder"),
            archive_outputs: outputs("archive"),
            environment: environment.map(|(name, value)| (name.to_owned(), value.display().to_string())).collect(),
            ..SiteSpec::default()
        };
        let before: BTreeSet<String> = self.orthanc.instances().unwrap().into_iter().collect();
        let mut serving = Serving::start(self.folder, spec).unwrap();
        let address = serving.address();
        let acknowledged = Mutex::new(Vec::new());
        let pace = Duration::from_millis(self.chance.below(10));
        let sent = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                send_until_acknowledged(address, &objects, pace, PATIENCE, |uid| {
                    acknowledged.lock().unwrap().push(uid.to_owned());
                })
            });
            self.strike(&mut serving, layer.as_ref(), objects.len(), tally);
            sender.join().unwrap()
        });
        let mut wrong: Vec<String> = sent.err().map(|error| format!("{error:?}")).into_iter().collect();
        let ended = serving.wait_for("the newest revision is not delivered", PATIENCE, |entries| {
            let story = Story::of(entries);
            let mask = story.outcome.as_ref().map(|outcome| outcome.mask);
            story.phase(objects.len()) == Phase::Resting && expected.is_none_or(|expected| mask == Some(expected.mask))
        });
        // What would come twice comes now.
        std::thread::sleep(Duration::from_millis(300));
        wrong.extend(ended.err().map(|error| format!("{error:?}")));
        let acknowledged = acknowledged.into_inner().unwrap();
        let story = Story::of(&serving.entries());
        let result = Outcome::newest(&serving, &story).map_err(|error| wrong.push(format!("{error:?}"))).ok();
        if let Some(expected) = expected.or(result.as_ref()) {
            match faults(&serving, &objects, &acknowledged, expected, (self.orthanc, &before)) {
                Ok(faults) => wrong.extend(faults),
                Err(error) => wrong.push(format!("{error:?}")),
            }
        }
        tally.runs += 1;
        tally.acknowledged += acknowledged.len();
        tally.repeated += story.repeated;
        tally.revisions += self.orthanc.instances().unwrap().iter().filter(|id| !before.contains(*id)).count();
        (result, wrong)
    }

    fn strike(&mut self, serving: &mut Serving, layer: Option<&Layer>, objects: usize, tally: &mut Tally) {
        let times = match self.strikes {
            Strikes::None => return,
            Strikes::Kills => 2 + self.chance.below(4),
            Strikes::Cuts => 1 + self.chance.below(3),
        };
        let mut moments: Vec<(Phase, Duration)> = (0..times).map(|_| moment(&mut self.chance)).collect();
        moments.sort();
        for (phase, delay) in moments {
            let begun = Instant::now();
            while Story::of(&serving.entries()).phase(objects) < phase && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(2));
            }
            std::thread::sleep(delay);
            let story = Story::of(&serving.entries());
            let phase = story.phase(objects);
            // One more attempt that is struck might be the last that is made.
            let gentle = phase <= Phase::Inferring && story.attempts.len() > 1;
            let role = match layer {
                _ if gentle => "receiver".to_owned(),
                Some(_) => "all".to_owned(),
                None => self.victim(serving, phase),
            };
            match (role.as_str(), layer) {
                ("all", _) => {
                    if let Some(layer) = layer {
                        layer.halt_at_sync(SYNC_SOON).unwrap();
                    }
                    serving.kill_all();
                    if let Some(layer) = layer {
                        let cut = layer.cut(&mut self.chance).unwrap();
                        tally.cut.lost += cut.lost;
                        tally.cut.stayed += cut.stayed;
                        tally.cut.names += cut.names;
                    }
                    serving.start_again().unwrap();
                }
                ("supervisor", _) => {
                    serving.kill_supervisor();
                    serving.start_again().unwrap();
                }
                (role, _) => {
                    let ids: Vec<u32> =
                        serving.roles().into_iter().filter(|other| other.name == role).map(|role| role.id).collect();
                    if ids.is_empty() {
                        continue;
                    }
                    kill(&ids);
                }
            }
            *tally.kills.entry((role, phase)).or_default() += 1;
        }
    }

    /// Which process dies: one that is there now, and more often than not one that is at work.
    fn victim(&mut self, serving: &Serving, phase: Phase) -> String {
        let mut roles = vec!["supervisor".to_owned(), "all".to_owned()];
        let alive: BTreeSet<String> = serving.roles().into_iter().map(|role| role.name).collect();
        let at_work = match phase {
            Phase::Receiving => "receiver",
            Phase::Settling | Phase::Delivering | Phase::Resting => "engine",
            Phase::Inferring => "infer",
            Phase::Encoding => "encode",
        };
        if alive.contains(at_work) {
            roles.extend([at_work.to_owned(), at_work.to_owned()]);
        }
        roles.extend(alive.iter().cloned());
        roles.extend(alive);
        roles.swap_remove(self.chance.below(roles.len() as u64) as usize)
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn campaign(name: &str, strikes: Strikes) -> Option<Tally> {
    let peer = tempfile::tempdir().unwrap();
    let orthanc = or_skip(Orthanc::start(peer.path()))?;
    let phantom = head().unwrap();
    let run = |folder: &Path, seed: u64, strikes, expected: Option<&Outcome>, tally: &mut Tally| {
        let label = format!("{name} {seed} {strikes:?}");
        let chance = Chance(seed);
        Run { folder, orthanc: &orthanc, phantom: &phantom, label, chance, strikes }.make(expected, tally)
    };
    let quiet = tempfile::tempdir().unwrap();
    let (expected, wrong) = run(quiet.path(), 0, Strikes::None, None, &mut Tally::default());
    assert_eq!(wrong, Vec::<String>::new(), "undisturbed");
    let expected = expected.unwrap();
    assert!(expected.lesions() > 0, "there is something to find");

    let seeds = match number("SULCUS_CRASH_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SULCUS_CRASHES").unwrap_or(10),
    };
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for seed in seeds {
        let folder = tempfile::tempdir().unwrap();
        let (begun, before) = (Instant::now(), tally.kills.clone());
        let (_, wrong) = run(folder.path(), seed, strikes, Some(&expected), &mut tally);
        let struck: Vec<_> = tally.kills.iter().filter(|(what, times)| before.get(*what) != Some(*times)).collect();
        println!("{name}, seed {seed}: {:.1} s, {struck:?}, wrong: {}", begun.elapsed().as_secs_f64(), wrong.len());
        if !wrong.is_empty() {
            let kept = folder.keep();
            failures.push(format!("SULCUS_CRASH_SEED={seed} ({}): {}", kept.display(), wrong.join("\n  ")));
        }
    }
    println!("{name}: {}", tally.say(failures.len()));
    assert!(failures.is_empty(), "{} of {} runs failed:\n{}", failures.len(), tally.runs, failures.join("\n"));
    Some(tally)
}

#[test]
fn no_kill_loses_what_was_acknowledged_or_delivers_it_twice() {
    let Some(tally) = campaign("killed", Strikes::Kills) else { return };
    if tally.runs >= 10 {
        for phases in [&[Phase::Receiving][..], &[Phase::Inferring], &[Phase::Encoding, Phase::Delivering]] {
            assert!(tally.kills_in(phases) > 0, "no kill struck while {phases:?}");
        }
    }
}

#[test]
fn no_power_cut_loses_what_was_acknowledged_or_delivers_it_twice() {
    let Some(tally) = campaign("cut", Strikes::Cuts) else { return };
    if tally.runs >= 10 {
        assert!(tally.cut.lost > 0, "the cuts had nothing to cut: {:?}", tally.cut);
    }
}
