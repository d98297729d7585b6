//! Studies at rest leave the graph, and come back whole.

use sulcus_engine::ledger::event::{Event, Rules, Scope};
use sulcus_operators::digest::Digest;

use crate::site::{End, Site, is_withdrawn, rules, series_uid, study_uid};

/// A site with one study that is delivered.
fn delivered() -> Site {
    let mut site = Site::with_rules();
    site.issued_once();
    site.work();
    site
}

impl Site {
    /// Seals what is at rest; how many studies that is.
    pub fn seal(&mut self) -> usize {
        self.close();
        let seals = self.open.seals();
        let count = seals.len();
        seals.into_iter().for_each(|seal| self.event(seal));
        self.close();
        count
    }

    pub fn change(&mut self, rules: Rules) {
        let reopened = self.open.review(&self.log, &rules);
        self.event(Event::RulesChanged(rules));
        reopened.into_iter().for_each(|event| self.event(event));
        self.close();
    }

    pub fn runs_started(&self) -> usize {
        self.log.iter().filter(|entry| matches!(entry.event, Event::RunStarted { .. })).count()
    }
}

#[test]
fn a_report_whose_pipeline_was_gone_is_taken_back_once_it_is_there_again_though_its_study_is_sealed() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, Some(4));
    site.work();
    let without = Rules { pipelines: Vec::new(), ..rules() };
    site.event(Event::RulesChanged(without));
    site.withdraw(Scope::Series(series_uid(0, 0)));
    site.work();
    site.open.seals().into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    let reopened = site.open.review(&site.log, &rules());
    site.event(Event::RulesChanged(rules()));
    reopened.into_iter().for_each(|event| site.event(event));
    site.work();
    assert!(site.reports().iter().all(is_withdrawn) && !site.reports().is_empty());
}

#[test]
fn a_study_at_rest_leaves_the_graph_and_a_start_does_not_read_it() {
    let mut site = delivered();
    assert!(!site.open.is_empty());
    assert_eq!(site.seal(), 1);
    assert!(site.open.is_empty());
    site.open.restart(&site.log.clone(), &site.now.clone());
    assert!(site.open.is_empty());
    assert_eq!(site.seal(), 0);
}

#[test]
fn a_seal_says_what_stands() {
    let mut site = delivered();
    let lesions = site.lesions();
    let Some(Event::StudySealed { summary, .. }) = site.open.seals().pop() else { panic!("nothing is at rest") };
    assert_eq!(summary.study_uid, study_uid(0));
    let [series] = summary.series.as_slice() else { panic!("{:?}", summary.series) };
    assert_eq!((series.series_uid.as_str(), series.instances), (series_uid(0, 0).as_str(), 5));
    assert_eq!(series.taken, [("lesions".to_owned(), Digest::of(b"model"))]);
    let [report] = summary.reports.as_slice() else { panic!("{:?}", summary.reports) };
    assert_eq!((report.lesions as usize, report.volume_nl), (lesions.len(), 9000 * lesions.len() as u64));
    site.withdraw(Scope::Study(study_uid(0)));
    site.work();
    assert!(site.open.seals().is_empty(), "the node still holds the segmentation, which is a fault");
    let mut folder = rules();
    folder.destinations.truncate(1);
    site.change(folder);
    site.work();
    let Some(Event::StudySealed { summary, .. }) = site.open.seals().pop() else { panic!("nothing is at rest") };
    assert_eq!(summary.reports[0].model, None);
}

#[test]
fn what_waits_is_to_do_or_at_fault_is_never_sealed() {
    let mut site = Site::with_rules();
    site.slices(0, 4, 1..=3, None);
    assert_eq!(site.seal(), 0, "it waits for the idle timer");
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.close();
    assert_eq!(site.seal(), 0, "its run is to do");
    let run = site.runs().remove(0);
    site.run(&run, End::Permanent);
    assert_eq!(site.seal(), 0, "its run failed");
    let mut site = delivered();
    site.slice(&crate::site::Slice { version: 1, expected: Some(5), ..crate::site::Slice::new(0, 0, 1) });
    assert_eq!(site.seal(), 0, "a slice came with other bytes");
}

#[test]
fn a_late_slice_brings_a_sealed_study_back_and_is_run() {
    let mut site = delivered();
    site.seal();
    site.slices(0, 0, 6..=6, Some(6));
    site.close();
    assert!(!site.open.is_empty());
    assert_eq!(site.runs().len(), 1);
    site.work();
    assert_eq!(site.issued().len(), 2);
    assert_eq!(site.seal(), 1);
}

#[test]
fn a_seal_that_a_slice_overtook_is_void() {
    let mut site = delivered();
    let seal = site.open.seals().remove(0);
    site.slices(0, 0, 6..=6, Some(6));
    site.event(seal);
    site.close();
    assert!(!site.open.is_empty());
    site.open.restart(&site.log.clone(), &site.now.clone());
    assert!(!site.open.is_empty());
    assert_eq!(site.runs().len(), 1);
}

#[test]
fn another_model_brings_sealed_studies_back_and_the_earlier_one_runs_nothing() {
    let mut site = delivered();
    site.seal();
    let mut other = rules();
    other.pipelines[0].model = Digest::of(b"another model");
    site.change(other);
    site.work();
    assert_eq!((site.runs_started(), site.issued().len()), (2, 2));
    site.seal();
    site.change(rules());
    assert!(site.runs().is_empty(), "what was run is known");
    site.work();
    assert_eq!((site.runs_started(), site.issued().len()), (2, 3));
    assert_eq!(site.seal(), 1);
}

#[test]
fn a_destination_added_later_gets_what_is_sealed() {
    let mut site = Site::new();
    let mut one = rules();
    one.destinations.truncate(1);
    site.event(Event::RulesChanged(one));
    site.issued_once();
    site.work();
    assert_eq!(site.seal(), 1);
    site.change(rules());
    let to: Vec<_> = site.deliveries().into_iter().map(|delivery| delivery.row.destination).collect();
    assert_eq!(to, ["pacs"]);
    site.work();
    assert_eq!(site.seal(), 1);
    let mut quicker = rules();
    quicker.sources[0].settle_millis = 1;
    site.change(quicker);
    assert!(site.open.is_empty(), "a window concerns nothing that is sealed");
}

#[test]
fn what_repeats_leaves_a_sealed_study_alone() {
    let mut site = delivered();
    site.seal();
    site.slices(0, 0, 1..=5, Some(5));
    site.release(vec![series_uid(0, 0)], true);
    site.close();
    assert!(site.open.is_empty());
}
