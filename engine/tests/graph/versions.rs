//! What the graph promises where a rule or a model changes: to which studies it applies, and what that costs.

use sulcus_config::AppliesTo;
use sulcus_engine::ledger::event::{Event, Rules, Scope};
use sulcus_operators::{digest::Digest, rows::ReportStatus};

use crate::site::{Site, Slice, is_withdrawn, rules, series_uid, study_uid};

/// The rules with another model, which apply to what is said.
pub fn with_model(model: &[u8], applies_to: AppliesTo) -> Rules {
    let mut rules = rules();
    rules.pipelines[0].model = Digest::of(model);
    rules.pipelines[0].applies_to = applies_to;
    rules
}

/// The model behind the standing report on each study; none where it is withdrawn.
fn models(site: &Site) -> Vec<(String, Option<Digest>)> {
    site.reports().into_iter().map(|row| (row.study_uid, row.run.map(|run| run.model))).collect()
}

fn made_by(study: u8, model: &[u8]) -> (String, Option<Digest>) {
    (study_uid(study), Some(Digest::of(model)))
}

fn finished(site: &Site) -> usize {
    site.log.iter().filter(|entry| entry.event.name() == "RunFinished").count()
}

/// A study of one counted series, worked off.
fn study(site: &mut Site, study: u8) {
    site.slices(study, 0, 1..=5, Some(5));
    site.work();
}

fn change(site: &mut Site, rules: Rules) {
    site.event(Event::RulesChanged(rules));
    site.work();
}

#[test]
fn a_new_model_for_new_scans_leaves_the_old_ones_alone() {
    let mut site = Site::with_rules();
    study(&mut site, 0);
    change(&mut site, with_model(b"second", AppliesTo::New));
    study(&mut site, 1);
    assert_eq!(models(&site), [made_by(0, b"model"), made_by(1, b"second")]);
    assert_eq!((site.issued().len(), finished(&site)), (2, 2));

    // A late slice to the old study is run by the model that governs it.
    site.slices(0, 0, 6..=6, Some(6));
    site.work();
    assert_eq!(models(&site), [made_by(0, b"model"), made_by(1, b"second")]);
    assert_eq!(finished(&site), 3);
}

#[test]
fn a_model_for_all_reissues_what_it_governs_anew_and_going_back_runs_nothing() {
    let mut site = Site::with_rules();
    study(&mut site, 0);
    change(&mut site, with_model(b"second", AppliesTo::New));
    study(&mut site, 1);
    change(&mut site, with_model(b"second", AppliesTo::All));
    assert_eq!(models(&site), [made_by(0, b"second"), made_by(1, b"second")]);
    assert_eq!((site.issued().len(), finished(&site)), (3, 3), "only the first study was run again");
    change(&mut site, with_model(b"model", AppliesTo::All));
    assert_eq!(models(&site), [made_by(0, b"model"), made_by(1, b"model")]);
    assert_eq!(finished(&site), 4, "the first study's run by the first model is known");
    change(&mut site, with_model(b"second", AppliesTo::All));
    change(&mut site, with_model(b"model", AppliesTo::All));
    assert_eq!(finished(&site), 4, "going to and fro runs nothing");
}

#[test]
fn a_model_since_a_day_takes_older_scans_of_that_day_and_later() {
    let mut site = Site::with_rules();
    let days = ["20200101", "20200102", "20200103", ""];
    for (study, day) in days.into_iter().enumerate() {
        (1..=5).for_each(|number| {
            site.slice(&Slice { day, expected: Some(5), ..Slice::new(study as u8, 0, number) });
        });
    }
    site.work();
    change(&mut site, with_model(b"second", AppliesTo::Since(20_200_102)));
    let expected = [made_by(0, b"model"), made_by(1, b"second"), made_by(2, b"second"), made_by(3, b"model")];
    assert_eq!(models(&site), expected, "without StudyDate the day of receipt counts, 1970 here");
    for number in 1..=5 {
        site.slice(&Slice { day: "20191231", expected: Some(5), ..Slice::new(4, 0, number) });
    }
    site.work();
    assert_eq!(models(&site)[4], made_by(4, b"second"), "what comes after it is governed whatever its day");
    change(&mut site, with_model(b"second", AppliesTo::Since(20_200_101)));
    assert_eq!(models(&site)[0], made_by(0, b"second"), "an unchanged rule may widen");
    change(&mut site, with_model(b"second", AppliesTo::New));
    assert_eq!(models(&site)[0], made_by(0, b"second"), "and gives nothing back");
}

#[test]
fn a_pipeline_added_later_for_new_scans_does_not_run_over_history() {
    let mut site = Site::new();
    site.event(Event::RulesChanged(Rules { pipelines: Vec::new(), ..rules() }));
    study(&mut site, 0);
    change(&mut site, with_model(b"model", AppliesTo::New));
    assert_eq!((models(&site), finished(&site)), (vec![], 0));
    study(&mut site, 1);
    assert_eq!(models(&site), [made_by(1, b"model")]);
    change(&mut site, with_model(b"model", AppliesTo::All));
    assert_eq!(models(&site), [made_by(0, b"model"), made_by(1, b"model")]);
}

#[test]
fn scans_that_come_before_a_sites_first_rules_are_governed_by_them() {
    let mut site = Site::new();
    site.slices(0, 0, 1..=2, Some(5));
    site.event(Event::RulesChanged(with_model(b"model", AppliesTo::New)));
    site.slices(0, 0, 3..=5, Some(5));
    site.work();
    assert_eq!(models(&site), [made_by(0, b"model")]);
}

#[test]
fn a_pipeline_that_comes_back_governs_what_it_did_and_not_what_came_meanwhile() {
    let mut site = Site::with_rules();
    study(&mut site, 0);
    change(&mut site, Rules { pipelines: Vec::new(), ..rules() });
    assert!(site.revisions().is_empty() && site.issued().len() == 1, "nothing is taken back");
    study(&mut site, 1);
    change(&mut site, with_model(b"second", AppliesTo::New));
    study(&mut site, 2);
    assert_eq!(models(&site), [made_by(0, b"model"), made_by(2, b"second")]);
    assert_eq!(site.issued().len(), 2, "what stood stands");
}

#[test]
fn a_model_can_be_taken_back_everywhere() {
    let mut site = Site::with_rules();
    study(&mut site, 0);
    study(&mut site, 1);
    let mut none = with_model(b"model", AppliesTo::New);
    none.pipelines[0].when = "false".into();
    change(&mut site, none.clone());
    assert!(!site.reports().iter().any(is_withdrawn), "for new scans only, what stands stands");
    study(&mut site, 2);
    assert_eq!(models(&site).len(), 2, "and new scans are not taken");
    none.pipelines[0].applies_to = AppliesTo::All;
    change(&mut site, none);
    let reports = site.reports();
    assert!(reports.len() == 2 && reports.iter().all(is_withdrawn), "{reports:?}");
    for report in reports {
        let ReportStatus::Withdrawn(reason) = report.status else { panic!("{report:?}") };
        assert!(reason.contains("the rule does not take it any more"), "{reason}");
    }
    let before = finished(&site);
    change(&mut site, with_model(b"model", AppliesTo::All));
    assert_eq!((models(&site).len(), finished(&site)), (3, before + 1), "only the study that never was run is run");
}

#[test]
fn two_pipelines_are_changed_apart() {
    let both = |first: (&[u8], AppliesTo), second: (&[u8], AppliesTo)| {
        let mut rules = with_model(first.0, first.1);
        let mut other = with_model(second.0, second.1).pipelines.remove(0);
        other.name = "second".into();
        rules.pipelines.push(other);
        rules
    };
    let mut site = Site::new();
    site.event(Event::RulesChanged(both((b"a", AppliesTo::New), (b"b", AppliesTo::New))));
    study(&mut site, 0);
    change(&mut site, both((b"c", AppliesTo::All), (b"d", AppliesTo::New)));
    study(&mut site, 1);
    let expected = [made_by(0, b"c"), made_by(0, b"b"), made_by(1, b"c"), made_by(1, b"d")];
    assert_eq!(models(&site), expected);
}

#[test]
fn a_destination_added_later_gets_what_earlier_versions_made() {
    let mut site = Site::new();
    let mut first = with_model(b"model", AppliesTo::New);
    first.pipelines[0].destinations.truncate(1);
    site.event(Event::RulesChanged(first));
    study(&mut site, 0);
    let settled = |site: &Site| site.log.iter().filter(|entry| entry.event.name() == "DeliverySettled").count();
    assert_eq!(settled(&site), 2);
    change(&mut site, with_model(b"second", AppliesTo::New));
    assert_eq!((settled(&site), finished(&site)), (3, 1), "the node has the segmentation of the first model");
    assert_eq!(models(&site), [made_by(0, b"model")]);
}

#[test]
fn a_series_that_is_sent_again_after_its_withdrawal_is_new() {
    let mut site = Site::with_rules();
    study(&mut site, 0);
    change(&mut site, with_model(b"second", AppliesTo::New));
    site.withdraw(Scope::Instance(format!("{}.1", series_uid(0, 0))));
    site.slice(&Slice { expected: Some(5), ..Slice::new(0, 0, 1) });
    site.work();
    assert_eq!(models(&site), [made_by(0, b"model")], "its first member still came before");
    site.withdraw(Scope::Series(series_uid(0, 0)));
    study(&mut site, 0);
    assert_eq!(models(&site), [made_by(0, b"second")]);
}
