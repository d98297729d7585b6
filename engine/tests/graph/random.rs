//! Random logs: after every epoch the graph holds what the oracle makes of the log, and the same log gives the same
//! at several workers. `PROPTEST_CASES` sets how many.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sulcus_engine::{
    graph::{Output, Sink, build, drain, oracle},
    ledger::event::{Because, Directive, Entry, Event, Scope, StepState, TimerKind},
};
use sulcus_operators::rows::LesionVerdict;

use crate::{
    site::{End, Site, series_uid, study_uid},
    variants::{slice, variant},
};

/// What may happen next; numbers choose among what is there.
#[derive(Clone, Debug)]
pub enum Step {
    Slice {
        study: u8,
        series: u8,
        number: i64,
        version: u8,
        patient: u8,
    },
    Quarantine(u8),
    /// Study, series, how much of it, and why.
    Withdraw(u8, u8, u8, Option<Because>),
    Release(u8, u8, bool),
    Fire(usize),
    /// Which variant of the rules, and what it applies to.
    Rules(u8, u8),
    Run(usize, End),
    /// Which attempt of all that ever began is said to have been cancelled.
    Cancel(usize),
    Issue,
    Encode(usize, End),
    Deliver(usize, End),
    /// Which object of all that were ever encoded, and where to.
    Resend(usize, bool),
    /// Study, lesion, verdict, reader.
    Verdict(u8, u8, u8, u8),
    /// Study, series, what an operator says.
    Direct(u8, u8, u8),
    Close,
    /// A whole series at once, so that much comes as far as a delivery.
    Series(u8, u8),
    /// All series of a study from this one on that promise a count, or are whole in themselves.
    Study(u8, u8),
    /// All deliveries that are to do.
    DeliverAll,
    /// All runs, revisions and objects that are to do.
    Advance,
    /// Seals what is at rest; some of the seals saw less than there was.
    Seal(bool),
    /// What stands of a study is listed; with an instance that is not here, where there is one.
    List(u8, Option<i64>),
    /// What a scanner made of a series: study, step, state, series, how many instances.
    Made(u8, u8, u8, u8, i64),
    /// How many instances of a series an archive holds.
    Count(u8, u8, u32),
    /// Which patient is merged into which; into nobody where both are one.
    Merge(u8, u8),
    /// The engine starts anew.
    Restart,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![6 => Just(End::Done), 2 => Just(End::Failed), 1 => Just(End::Permanent), 2 => Just(End::Died), 2 => Just(End::Cancelled)]
}

fn because() -> impl Strategy<Value = Option<Because>> {
    prop_oneof![2 => Just(None), 1 => Just(Some(Because::Quality)), 2 => Just(Some(Because::WrongPatient))]
}

pub fn step() -> impl Strategy<Value = Step> {
    let version = prop_oneof![9 => Just(0u8), 1 => Just(1)];
    let patient = prop_oneof![15 => Just(0u8), 1 => Just(1)];
    prop_oneof![
        30 => (0..2u8, 0..6u8, 1..=5i64, version, patient)
            .prop_map(|(study, series, number, version, patient)| Step::Slice { study, series, number, version, patient }),
        1 => (0..3u8).prop_map(Step::Quarantine),
        4 => (0..2u8, 0..6u8, 0..8u8, because())
            .prop_map(|(study, series, what, because)| Step::Withdraw(study, series, what, because)),
        6 => (0..2u8, 0..6u8, any::<bool>()).prop_map(|(study, series, orderly)| Step::Release(study, series, orderly)),
        14 => (0..32usize).prop_map(Step::Fire),
        4 => (0..17u8, 0..4u8).prop_map(|(of, applies_to)| Step::Rules(of, applies_to)),
        8 => (0..8usize, end()).prop_map(|(which, end)| Step::Run(which, end)),
        2 => (0..32usize).prop_map(Step::Cancel),
        6 => Just(Step::Issue),
        8 => (0..8usize, end()).prop_map(|(which, end)| Step::Encode(which, end)),
        8 => (0..8usize, end()).prop_map(|(which, end)| Step::Deliver(which, end)),
        2 => (0..32usize, any::<bool>()).prop_map(|(which, folder)| Step::Resend(which, folder)),
        8 => (0..3u8, 1..=3u8, 0..6u8, 0..2u8)
            .prop_map(|(study, lesion, verdict, reader)| Step::Verdict(study, lesion, verdict, reader)),
        6 => (0..2u8, 0..6u8, 0..4u8).prop_map(|(study, series, what)| Step::Direct(study, series, what)),
        30 => Just(Step::Close),
        4 => (0..2u8, 0..6u8).prop_map(|(study, series)| Step::Series(study, series)),
        6 => Just(Step::Advance),
        8 => prop::bool::weighted(0.2).prop_map(Step::Seal),
        3 => (0..3u8, 0..3u8).prop_map(|(from, into)| Step::Merge(from, into)),
        3 => (0..2u8, prop::option::weighted(0.3, 1..=5i64)).prop_map(|(study, absent)| Step::List(study, absent)),
        3 => (0..2u8, 0..2u8, 0..3u8, 0..6u8, 0..=5i64)
            .prop_map(|(study, step, state, series, count)| Step::Made(study, step, state, series, count)),
        2 => (0..2u8, 0..6u8, 0..=5u32).prop_map(|(study, series, count)| Step::Count(study, series, count)),
        2 => Just(Step::Restart),
    ]
}

fn nth<T: Clone>(rows: &[T], which: usize) -> Option<T> {
    rows.get(which % rows.len().max(1)).cloned()
}

fn play(site: &mut Site, step: Step) {
    match step {
        Step::Slice { study, series, number, version, patient } => {
            site.slice(&slice(study, series, number, version, patient));
        }
        Step::Quarantine(what) => site.quarantine(&format!("{}.{what}", series_uid(0, 0))),
        Step::Withdraw(study, series, what, because) => {
            let scope = match what {
                0 => Scope::Study(study_uid(study)),
                1..=2 => Scope::Series(series_uid(study, series)),
                number => Scope::Instance(format!("{}.{}", series_uid(study, series), number - 2)),
            };
            site.withdraw_because(scope, because);
        }
        Step::Release(study, series, orderly) => {
            site.release(vec![series_uid(study, series), series_uid(study, (series + 1) % 6)], orderly);
        }
        Step::Fire(which) => {
            if let Some(timer) = nth(&site.timers(), which) {
                site.event(Event::TimerFired(timer));
            }
        }
        Step::Rules(of, applies_to) => {
            site.close();
            let rules = variant(of, applies_to);
            let reopened = site.open.review(&site.log, &rules);
            site.event(Event::RulesChanged(rules));
            reopened.into_iter().for_each(|event| site.event(event));
        }
        Step::Run(which, end) => {
            if let Some(run) = nth(&site.runs(), which) {
                site.run(&run, end);
            }
        }
        Step::Cancel(which) => {
            let begun = site.log.iter().filter_map(|entry| match &entry.event {
                Event::RunStarted { run_key, attempt } => Some((*run_key, *attempt)),
                _ => None,
            });
            if let Some((run_key, attempt)) = nth(&begun.collect::<Vec<_>>(), which) {
                site.event(Event::RunCancelled { run_key, attempt });
            }
        }
        Step::Issue => site.issue(),
        Step::Encode(which, end) => {
            if let Some(object) = nth(&site.objects(), which) {
                site.encode(&object, end);
            }
        }
        Step::Deliver(which, end) => {
            if let Some(delivery) = nth(&site.deliveries(), which) {
                site.deliver(&delivery, end);
            }
        }
        Step::Resend(which, folder) => {
            let encoded = site.log.iter().filter_map(|entry| match &entry.event {
                Event::ObjectEncoded { object, .. } => Some(*object),
                _ => None,
            });
            if let Some(object) = nth(&encoded.collect::<Vec<_>>(), which) {
                site.event(Event::ResendAsked { object, destination: if folder { "folder" } else { "pacs" }.into() });
            }
        }
        Step::Verdict(study, lesion, verdict, reader) => {
            let verdict = match verdict {
                0 => LesionVerdict::Accepted,
                1..=2 => LesionVerdict::Rejected,
                3 => LesionVerdict::Relabelled("vessel".into()),
                _ => LesionVerdict::Open,
            };
            site.judge(study, lesion, verdict, ["A. Reader", "B. Reader"][usize::from(reader)]);
        }
        Step::Direct(study, series, what) => {
            let as_of = site.last_member(&series_uid(study, series));
            site.direct(
                study,
                series,
                match what {
                    0 => Directive::Close { as_of },
                    1 => Directive::Close { as_of: as_of + 1 },
                    2 => Directive::Hold,
                    _ => Directive::Release,
                },
            );
        }
        Step::Close => {
            site.close();
        }
        Step::Series(study, series) => {
            let last = if series == 2 { 3 } else { 4 };
            (1..=last).for_each(|number| site.slice(&slice(study, series, number, 0, 0)));
        }
        Step::Study(study, from) => {
            (from..4).for_each(|series| play(site, Step::Series(study, series)));
            site.close();
            let idle: Vec<_> = site.timers().into_iter().filter(|timer| timer.kind == TimerKind::Idle).collect();
            idle.into_iter().for_each(|timer| site.event(Event::TimerFired(timer)));
        }
        Step::DeliverAll => {
            site.close();
            site.deliveries().iter().for_each(|delivery| site.deliver(delivery, End::Done));
        }
        Step::Seal(late) => {
            site.close();
            for mut seal in site.open.seals() {
                if let (true, Event::StudySealed { as_of, .. }) = (late, &mut seal) {
                    *as_of -= 1;
                }
                site.event(seal);
            }
            site.close();
        }
        Step::List(study, absent) => {
            let absent = absent.map(|number| format!("{}.{number}", series_uid(study, 4)));
            site.list(study, &absent.into_iter().collect::<Vec<_>>());
        }
        Step::Made(study, step, state, series, count) => {
            let state = [StepState::InProgress, StepState::Completed, StepState::Discontinued][usize::from(state)];
            site.made(study, step, state, &[(series, 1..=count)]);
        }
        Step::Count(study, series, instances) => site.counted(study, series, instances),
        Step::Merge(from, into) => site.merge(from, (into != from).then_some(into)),
        Step::Restart => {
            site.close();
            site.open.restart(&site.log, &site.now);
        }
        Step::Advance => {
            site.close();
            site.runs().iter().for_each(|run| site.run(run, End::Done));
            site.close();
            site.issue();
            site.close();
            site.objects().iter().for_each(|object| site.encode(object, End::Done));
            site.close();
        }
    }
}

pub fn written(steps: Vec<Step>) -> Site {
    let mut site = Site::that_compares();
    steps.into_iter().for_each(|step| play(&mut site, step));
    site.close();
    site
}

/// What may happen where rules read several series from the start: more of what makes and breaks their reports.
pub fn step_of_several() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => step(),
        4 => (0..2u8, 0..4u8).prop_map(|(study, from)| Step::Study(study, from)),
        2 => (0..2u8, 0..5u8).prop_map(|(study, series)| Step::Series(study, series)),
        3 => (0..32usize).prop_map(Step::Fire),
        1 => (0..2u8, 0..5u8, because())
            .prop_map(|(study, series, because)| Step::Withdraw(study, series, 1, because)),
        1 => (0..17u8, 0..4u8).prop_map(|(of, applies_to)| Step::Rules(of, applies_to)),
        3 => Just(Step::Close),
        6 => Just(Step::Advance),
        3 => Just(Step::DeliverAll),
        2 => Just(Step::Seal(false)),
    ]
}

/// Plays a log at several workers, the first of which feeds it, and gives the rows after the last epoch.
fn at_workers(workers: usize, log: Vec<Entry>) -> BTreeMap<Output, isize> {
    let sink = Sink::default();
    let into = Sink::clone(&sink);
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let into = Sink::clone(&into);
        let (mut inputs, probe) = worker.dataflow(|scope| build(scope, into));
        for (index, epoch) in log.chunk_by(|a, b| a.epoch == b.epoch).enumerate() {
            // Those that do not feed only keep pace.
            if worker.index() == 0 {
                epoch.iter().for_each(|entry| inputs.apply(entry));
            }
            let next = index as u64 + 1;
            inputs.advance_to(next);
            worker.step_or_park_while(None, || probe.less_than(&next));
        }
    });
    guards.unwrap().join().into_iter().for_each(Result::unwrap);
    drain(&sink).into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(cases(300)) })]

    #[test]
    fn the_graph_equals_the_oracle_after_every_epoch(steps in prop::collection::vec(step(), 1..120)) {
        written(steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(cases(300)) })]

    #[test]
    fn pipelines_of_several_series_equal_the_oracle_after_every_epoch(
        of in 11..17u8,
        steps in prop::collection::vec(step_of_several(), 1..80),
    ) {
        written([vec![Step::Rules(of, 3)], steps].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(cases(100)) })]

    #[test]
    fn several_workers_give_the_same(
        of in 10..17u8,
        steps in prop::collection::vec(prop_oneof![step(), step_of_several()], 1..40),
    ) {
        let site = written([vec![Step::Rules(of, 3)], steps].concat());
        let wants: BTreeMap<Output, isize> =
            oracle::outputs(&site.log).into_iter().map(|output| (output, 1)).collect();
        for workers in [2, 4] {
            prop_assert_eq!(&at_workers(workers, site.log.clone()), &wants);
        }
    }
}

/// How many cases a property has: as the environment says.
pub fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
