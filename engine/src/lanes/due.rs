//! Which deliveries may be tried now: a decision of rows and time alone, so that hours of it can be tested in no time.

use sulcus_operators::rows::Millis;

use crate::graph::DeliveryToDo;

/// The deliveries that may be tried at `now`, by rank, and those of a report in the order in which objects are made (a
/// report after the segmentation that it refers to); and when the next of the others may.
pub fn due<'a>(
    deliveries: impl IntoIterator<Item = &'a DeliveryToDo>,
    now: Millis,
    rank: impl Fn(&DeliveryToDo) -> Millis,
) -> (Vec<&'a DeliveryToDo>, Option<Millis>) {
    let (due, later): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|delivery| delivery.not_before <= now);
    let mut due: Vec<_> = due.into_iter().map(|delivery| (rank(delivery), delivery)).collect();
    due.sort_by_key(|(rank, DeliveryToDo { row, .. })| (*rank, &row.study_uid, &row.pipeline, row.revision, row.role));
    (due.into_iter().map(|(_, delivery)| delivery).collect(), later.into_iter().map(|row| row.not_before).min())
}
