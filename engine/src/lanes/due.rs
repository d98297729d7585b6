//! Which deliveries may be tried now: a decision of rows and time alone, so that hours of it can be tested in no time.

use sulcus_operators::rows::Millis;

use crate::graph::DeliveryToDo;

/// The deliveries that may be tried at `now`, by rank, and those of a report in the order in which objects are made (a
/// report after the segmentation that it refers to); and when the next of the others may. One that would wait for more than
/// `longest`, the longest pause of any destination, got its time from a clock that was set back since: it waits no more.
pub fn due<'a>(
    deliveries: impl IntoIterator<Item = &'a DeliveryToDo>,
    now: Millis,
    longest: Millis,
    rank: impl Fn(&DeliveryToDo) -> Millis,
) -> (Vec<&'a DeliveryToDo>, Option<Millis>) {
    let may_be_tried = |wait: Millis| wait <= 0 || wait > longest;
    let (due, later): (Vec<_>, Vec<_>) =
        deliveries.into_iter().partition(|delivery| may_be_tried(delivery.not_before.saturating_sub(now)));
    let mut due: Vec<_> = due.into_iter().map(|delivery| (rank(delivery), delivery)).collect();
    due.sort_by_key(|(rank, DeliveryToDo { row, .. })| (*rank, &row.study_uid, &row.pipeline, row.revision, row.role));
    (due.into_iter().map(|(_, delivery)| delivery).collect(), later.into_iter().map(|row| row.not_before).min())
}

#[cfg(test)]
mod tests {
    use sulcus_operators::{
        digest::Digest,
        rows::{DeliveryRow, Role},
    };

    use super::*;

    fn until(not_before: Millis) -> DeliveryToDo {
        let row = DeliveryRow {
            object: Digest::default(),
            destination: "pacs".to_owned(),
            study_uid: "1.2.3".to_owned(),
            pipeline: "lesions".to_owned(),
            revision: 1,
            role: Role::Segmentation,
            uid: "1.2.3.4".to_owned(),
            bytes: Digest::default(),
        };
        DeliveryToDo { row, attempt: 2, not_before }
    }

    #[test]
    fn a_delivery_waits_for_its_pause_and_no_longer_where_the_clock_is_set_back() {
        const HOUR: Millis = 3_600_000;
        let (failed_at, pause, longest) = (1_000 * HOUR, 60_000, 300_000);
        let delivery = [until(failed_at + pause)];
        let may_be_tried = |now| due(&delivery, now, longest, |_| 0).0.len() == 1;
        assert!(!may_be_tried(failed_at), "it waits");
        assert!(!may_be_tried(failed_at + pause - longest), "a clock may be corrected by a little");
        assert!(may_be_tried(failed_at + pause), "then it is tried");
        assert!(may_be_tried(failed_at - HOUR), "an hour back");
        assert!(may_be_tried(Millis::MIN), "as far back as can be");
        assert!(may_be_tried(Millis::MAX), "all that are to do");
        assert_eq!(due(&delivery, failed_at, longest, |_| 0).1, Some(failed_at + pause));
    }
}
