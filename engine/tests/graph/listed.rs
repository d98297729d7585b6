//! What a sender lists as it asks for storage commitment is evidence that a series is whole.

use sulcus_engine::ledger::event::Event;
use sulcus_operators::rows::Verdict;

use crate::site::{Site, Slice, series_uid, study_uid};

impl Site {
    /// Lists instances of a study that stand, and some that are not here.
    pub fn list(&mut self, study: u8, absent: &[String]) {
        let study_uid = study_uid(study);
        let of_study = self.standing.iter().filter(|(_, (.., study))| *study == study_uid);
        let instances = of_study.map(|(uid, _)| uid.clone()).collect();
        let absent = absent.to_vec();
        self.event(Event::InstancesListed { source: "scanner".into(), study_uid, instances, absent });
    }
}

fn verdict(site: &Site) -> Option<Verdict> {
    site.verdict(&series_uid(0, 0))
}

fn reasons(site: &Site) -> String {
    site.reasons(&series_uid(0, 0))
}

#[test]
fn a_series_is_complete_at_once_where_all_that_is_here_was_listed_and_all_that_was_listed_is_here() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, None);
    site.close();
    assert_eq!(verdict(&site), Some(Verdict::Waiting));
    site.list(0, &[]);
    site.close();
    assert_eq!(verdict(&site), Some(Verdict::Complete));
    assert!(reasons(&site).contains("all 4 instances are here that its sender listed"), "{}", reasons(&site));
    assert_eq!(site.timers(), []);
    // A late slice was not listed: it may be one of several.
    site.slices(0, 0, 5..=5, None);
    site.close();
    assert_eq!(verdict(&site), Some(Verdict::Waiting));
    assert!(reasons(&site).contains("listed 4 of its 5 instances"), "{}", reasons(&site));
    site.list(0, &[]);
    site.close();
    assert_eq!(verdict(&site), Some(Verdict::Complete));
}

#[test]
fn a_list_proves_nothing_while_something_of_it_is_not_here() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=3, None);
    // Nobody can tell of which series it is.
    site.list(0, &[format!("{}.4", series_uid(0, 0))]);
    site.close();
    assert_eq!(verdict(&site), Some(Verdict::Waiting));
    assert!(reasons(&site).contains("listed (storage commitment) 1 are not here"), "{}", reasons(&site));
    site.slices(0, 0, 4..=4, None);
    site.close();
    assert_eq!(verdict(&site), Some(Verdict::Complete));
    site.work();
    site.open.seals().into_iter().for_each(|seal| site.event(seal));
    site.close();
    assert!(site.open.is_empty());
    // What was listed counts as well once the study is read back.
    site.slices(0, 0, 5..=5, None);
    site.close();
    assert!(reasons(&site).contains("listed 4 of its 5 instances"), "{}", reasons(&site));
}

#[test]
fn a_list_that_contradicts_what_headers_promise_is_a_fault_and_closes_nothing() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=4, Some(6));
    site.list(0, &[]);
    site.close();
    assert_eq!(verdict(&site), Some(Verdict::Waiting));
    let [fault] = &site.faults_of("completeness")[..] else { panic!("one contradiction") };
    assert!(fault.reason.contains("more are promised"), "{fault:?}");
    site.slices(0, 0, 5..=6, Some(6));
    site.close();
    assert_eq!((verdict(&site), site.faults_of("completeness")), (Some(Verdict::Complete), vec![]));
}

#[test]
fn a_list_of_slices_with_a_gap_between_them_is_a_fault_as_a_count_is() {
    let mut site = Site::with_rules();
    for number in [1, 2, 4, 5] {
        site.slice(&Slice::new(0, 0, number));
    }
    site.list(0, &[]);
    site.close();
    let [fault] = &site.faults_of("completeness")[..] else { panic!("one contradiction") };
    assert!(fault.reason.contains("slices are missing between them"), "{fault:?}");
}
