//! What goes where: outputs by destination, deliveries that are given up and asked for again, notes of rejection.

use std::collections::BTreeSet;

use sulcus_engine::ledger::event::{Event, Rules, Scope};
use sulcus_operators::rows::Role;

use crate::site::{End, Site, rules, series_uid, study_uid};

fn trying(attempts: u32) -> Rules {
    let mut rules = rules();
    rules.destinations[1].attempts = attempts;
    rules
}

fn taking(roles: &[Role]) -> Rules {
    let mut rules = rules();
    rules.destinations[1].roles = roles.to_vec();
    rules
}

fn with(rules: Rules) -> Site {
    let mut site = Site::new();
    site.event(Event::RulesChanged(rules));
    site
}

/// Roles of the objects that were encoded, by revision.
fn encoded(site: &Site, of_revision: u32) -> BTreeSet<Role> {
    let role = |event: &Event| match event {
        Event::ObjectEncoded { key, role, .. } if key.revision == of_revision => Some(*role),
        _ => None,
    };
    site.log.iter().filter_map(|entry| role(&entry.event)).collect()
}

#[test]
fn what_no_destination_takes_is_not_made_and_what_one_comes_to_take_is_made_of_what_stands() {
    let mut site = Site::with_rules();
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    assert_eq!(encoded(&site, 1), [Role::Segmentation, Role::Report].into());
    site.event(Event::RulesChanged(taking(&[Role::Segmentation, Role::StructuredReport])));
    site.work();
    assert_eq!(encoded(&site, 1), [Role::Segmentation, Role::StructuredReport, Role::Report].into());
    assert_eq!((site.issued().len(), site.faults().len()), (1, 0), "the report says the same as before");
}

#[test]
fn everything_waits_for_the_segmentation_that_was_checked() {
    let mut site = with(taking(&[Role::StructuredReport, Role::EncapsulatedReport]));
    site.issued_once();
    site.close();
    let due: Vec<Role> = site.objects().iter().map(|object| object.role).collect();
    assert_eq!(due, [Role::Segmentation]);
    let first = site.objects().remove(0);
    site.encode(&first, End::Done);
    site.close();
    let due: Vec<Role> = site.objects().iter().map(|object| object.role).collect();
    assert_eq!(due, [Role::StructuredReport, Role::EncapsulatedReport, Role::Report]);
}

#[test]
fn an_output_that_cannot_be_made_is_a_fault_and_holds_nothing_else_up() {
    let mut site = with(taking(&[Role::Segmentation, Role::StructuredReport]));
    site.issued_once();
    site.close();
    let first = site.objects().remove(0);
    site.encode(&first, End::Done);
    site.close();
    let report = site.objects().into_iter().find(|object| object.role == Role::StructuredReport).unwrap();
    site.encode(&report, End::Permanent);
    site.work();
    assert_eq!(encoded(&site, 1), [Role::Segmentation, Role::Report].into());
    let [fault] = &site.faults_of("objects")[..] else { panic!("{:?}", site.faults()) };
    assert!(fault.reason.starts_with("structured-report of revision 1"), "{fault:?}");
}

#[test]
fn a_delivery_is_given_up_after_its_attempts_and_asked_for_again_by_hand() {
    let mut site = with(trying(3));
    site.issued_once();
    site.close();
    let first = site.objects().remove(0);
    site.encode(&first, End::Done);
    let to_node = |site: &Site| site.deliveries().into_iter().find(|delivery| delivery.row.destination == "pacs");
    for attempt in 1..=3 {
        site.close();
        let delivery = to_node(&site).unwrap();
        assert_eq!(delivery.attempt, attempt);
        site.deliver(&delivery, End::Failed);
    }
    site.close();
    assert_eq!(to_node(&site), None, "three attempts are what the destination is given");
    let [fault] = &site.faults_of("deliveries")[..] else { panic!("{:?}", site.faults()) };
    assert!(fault.reason.contains("given up after 3 attempts: refused 3"), "{fault:?}");
    assert!(fault.hint.contains("sulcus resend --destination pacs"), "{fault:?}");

    let Some(Event::ObjectEncoded { object, .. }) =
        site.log.iter().rev().map(|entry| entry.event.clone()).find(|event| event.name() == "ObjectEncoded")
    else {
        panic!("nothing was encoded");
    };
    site.event(Event::ResendAsked { object, destination: "pacs".into() });
    site.close();
    assert_eq!(to_node(&site).map(|delivery| (delivery.attempt, delivery.not_before)), Some((1, 0)));
    site.work();
    assert_eq!((site.faults().len(), to_node(&site)), (0, None));
    site.event(Event::ResendAsked { object, destination: "pacs".into() });
    site.close();
    assert_eq!(to_node(&site).map(|delivery| delivery.attempt), Some(1), "what was delivered is sent once more");
}

#[test]
fn an_attempt_that_a_crash_cut_off_is_not_the_last() {
    let mut site = with(trying(1));
    site.issued_once();
    site.close();
    let first = site.objects().remove(0);
    site.encode(&first, End::Done);
    site.close();
    let delivery = site.deliveries().into_iter().find(|delivery| delivery.row.destination == "pacs").unwrap();
    site.deliver(&delivery, End::Died);
    site.close();
    assert!(site.deliveries().iter().any(|delivery| delivery.row.destination == "pacs"));
}

#[test]
fn a_destination_that_takes_notes_is_told_what_no_longer_stands() {
    let mut site = with(taking(&[Role::Segmentation, Role::RejectionNote]));
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    assert_eq!(encoded(&site, 1), [Role::Segmentation, Role::Report].into(), "the first revision rejects nothing");
    site.slices(0, 0, 6..=6, Some(6));
    site.work();
    assert_eq!(encoded(&site, 2), [Role::Segmentation, Role::Report, Role::RejectionNote].into());
    site.withdraw(Scope::Series(series_uid(0, 0)));
    site.work();
    assert_eq!(encoded(&site, 3), [Role::Report, Role::RejectionNote].into());
    assert_eq!(site.faults(), [], "the node knows");
}

#[test]
fn a_destination_that_nothing_tells_of_a_withdrawal_is_a_fault_for_each_object() {
    let mut site = with(taking(&[Role::Segmentation, Role::StructuredReport]));
    site.slices(0, 0, 1..=5, Some(5));
    site.work();
    site.withdraw(Scope::Study(study_uid(0)));
    site.work();
    let reasons: BTreeSet<String> = site.faults_of("deliveries").into_iter().map(|fault| fault.reason).collect();
    let holds = |role: &str| format!("pacs holds the {role} of revision 1, whose report was withdrawn");
    assert_eq!(reasons, [holds("segmentation"), holds("structured-report")].into());
}
