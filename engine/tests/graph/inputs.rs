//! Pipelines whose model reads several series of a study: UNI with INV1 and INV2. Which series are read is in `which`.

mod which;

use sulcus_engine::{
    graph::choice::ALGORITHM_VERSION,
    ledger::event::{AloneRule, Event, InputRule, Rules, Scope, Timer, TimerKind},
    rehearsal::Rehearsal,
};
use sulcus_operators::{
    digest::Digest,
    rows::{ReportRow, ReportStatus},
};

use crate::site::{End, Site, Slice, is_withdrawn, rules, series_uid};

/// What each series is here, by its number.
const UNI: u8 = 0;
const INV1: u8 = 1;
const INV2: u8 = 2;
const AFTER: u64 = 600_000;

fn of_three() -> Rules {
    let mut rules = rules();
    let input = |name: &str, number: u8| InputRule { name: name.into(), when: format!("SeriesNumber == {number}.0") };
    rules.pipelines[0].when = format!("SeriesNumber == {UNI}.0");
    rules.pipelines[0].inputs = vec![input("INV1", INV1), input("INV2", INV2)];
    rules
}

fn or_alone() -> Rules {
    let mut rules = of_three();
    rules.pipelines[0].alone = Some(AloneRule {
        model: Digest::of(b"alone"),
        model_path: "models/alone".into(),
        model_name: ["alone".into(), "1".into()],
        after_millis: AFTER,
    });
    rules
}

fn serving(rules: Rules) -> Site {
    let mut site = Site::new();
    site.event(Event::RulesChanged(rules));
    site
}

/// A series of so many slices, all of which its header promises, acquired with the others.
fn series(study: u8, series: u8, slices: i64) -> Vec<Slice> {
    let slice = |number| Slice {
        expected: Some(slices as u32),
        acquisition: "20200101 120000".into(),
        ..Slice::new(study, series, number)
    };
    (1..=slices).map(slice).collect()
}

impl Site {
    fn send(&mut self, slices: Vec<Slice>) {
        slices.iter().for_each(|slice| self.slice(slice));
        self.close();
    }

    fn whole(&mut self, study: u8, of: &[u8]) {
        of.iter().for_each(|number| self.send(series(study, *number, 4)));
        self.work();
    }

    fn inputs_of_report(&self) -> Vec<String> {
        let run = self.only_report().run.unwrap();
        run.inputs.into_iter().map(|input| format!("{} {}", input.name, input.series_uid)).collect()
    }

    fn only_report(&self) -> ReportRow {
        let [report] = &self.reports()[..] else { panic!("{:?}", self.reports()) };
        report.clone()
    }

    fn awaited_words(&self) -> Vec<String> {
        self.awaited().into_iter().map(|row| row.reason).collect()
    }

    fn fire_inputs(&mut self, series: u8) {
        self.fire(&series_uid(0, series), TimerKind::Inputs { millis: AFTER });
        self.work();
    }
}

fn withdrawn_because(report: &ReportRow) -> String {
    match &report.status {
        ReportStatus::Withdrawn(reason) => reason.clone(),
        ReportStatus::Final => panic!("{report:?}"),
    }
}

#[test]
fn all_series_are_waited_for_and_one_report_is_made_of_them() {
    let mut site = serving(of_three());
    site.whole(0, &[UNI]);
    let none = "no series of the study is taken as it";
    assert_eq!(site.awaited_words(), [format!("INV1 is missing ({none}); INV2 is missing ({none})")]);
    site.whole(0, &[INV2]);
    assert_eq!(site.awaited_words(), [format!("INV1 is missing ({none})")]);
    assert!(site.runs().is_empty() && site.timers().is_empty() && site.reports().is_empty());
    site.whole(0, &[INV1]);
    assert_eq!(site.awaited_words(), Vec::<String>::new());
    assert_eq!(site.inputs_of_report(), ["INV1 1.2.0.1", "INV2 1.2.0.2"]);
    let report = site.only_report();
    assert_eq!(report.run.as_ref().unwrap().series_uid, series_uid(0, UNI));
    assert_eq!((report.not_used, report.without), (vec![], vec![]), "what is read is not told as unused");
    assert_eq!((site.runs_started(), site.issued().len()), (1, 1));
}

#[test]
fn nothing_is_decided_while_a_further_series_still_waits() {
    let mut site = serving(or_alone());
    site.whole(0, &[UNI, INV1]);
    site.send((1..=3).map(|number| Slice::new(0, INV2, number)).collect());
    assert!(site.runs().is_empty() && site.awaited().is_empty());
    assert!(site.timers().iter().all(|timer| timer.kind == TimerKind::Idle), "{:?}", site.timers());
    site.fire(&series_uid(0, INV2), TimerKind::Idle);
    site.work();
    let doubts = site.only_report().doubts;
    assert!(doubts[0].starts_with("INV2: The series may be incomplete: 3 instances came"), "{doubts:?}");
}

#[test]
fn a_late_slice_of_a_further_series_makes_the_next_revision() {
    let mut site = serving(of_three());
    site.whole(0, &[UNI, INV1]);
    (1..=3).for_each(|number| site.slice(&Slice::new(0, INV2, number)));
    site.close();
    site.fire(&series_uid(0, INV2), TimerKind::Idle);
    site.work();
    let first = site.only_report().run.unwrap();
    site.send(vec![Slice::new(0, INV2, 4)]);
    assert!(site.reports().is_empty() && site.revisions().is_empty(), "what was issued stands meanwhile");
    site.fire(&series_uid(0, INV2), TimerKind::Idle);
    site.work();
    let second = site.only_report().run.unwrap();
    assert_ne!(first.run_key, second.run_key);
    assert_eq!((first.inputs[1].members.len(), second.inputs[1].members.len()), (3, 4));
    assert_eq!((site.runs_started(), site.issued().len()), (2, 2));
}

#[test]
fn a_withdrawn_further_series_takes_the_report_back_and_sent_again_it_stands_again() {
    let mut site = serving(of_three());
    site.whole(0, &[UNI, INV1, INV2]);
    site.withdraw(Scope::Series(series_uid(0, INV1)));
    site.work();
    let why = withdrawn_because(&site.only_report());
    assert_eq!(why, "it is made of several series: INV1 is missing (no series of the study is taken as it)");
    assert_eq!(site.awaited().len(), 1);
    site.whole(0, &[INV1]);
    assert!(!is_withdrawn(&site.only_report()));
    assert_eq!((site.runs_started(), site.issued().len()), (1, 3), "and nothing is run again");
}

#[test]
fn after_the_stated_time_the_first_series_is_run_alone_and_all_when_they_come() {
    let mut site = serving(or_alone());
    site.whole(0, &[UNI, INV1]);
    assert!(site.runs().is_empty());
    assert!(site.awaited_words()[0].ends_with("; after 600 s 1.2.0.0 is run alone"), "{:?}", site.awaited_words());
    site.fire_inputs(UNI);
    let report = site.only_report();
    let run = report.run.unwrap();
    assert_eq!((run.model, run.inputs.len()), (Digest::of(b"alone"), 0));
    let [without] = &report.without[..] else { panic!("{:?}", report.without) };
    assert!(without.contains("INV2 is missing") && without.contains("600 s"), "{without}");
    assert_eq!(report.doubts, Vec::<String>::new(), "the series is whole");
    assert_eq!(report.not_used, [(series_uid(0, INV1), "not used as INV1 while others are missing".to_owned())]);
    assert!(site.awaited().is_empty() && site.timers().is_empty());

    site.whole(0, &[INV2]);
    let report = site.only_report();
    assert_eq!(report.run.unwrap().model, Digest::of(b"model"));
    assert_eq!(report.without, Vec::<String>::new());
    // What was waited for once is not waited for again.
    site.withdraw(Scope::Series(series_uid(0, INV2)));
    site.work();
    assert_eq!(site.only_report().run.unwrap().model, Digest::of(b"alone"));
    assert_eq!((site.runs_started(), site.issued().len()), (2, 3));
}

#[test]
fn a_further_series_that_goes_before_the_time_has_run_out_is_waited_for() {
    let mut site = serving(or_alone());
    site.whole(0, &[UNI, INV1, INV2]);
    site.withdraw(Scope::Series(series_uid(0, INV1)));
    site.work();
    assert!(site.reports().is_empty() && site.revisions().is_empty());
    assert_eq!(site.awaited().len(), 1);
    site.fire_inputs(UNI);
    assert_eq!(site.only_report().run.unwrap().model, Digest::of(b"alone"));
}

#[test]
fn a_late_slice_of_the_first_series_gives_the_others_no_more_time() {
    let mut site = serving(or_alone());
    (1..=3).for_each(|number| site.slice(&Slice::new(0, UNI, number)));
    site.close();
    site.fire(&series_uid(0, UNI), TimerKind::Idle);
    site.close();
    let wanted = site.timers();
    assert!(matches!(&wanted[..], [Timer { kind: TimerKind::Inputs { millis: AFTER }, as_of: 2, .. }]), "{wanted:?}");
    site.fire_inputs(UNI);
    site.send(vec![Slice::new(0, UNI, 4)]);
    site.fire(&series_uid(0, UNI), TimerKind::Idle);
    site.work();
    assert_eq!(site.only_report().run.unwrap().members.len(), 4);
    assert_eq!(site.issued().len(), 2);
}

#[test]
fn each_pipeline_waits_as_long_as_it_says() {
    let mut patient = or_alone();
    let second = patient.pipelines[0].clone();
    patient.pipelines.push(sulcus_engine::ledger::event::PipelineRule { name: "patient".into(), ..second.clone() });
    patient.pipelines.push(sulcus_engine::ledger::event::PipelineRule { name: "same".into(), ..second });
    patient.pipelines[1].alone.as_mut().unwrap().after_millis = 2 * AFTER;
    let mut site = serving(patient);
    site.whole(0, &[UNI]);
    assert_eq!((site.awaited().len(), site.timers().len()), (3, 2));
    site.fire_inputs(UNI);
    let reported: Vec<String> = site.reports().into_iter().map(|row| row.pipeline).collect();
    assert_eq!(reported, ["lesions", "same"]);
    site.fire(&series_uid(0, UNI), TimerKind::Inputs { millis: 2 * AFTER });
    site.work();
    assert_eq!((site.reports().len(), site.runs_started()), (3, 1));
}

#[test]
fn a_stalled_further_series_is_a_fault_and_counts_as_missing() {
    let mut site = serving(or_alone());
    site.whole(0, &[UNI, INV1]);
    let mut gap = series(0, INV2, 5);
    gap.remove(2);
    site.send(gap);
    site.fire(&series_uid(0, INV2), TimerKind::Idle);
    site.close();
    let faults = site.faults_of("matches");
    assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["1.2.0.2"]);
    assert!(site.awaited_words()[0].starts_with("INV2 is missing (1.2.0.2 cannot be:"), "{:?}", site.awaited_words());
    site.fire_inputs(UNI);
    let report = site.only_report();
    assert_eq!(report.run.unwrap().model, Digest::of(b"alone"));
    assert!(report.not_used.iter().any(|(uid, why)| uid == "1.2.0.2" && why.contains("cannot be used as INV2")));
    // Where nothing reads it, nobody is told.
    let mut site = serving(or_alone());
    let mut gap = series(0, INV2, 5);
    gap.remove(2);
    site.send(gap);
    site.fire(&series_uid(0, INV2), TimerKind::Idle);
    site.close();
    assert_eq!(site.faults_of("matches"), []);
}

#[test]
fn a_rule_of_an_input_that_fails_is_a_fault_only_where_the_input_is_asked_for() {
    let mut rules = of_three();
    rules.pipelines[0].inputs[0].when = "SeriesDescription > 3".into();
    let mut site = serving(rules);
    site.whole(0, &[INV1]);
    assert_eq!(site.faults_of("matches"), []);
    site.whole(0, &[UNI]);
    let faults = site.faults_of("matches");
    assert!(faults.iter().all(|fault| fault.reason.contains("rule of input INV1 of pipeline lesions")), "{faults:?}");
    assert_eq!(faults.len(), 2, "it fails on the first series as well");
}

#[test]
fn a_run_that_cannot_be_made_of_these_series_takes_the_report_back_until_another_comes() {
    let mut site = serving(of_three());
    [UNI, INV1, INV2].iter().for_each(|number| site.send(series(0, *number, 4)));
    let run = site.runs().remove(0);
    site.run(&run, End::Permanent);
    site.close();
    assert_eq!(site.faults_of("runs").len(), 1);
    site.withdraw(Scope::Series(series_uid(0, INV1)));
    site.close();
    assert_eq!(site.faults_of("runs"), []);
    assert_eq!(site.awaited().len(), 1);
}

#[test]
fn what_waits_for_further_series_is_never_sealed_and_what_has_them_comes_back() {
    let mut site = serving(of_three());
    site.whole(0, &[UNI, INV1]);
    assert_eq!(site.seal(), 0);
    site.whole(0, &[INV2]);
    assert_eq!(site.seal(), 1);
    // What is read besides changes what follows; the same rule again does not.
    site.change(of_three());
    assert!(site.open.is_empty());
    let mut fewer = of_three();
    fewer.pipelines[0].inputs.truncate(1);
    site.change(fewer);
    site.work();
    assert_eq!(site.inputs_of_report(), ["INV1 1.2.0.1"]);
    assert_eq!(site.seal(), 1);
    site.withdraw(Scope::Series(series_uid(0, INV1)));
    site.work();
    assert!(is_withdrawn(&site.only_report()));
}

#[test]
fn a_rehearsal_says_how_many_studies_would_wait_for_further_series() {
    let mut site = Site::with_rules();
    site.whole(0, &[UNI]);
    site.whole(1, &[UNI, INV1, INV2]);
    let mut rehearsal = Rehearsal::default();
    rehearsal.read(&site.log);
    let preview = rehearsal.preview(&of_three()).unwrap();
    let effect = &preview.pipelines["lesions"];
    assert_eq!((effect.studies_awaiting_inputs, effect.reports_reissued, effect.reports_withdrawn), (1, 1, 1));
}

#[test]
fn a_run_of_one_series_and_its_report_are_told_by_what_they_were_told_by_before() {
    let mut site = Site::with_rules();
    site.issued_once();
    site.close();
    let report = site.only_report();
    let run = report.run.unwrap();
    let mut contents: Vec<Digest> =
        (1..=5).map(|number| Digest::of(format!("pixels 0 0 {number} 0").as_bytes())).collect();
    contents.sort();
    let content = Digest::of_parts("sulcus series content", contents.iter().map(|digest| digest.0.as_slice()));
    let (version, stack) = (ALGORITHM_VERSION.to_le_bytes(), "ORIGINAL\\PRIMARY\\M\\ND");
    let model = Digest::of(b"model");
    let parts = [content.0.as_slice(), stack.as_bytes(), &model.0, &version, b"hospital", b"0"];
    assert_eq!(run.run_key, Digest::of_parts("run", parts));
    let stack = stack.replace('\\', "\\\\");
    let run = format!(
        "{{\"run_key\":\"{}\",\"study_uid\":\"1.2.0\",\"series_uid\":\"1.2.0.0\",\"stack\":\"{stack}\",\
         \"model\":\"{model}\",\"members\":[]}}",
        run.run_key
    );
    let text = format!("[\"1.2.0\",\"lesions\",\"Final\",{run},\"{}\",[],[]]", Digest::of(&[0]));
    assert_eq!(report.content, Digest::of_parts("report", [text.as_bytes()]));
}
