//! An hour of random outages in simulated time: what the graph asks for, what `due` lets pass and how long a failure
//! waits, with lanes as the engine has them. No process, no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use sulcus_config::{Destination, DicomDestination, FolderDestination, Retry, Seconds};
use sulcus_engine::{
    graph::DeliveryToDo,
    lanes::{deliver::back_off, due::due},
    ledger::event::{Event, Scope},
};
use sulcus_operators::{
    digest::Digest,
    rows::{LesionVerdict, Millis, Role},
};

use crate::{
    outcomes::outcome_of,
    site::{Site, Slice, rules, series_uid},
};

const HOUR: Millis = 3_600_000;
/// Jobs that a delivery lane holds: one that it works on, one that waits.
const HELD: usize = 2;
const STUDIES: u8 = 3;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as i64
    }
}

/// What is being sent.
struct Sending {
    job: DeliveryToDo,
    until: Millis,
    arrives: bool,
    answered: bool,
}

/// A failed attempt: its number, when it failed, when it may be tried again.
#[derive(Clone, Copy)]
struct Failed {
    attempt: u32,
    at: Millis,
    again: Millis,
}

/// One destination: when it is down, what its lane does, and what came there.
struct Place {
    destination: Destination,
    outages: Vec<(Millis, Millis)>,
    queue: VecDeque<DeliveryToDo>,
    sending: Option<Sending>,
    failed: BTreeMap<Digest, Vec<Failed>>,
    /// Study and revision of each object that came for the first time, in order.
    arrived: Vec<(String, u32)>,
    held: BTreeSet<Digest>,
    repeated: usize,
}

impl Place {
    fn new(destination: Destination, random: &mut Random) -> Place {
        let mut outages = Vec::new();
        let mut at = random.below(60_000);
        while at < HOUR {
            let until = at + 1_000 + random.below(600_000);
            outages.push((at, until));
            at = until + 1_000 + random.below(300_000);
        }
        let (queue, failed, arrived, held) = Default::default();
        Place { destination, outages, queue, sending: None, failed, arrived, held, repeated: 0 }
    }

    fn is_down(&self, at: Millis) -> bool {
        self.outages.iter().any(|(from, until)| (*from..*until).contains(&at))
    }

    fn jobs(&self) -> usize {
        self.queue.len() + usize::from(self.sending.is_some())
    }
}

struct Hour {
    site: Site,
    now: Millis,
    places: BTreeMap<String, Place>,
    in_flight: BTreeSet<(Digest, String)>,
    versions: [u8; STUDIES as usize],
    random: Random,
}

impl Hour {
    fn new(seed: u64) -> Hour {
        let mut random = Random(seed);
        let pacs = Destination::Dicom(DicomDestination {
            name: "pacs".into(),
            address: "127.0.0.1:4242".into(),
            ae_title: "PACS".into(),
            calling_ae_title: "SULCUS".into(),
            outputs: vec![Role::Segmentation],
            storage_commitment: false,
            commitment_seconds: Seconds(60.0),
            retry: Retry::default(),
        });
        let retry = Retry { first_seconds: Seconds(0.5), limit_seconds: Seconds(30.0), ..Retry::default() };
        let outputs = vec![Role::Segmentation, Role::Report];
        let (name, path) = ("folder".into(), "results".into());
        let folder = Destination::Folder(FolderDestination { name, path, outputs, retry });
        let places = [folder, pacs].map(|to| (to.name().to_owned(), Place::new(to, &mut random)));
        let (in_flight, versions) = Default::default();
        let mut rules = rules();
        rules.destinations.iter_mut().for_each(|to| to.attempts = Retry::default().attempts);
        let mut site = Site::new();
        site.event(Event::RulesChanged(rules));
        Hour { site, now: 0, places: places.into(), in_flight, versions, random }
    }

    /// A study comes, a slice of it is replaced, or a reader judges a lesion.
    fn happen(&mut self) {
        let study = self.random.below(i64::from(STUDIES)) as u8;
        let version = &mut self.versions[usize::from(study)];
        if *version == 0 {
            self.site.slices(study, 0, 1..=5, Some(5));
        } else if self.random.below(2) == 0 {
            self.site.withdraw(Scope::Instance(format!("{}.5", series_uid(study, 0))));
            self.site.slice(&Slice { expected: Some(5), version: *version, ..Slice::new(study, 0, 5) });
        } else {
            let verdict = [LesionVerdict::Accepted, LesionVerdict::Rejected, LesionVerdict::Open];
            let verdict = verdict[self.random.below(3) as usize].clone();
            self.site.judge(study, 1 + self.random.below(2) as u8, verdict, "reader");
        }
        *version += 1;
    }

    /// Runs, issues and encodes what is to do; what is to deliver is left.
    fn compute(&mut self) {
        loop {
            self.site.close();
            let before = self.site.seq();
            for run in self.site.runs() {
                let run_key = run.order.run_key;
                self.site.event(Event::RunStarted { run_key, attempt: run.attempt });
                self.site.event(Event::RunFinished(outcome_of(run_key, 2)));
            }
            self.site.issue();
            for object in self.site.objects() {
                self.site.encode(&object, crate::site::End::Done);
            }
            if self.site.seq() == before {
                return;
            }
        }
    }

    /// Offers what is due to the lanes and lets those that are free begin. Returns when a further delivery may be tried.
    fn dispatch(&mut self) -> Option<Millis> {
        let deliveries = self.site.deliveries();
        let longest = Retry::default().limit_seconds.duration().as_millis() as Millis;
        let (now_due, later) = due(&deliveries, self.now, longest, |_| 0);
        for row in now_due {
            let place = self.places.get_mut(&row.row.destination).unwrap();
            let key = (row.row.object, row.row.destination.clone());
            if place.jobs() < HELD && self.in_flight.insert(key) {
                place.queue.push_back(row.clone());
            }
        }
        for (destination, place) in &mut self.places {
            if place.sending.is_some() {
                continue;
            }
            let Some(job) = place.queue.pop_front() else { continue };
            let (object, attempt) = (job.row.object, job.attempt);
            let before = place.failed.get(&object).and_then(|failed| failed.last());
            assert_eq!(attempt, before.map_or(0, |failed| failed.attempt) + 1);
            assert!(before.is_none_or(|failed| failed.again <= self.now), "tried before its time");
            self.site.event(Event::DeliveryStarted { object, destination: destination.clone(), attempt });
            // Up: a moment. Down: slow until patience ends, or kept and not answered, or refused at once.
            let (takes, arrives, answered) = match (place.is_down(self.now), self.random.below(4)) {
                (false, _) => (50 + self.random.below(500), true, true),
                (true, 0) => (60_000, false, false),
                (true, 1) => (self.random.below(5_000), true, false),
                (true, _) => (self.random.below(20), false, false),
            };
            place.sending = Some(Sending { job, until: self.now + takes, arrives, answered });
        }
        self.site.close();
        later
    }

    /// Ends what the lanes are through with.
    fn finish(&mut self) {
        for (name, place) in &mut self.places {
            let Some(sending) = place.sending.take_if(|sending| sending.until <= self.now) else { continue };
            let Sending { job, arrives, answered, .. } = sending;
            let (object, destination, attempt) = (job.row.object, name.clone(), job.attempt);
            if arrives && place.held.insert(object) {
                place.arrived.push((job.row.study_uid.clone(), job.row.revision));
            } else if arrives {
                place.repeated += 1;
            }
            self.in_flight.remove(&(object, destination.clone()));
            self.site.event(if answered {
                Event::DeliverySettled { object, destination, receipt: "0000".into() }
            } else {
                let wait = back_off(&place.destination, object, attempt).as_millis() as Millis;
                let failed = Failed { attempt, at: self.now, again: self.now + wait };
                place.failed.entry(object).or_default().push(failed);
                let (reason, retry_at) = ("down".into(), failed.again);
                Event::DeliveryFailed { object, destination, attempt, reason, retry_at }
            });
        }
        self.site.close();
    }

    /// Goes through the hour, and then on until everything is delivered. Returns how often it woke.
    fn pass(&mut self) -> usize {
        let mut next_happens = 0;
        for wakes in 1.. {
            if self.now >= next_happens && self.now < HOUR {
                self.happen();
                self.compute();
                next_happens = self.now + 20_000 + self.random.below(400_000);
            }
            self.finish();
            let later = self.dispatch();
            let ends = self.places.values().filter_map(|place| place.sending.as_ref().map(|sending| sending.until));
            let happens = (next_happens < HOUR).then_some(next_happens);
            let Some(next) = ends.chain(later).chain(happens).min() else { return wakes };
            // A lane that is free takes up what it holds at its next turn; all else lies ahead.
            assert!(next > self.now || self.places.values().any(|place| place.sending.is_some()), "time stands still");
            self.now = next.max(self.now);
        }
        unreachable!("the hour ends")
    }
}

/// The pause that is documented for `retry`: the first, doubled with each attempt, up to the limit.
fn documented(retry: Retry, attempt: u32) -> f64 {
    (retry.first_seconds.0 * 2_f64.powi(attempt as i32 - 1)).min(retry.limit_seconds.0) * 1000.0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn after_an_hour_of_outages_everything_was_delivered_once_and_in_order(seed: u64) {
        let mut hour = Hour::new(seed);
        let wakes = hour.pass();
        prop_assert!(hour.site.deliveries().is_empty() && hour.in_flight.is_empty());
        prop_assert!(hour.site.faults_of("deliveries").is_empty(), "what was delivered is cured");
        let settled: Vec<(Digest, String)> = hour.site.log.iter().filter_map(|entry| match &entry.event {
            Event::DeliverySettled { object, destination, .. } => Some((*object, destination.clone())),
            _ => None,
        }).collect();
        let once: BTreeSet<_> = settled.iter().cloned().collect();
        prop_assert_eq!(once.len(), settled.len(), "what was settled is not sent again");
        let newest: BTreeMap<String, u32> = hour.site.log.iter().filter_map(|entry| match &entry.event {
            Event::RevisionIssued { key, .. } => Some((key.study_uid.clone(), key.revision)),
            _ => None,
        }).collect();
        let mut attempts = 0;
        for (name, place) in &hour.places {
            let retry = place.destination.retry();
            for (study, newest) in &newest {
                let came: Vec<u32> =
                    place.arrived.iter().filter(|(of, _)| of == study).map(|(_, revision)| *revision).collect();
                prop_assert!(came.is_sorted(), "{} got the revisions of {} as {:?}", name, study, came);
                prop_assert_eq!(came.last(), Some(newest), "{} has the newest", name);
            }
            for failed in place.failed.values() {
                attempts += failed.len();
                for Failed { attempt, at, again } in failed {
                    let (waited, pause) = ((again - at) as f64, documented(retry, *attempt));
                    prop_assert!(waited <= pause && waited >= 0.8 * pause - 1.0, "{waited} ms after {attempt} attempts");
                }
                // However long it is down: so many as the doubling gives, then one each limit.
                let span = (failed.last().map_or(0, |last| last.at) - failed[0].at) as f64 / 1000.0;
                let doublings = (retry.limit_seconds.0 / retry.first_seconds.0).log2();
                let most = doublings + span / (0.8 * retry.limit_seconds.0) + 3.0;
                prop_assert!(failed.len() as f64 <= most, "{} attempts in {span} s", failed.len());
            }
        }
        // Each wake has a cause: something happened, an attempt ended, or one may be made.
        let causes = hour.versions.iter().map(|version| usize::from(*version)).sum::<usize>() + 2 * (settled.len() + attempts);
        prop_assert!(wakes <= 2 * causes + 2, "{wakes} wakes for {causes} causes");
        prop_assert!(attempts > 0, "nothing ever failed");
        let again: usize = hour.places.values().map(|place| place.repeated).sum();
        println!("{} revisions, {} delivered, {attempts} attempts failed, {again} came again, {wakes} wakes", hour.site.issued().len(), settled.len());
    }
}
