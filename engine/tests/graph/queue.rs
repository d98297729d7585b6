//! What goes first of a whole site's work: a patient on the table is not delayed by what changed rules want anew.

use std::path::Path;

use sulcus_config::{Site as Configured, Urgency};
use sulcus_engine::{
    ledger::event::{Event, PipelineRule, Rules},
    queue::Urgencies,
};
use sulcus_operators::{
    digest::Digest,
    rows::{LesionVerdict, Millis, Role},
};

use crate::site::{End, Site, patient, rules, study_uid};

const STUDIES: u8 = 30;

/// The usual pipeline, and another that takes the same.
fn two_pipelines() -> Rules {
    let mut rules = rules();
    let urgent = PipelineRule { name: "urgent".into(), ..rules.pipelines[0].clone() };
    rules.pipelines.push(urgent);
    rules
}

fn urgencies(of: &[(&str, &str)]) -> Urgencies {
    let pipeline = |(name, urgency): &(&str, &str)| {
        format!("[[pipeline]]\nname = \"{name}\"\nwhen = \"true\"\nmodel = \"m\"\nurgency = \"{urgency}\"\n")
    };
    let text: String = of.iter().map(pipeline).collect();
    Urgencies::of(&Configured::parse(&text, Path::new("/site.toml")).unwrap())
}

/// Of all studies but the last the reports are out; some of them are sealed.
fn reported() -> Site {
    let mut site = Site::with_rules();
    for study in 0..STUDIES {
        site.slices(study, 0, 1..=5, Some(5));
    }
    site.work();
    for seal in site.open.seals().into_iter().step_by(2) {
        site.event(seal);
    }
    site.close();
    site
}

fn change_model(site: &mut Site) {
    let mut rules = rules();
    rules.pipelines[0].model = Digest::of(b"another model");
    let reopened = site.open.review(&site.log, &rules);
    site.event(Event::RulesChanged(rules));
    reopened.into_iter().for_each(|event| site.event(event));
    site.close();
}

/// The studies of the runs to do in their order, each with its class.
fn order(site: &Site, urgencies: &Urgencies) -> Vec<(Urgency, String)> {
    let runs = site.runs();
    let ordered = site.open.queue(urgencies).runs(runs.iter());
    ordered.into_iter().map(|(place, run)| (place.urgency, run.order.study_uid.clone())).collect()
}

#[test]
fn a_new_study_goes_before_all_that_a_changed_model_wants_anew() {
    let mut site = reported();
    change_model(&mut site);
    assert_eq!(site.runs().len(), usize::from(STUDIES), "all of them, sealed or not");
    site.slices(STUDIES, 0, 1..=5, Some(5));
    site.close();
    let none = Urgencies::default();
    let all = order(&site, &none);
    let (first, rest) = all.split_first().unwrap();
    assert_eq!(*first, (Urgency::Normal, study_uid(STUDIES)));
    assert!(rest.iter().all(|(urgency, _)| *urgency == Urgency::Background));
    assert_eq!(rest.len(), usize::from(STUDIES));

    // A late slice makes one of the old ones a patient's again; a merge does not.
    site.slices(3, 0, 6..=6, Some(6));
    site.event(Event::PatientsMerged {
        from: patient(9),
        into: Some(patient(8)),
        reason: String::new(),
        by: String::new(),
    });
    site.close();
    let first = order(&site, &none).into_iter().take(3).collect::<Vec<_>>();
    assert_eq!(first[..2], [STUDIES, 3].map(|study| (Urgency::Normal, study_uid(study))));
    assert_eq!(first[2].0, Urgency::Background);
}

#[test]
fn an_object_of_a_new_study_is_not_stuck_behind_those_of_a_back_fill() {
    let mut site = reported();
    change_model(&mut site);
    site.slices(STUDIES, 0, 1..=5, Some(5));
    for _ in 0..4 {
        site.close();
        site.runs().iter().for_each(|run| site.run(run, End::Done));
        site.issue();
        site.objects().iter().for_each(|object| site.encode(object, End::Done));
    }
    site.close();
    let none = Urgencies::default();
    let deliveries = site.deliveries();
    let to_folder = deliveries.iter().filter(|delivery| delivery.row.destination == "folder");
    let (due, _) = site.open.queue(&none).deliveries(to_folder, Millis::MAX, Millis::MAX);
    assert_eq!(due.len(), 2 * (usize::from(STUDIES) + 1));
    let first: Vec<_> = due.iter().take(2).map(|due| (due.row.study_uid.clone(), due.row.role)).collect();
    assert_eq!(first, [(study_uid(STUDIES), Role::Segmentation), (study_uid(STUDIES), Role::Report)]);
}

#[test]
fn a_verdict_is_answered_before_a_back_fill() {
    let mut site = reported();
    change_model(&mut site);
    site.judge(5, 1, LesionVerdict::Rejected, "reader");
    site.close();
    let all = order(&site, &Urgencies::default());
    assert_eq!(all[0], (Urgency::Normal, study_uid(5)));
}

#[test]
fn the_most_urgent_of_those_who_want_it_speaks_for_a_run_and_each_for_its_objects() {
    let mut site = Site::new();
    site.event(Event::RulesChanged(two_pipelines()));
    for study in 0..3 {
        site.slices(study, 0, 1..=5, Some(5));
        site.close();
    }
    let named = urgencies(&[("lesions", "background"), ("urgent", "urgent")]);
    let all = order(&site, &named);
    assert_eq!(all, [0, 1, 2].map(|study| (Urgency::Urgent, study_uid(study))), "and the oldest first");
    site.runs().iter().for_each(|run| site.run(run, End::Done));
    site.close();
    site.issue();
    site.close();
    let objects = site.objects();
    let ordered = site.open.queue(&named).objects(objects.iter());
    let pipelines: Vec<&str> = ordered.iter().map(|row| row.key.pipeline.as_str()).collect();
    assert_eq!(pipelines, [["urgent"; 3], ["lesions"; 3]].concat());
}
