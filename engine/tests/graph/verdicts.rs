//! What the graph promises of readers' verdicts on lesions.

use sulcus_engine::ledger::event::{Event, Scope, TimerKind};
use sulcus_operators::{
    digest::Digest,
    rows::{Finding, LesionVerdict, Role},
};

use crate::{
    outcomes::outcome_of,
    site::{End, Site, rules, series_uid, study_uid},
};

fn tracking_uid(lesion: u8) -> String {
    format!("2.25.{lesion}")
}

impl Site {
    /// A reader judges a lesion.
    pub fn judge(&mut self, study: u8, lesion: u8, verdict: LesionVerdict, reader: &str) {
        let comment = if verdict == LesionVerdict::Rejected { "a vessel".into() } else { String::new() };
        let (study_uid, tracking_uid, reader) = (study_uid(study), tracking_uid(lesion), reader.to_owned());
        self.event(Event::VerdictGiven { study_uid, tracking_uid, verdict, reader, comment });
    }

    /// Runs what is to run, with so many lesions each, and works off the rest.
    fn work_with(&mut self, lesions: u32) {
        self.close();
        for run in self.runs() {
            let run_key = run.order.run_key;
            self.event(Event::RunStarted { run_key, attempt: run.attempt });
            self.event(Event::RunFinished(outcome_of(run_key, lesions)));
        }
        self.work();
    }

    /// Studies 0 and 1, reported once with two lesions each.
    fn with_two_reports() -> Site {
        let mut site = Site::with_rules();
        site.slices(0, 0, 1..=5, Some(5));
        site.slices(1, 0, 1..=5, Some(5));
        site.work_with(2);
        assert_eq!((site.issued().len(), site.lesions().len()), (2, 4));
        site
    }

    fn revisions_of(&self, study: u8) -> Vec<Digest> {
        let issued = self.log.iter().filter_map(|entry| match &entry.event {
            Event::RevisionIssued { key, content, .. } if key.study_uid == study_uid(study) => Some(*content),
            _ => None,
        });
        issued.collect()
    }

    fn verdicts(&self, study: u8) -> Vec<Finding> {
        let report = self.reports().into_iter().find(|report| report.study_uid == study_uid(study));
        report.map(|report| report.verdicts).unwrap_or_default()
    }
}

#[test]
fn a_verdict_makes_one_revision_of_the_reports_that_hold_the_lesion() {
    let mut site = Site::with_two_reports();
    let sent = site.log.len();
    site.judge(0, 2, LesionVerdict::Rejected, "A. Reader");
    let changes = site.close();
    assert_eq!(changes.runs, vec![], "nothing is run again");
    assert_eq!(site.revisions().len(), 1);
    assert_eq!(site.revisions()[0].key.revision, 2);
    site.work();
    assert_eq!((site.revisions_of(0).len(), site.revisions_of(1).len()), (2, 1));
    let encoded = site.log[sent..].iter().filter_map(|entry| match &entry.event {
        Event::ObjectEncoded { key, role, .. } => Some((key.study_uid.clone(), *role)),
        _ => None,
    });
    let both = [(study_uid(0), Role::Segmentation), (study_uid(0), Role::Report)];
    assert_eq!(encoded.collect::<Vec<_>>(), both, "exactly what follows from it was made anew");
    let finding = Finding {
        tracking_uid: tracking_uid(2),
        verdict: LesionVerdict::Rejected,
        reader: "A. Reader".into(),
        comment: "a vessel".into(),
    };
    assert_eq!((site.verdicts(0), site.verdicts(1)), (vec![finding.clone()], vec![]));
    let judged: Vec<_> = site.lesions().into_iter().filter_map(|lesion| lesion.finding).collect();
    assert_eq!(judged, [finding], "the same tracking UID of another study is another lesion");
    assert_eq!(site.faults(), vec![]);
}

#[test]
fn what_holds_already_changes_nothing_and_open_goes_back() {
    let mut site = Site::with_two_reports();
    let first = site.revisions_of(0)[0];
    site.judge(0, 1, LesionVerdict::Accepted, "A. Reader");
    site.work();
    site.judge(0, 1, LesionVerdict::Accepted, "A. Reader");
    site.judge(0, 2, LesionVerdict::Open, "A. Reader");
    assert!(site.close().is_empty(), "said again, or never said");
    site.judge(0, 1, LesionVerdict::Relabelled("vessel".into()), "B. Reader");
    site.work();
    assert_eq!(site.verdicts(0)[0].reader, "B. Reader", "the newest counts, with its reader");
    site.judge(0, 1, LesionVerdict::Rejected, "A. Reader");
    site.judge(0, 1, LesionVerdict::Open, "B. Reader");
    site.work();
    let contents = site.revisions_of(0);
    assert_eq!(contents.len(), 4, "what was said and taken back within one epoch is no revision");
    assert_eq!(contents[3], first, "the content of before");
    assert!(contents[1] != first && contents[2] != first && contents[1] != contents[2]);
    assert_eq!((site.verdicts(0), site.faults()), (vec![], vec![]));
}

#[test]
fn verdicts_on_several_lesions_stand_by_tracking_uid_whatever_their_order() {
    let content = |order: [u8; 2]| {
        let mut site = Site::with_two_reports();
        order.into_iter().for_each(|lesion| site.judge(0, lesion, LesionVerdict::Rejected, "A. Reader"));
        site.close();
        (site.revisions().remove(0).row.content, site.verdicts(0))
    };
    let (one, other) = (content([1, 2]), content([2, 1]));
    assert_eq!(one, other);
    assert_eq!(one.1.iter().map(|finding| finding.tracking_uid.clone()).collect::<Vec<_>>(), ["2.25.1", "2.25.2"]);
}

#[test]
fn a_verdict_on_a_lesion_that_no_report_holds_is_a_fault_until_the_lesion_comes() {
    let mut site = Site::with_rules();
    site.judge(0, 2, LesionVerdict::Rejected, "A. Reader");
    site.close();
    let faults = site.faults_of("findings");
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].key, tracking_uid(2));
    assert!(faults[0].reason.contains(&study_uid(0)) && faults[0].hint.contains("--open"), "{faults:?}");
    assert!(!format!("{faults:?}").contains("Reader"), "no fault names a reader");
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    assert_eq!(site.faults(), vec![], "while the run is to do, nobody can tell");
    site.work_with(2);
    assert_eq!((site.issued().len(), site.verdicts(0).len(), site.faults()), (1, 1, vec![]), "at once in the first");
}

#[test]
fn a_verdict_follows_its_lesion_through_a_rerun() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, None);
    site.release(vec![series_uid(0, 0)], true);
    site.close();
    site.fire("1.2.0.0", TimerKind::Settle);
    site.work_with(2);
    site.judge(0, 1, LesionVerdict::Rejected, "A. Reader");
    site.judge(0, 2, LesionVerdict::Accepted, "A. Reader");
    site.work();
    site.slices(0, 0, 6..=6, None);
    site.close();
    assert_eq!((site.reports(), site.faults()), (vec![], vec![]), "held while the series waits");
    site.judge(0, 2, LesionVerdict::Open, "A. Reader");
    site.judge(0, 2, LesionVerdict::Accepted, "B. Reader");
    site.close();
    assert_eq!(site.revisions(), vec![], "what is held is not corrected before it is made anew");
    site.fire("1.2.0.0", TimerKind::Idle);
    site.work_with(1);
    assert_eq!(site.revisions_of(0).len(), 3);
    let readers: Vec<_> = site.verdicts(0).into_iter().map(|finding| (finding.tracking_uid, finding.verdict)).collect();
    assert_eq!(readers, [(tracking_uid(1), LesionVerdict::Rejected)]);
    let keys = |site: &Site| site.faults_of("findings").into_iter().map(|fault| fault.key).collect::<Vec<_>>();
    assert_eq!(keys(&site), [tracking_uid(2)], "the new run does not find it any more");
    site.withdraw(Scope::Instance(format!("{}.6", series_uid(0, 0))));
    site.work();
    assert_eq!((site.verdicts(0).len(), site.faults_of("findings")), (2, vec![]), "back with the memoised run");
}

#[test]
fn a_withdrawn_report_holds_no_lesion() {
    let mut site = Site::with_two_reports();
    site.judge(0, 1, LesionVerdict::Rejected, "A. Reader");
    site.work();
    site.withdraw(Scope::Series(series_uid(0, 0)));
    site.work();
    assert_eq!(site.faults_of("findings").len(), 1);
    assert_eq!(site.verdicts(0), vec![]);
    site.judge(0, 1, LesionVerdict::Open, "A. Reader");
    site.close();
    assert_eq!(site.faults_of("findings"), vec![], "taken back, it asks for nothing");
}

#[test]
fn a_lesion_of_two_pipelines_is_judged_in_both_reports() {
    let mut rules = rules();
    let second = rules.pipelines[0].clone();
    rules.pipelines.push(sulcus_engine::ledger::event::PipelineRule { name: "second".into(), ..second });
    let mut site = Site::new();
    site.event(Event::RulesChanged(rules));
    site.slices(0, 0, 1..=5, Some(5));
    site.work_with(2);
    site.judge(0, 1, LesionVerdict::Rejected, "A. Reader");
    site.close();
    assert_eq!(site.revisions().len(), 2);
    assert!(site.revisions().iter().all(|revision| revision.row.verdicts.len() == 1));
}

#[test]
fn a_verdict_gives_an_object_that_could_not_be_made_another_chance() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    let run_key = site.runs()[0].order.run_key;
    site.event(Event::RunFinished(outcome_of(run_key, 2)));
    site.close();
    site.issue();
    site.close();
    let object = site.objects().remove(0);
    site.encode(&object, End::Permanent);
    site.close();
    site.issue();
    site.close();
    assert!(crate::site::is_withdrawn(&site.reports()[0]) && site.verdicts(0).is_empty());
    site.judge(0, 1, LesionVerdict::Rejected, "A. Reader");
    site.close();
    assert!(!crate::site::is_withdrawn(&site.revisions()[0].row), "it says something else than what failed");
}
