//! What a rehearsal says of other rules is what they then do, and it leaves no trace.

use sulcus_config::AppliesTo;
use sulcus_engine::{
    ledger::event::{Event, Rules, TimerKind},
    rehearsal::{Effect, Preview, Rehearsal},
};

use crate::{
    site::{Site, is_withdrawn, rules, series_uid},
    versions::with_model,
};

fn preview(site: &Site, rules: &Rules) -> Preview {
    let mut rehearsal = Rehearsal::default();
    site.log.chunks(7).for_each(|entries| rehearsal.read(entries));
    rehearsal.preview(rules).unwrap()
}

fn effect(site: &Site, rules: &Rules) -> Effect {
    let mut preview = preview(site, rules);
    assert_eq!((preview.ledger, preview.pipelines.len()), (site.seq(), 1));
    preview.pipelines.remove("lesions").unwrap()
}

fn count(site: &Site, name: &str) -> usize {
    site.log.iter().filter(|entry| entry.event.name() == name).count()
}

/// Two studies that are done, and one that waits.
fn site() -> Site {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.slices(1, 0, 1..=5, Some(5));
    site.slices(2, 0, 1..=3, None);
    site.work();
    site
}

fn deliveries(folder: usize, pacs: usize) -> std::collections::BTreeMap<String, usize> {
    let all = [("folder".to_owned(), folder), ("pacs".to_owned(), pacs)];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_model_for_all_is_counted_as_it_then_happens() {
    let mut site = site();
    let before = site.log.clone();
    let second = with_model(b"second", AppliesTo::All);
    let expected = Effect {
        series: 3,
        studies: 3,
        series_waiting: 1,
        runs_to_compute: 2,
        reports_reissued: 2,
        deliveries: deliveries(4, 2),
        ..Effect::default()
    };
    assert_eq!(effect(&site, &second), expected);
    assert_eq!(site.log, before);

    let counted = ["RunFinished", "RevisionIssued", "DeliverySettled"].map(|name| count(&site, name));
    site.event(Event::RulesChanged(second));
    site.work();
    let now = ["RunFinished", "RevisionIssued", "DeliverySettled"].map(|name| count(&site, name));
    assert_eq!([now[0] - counted[0], now[1] - counted[1], now[2] - counted[2]], [2, 2, 6]);

    let back = effect(&site, &with_model(b"model", AppliesTo::All));
    assert_eq!((back.runs_to_compute, back.runs_done, back.reports_reissued), (0, 2, 2));
}

#[test]
fn what_applies_to_new_scans_or_is_in_force_changes_nothing() {
    let mut site = site();
    assert_eq!(effect(&site, &rules()), Effect::default());
    assert_eq!(effect(&site, &with_model(b"second", AppliesTo::New)), Effect::default());
    site.event(Event::RulesChanged(with_model(b"second", AppliesTo::New)));
    site.slices(3, 0, 1..=5, Some(5));
    site.close();
    assert_eq!(site.runs().len(), 1, "a run is to do");
    let widened = effect(&site, &with_model(b"second", AppliesTo::All));
    assert_eq!((widened.series, widened.runs_to_compute), (3, 2), "and is not counted with what would be added");
}

#[test]
fn a_rule_that_takes_nothing_withdraws() {
    let mut site = site();
    let mut none = with_model(b"model", AppliesTo::All);
    none.pipelines[0].when = "false".into();
    let said = effect(&site, &none);
    assert_eq!((said.reports_withdrawn, said.runs_to_compute, said.deliveries), (2, 0, deliveries(2, 0)));
    site.event(Event::RulesChanged(none));
    site.work();
    assert_eq!(site.reports().iter().filter(|row| is_withdrawn(row)).count(), 2);
}

#[test]
fn a_further_pipeline_and_a_further_destination_are_counted_apart() {
    let mut site = Site::new();
    let mut first = rules();
    first.pipelines[0].destinations.truncate(1);
    site.event(Event::RulesChanged(first.clone()));
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    let mut second = rules().pipelines.remove(0);
    second.name = "second".into();
    let both = Rules { pipelines: vec![rules().pipelines.remove(0), second], ..rules() };
    let preview = preview(&site, &both);
    let [lesions, added] = ["lesions", "second"].map(|name| preview.pipelines[name].clone());
    assert_eq!(lesions, Effect { deliveries: deliveries(0, 1), ..Effect::default() });
    assert_eq!((added.studies, added.runs_done, added.reports_first), (1, 1, 1), "the run is shared");
    assert_eq!((added.deliveries, preview.runs_to_compute), (deliveries(2, 1), 0));
    let none = Rules { pipelines: Vec::new(), ..first };
    assert!(self::preview(&site, &none).pipelines.is_empty(), "a pipeline that is removed takes nothing back");
}

#[test]
fn a_series_that_closes_later_is_not_forgotten() {
    let mut site = site();
    site.fire(&series_uid(2, 0), TimerKind::Idle);
    site.close();
    let said = effect(&site, &with_model(b"second", AppliesTo::All));
    assert_eq!((said.series, said.series_waiting, said.runs_to_compute), (3, 0, 3));
}
