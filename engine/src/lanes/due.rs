//! Which deliveries may be tried now: a decision of rows and time alone, so that hours of it can be tested in no time.

use sulcus_operators::rows::Millis;

use crate::graph::DeliveryToDo;

/// The deliveries that may be tried at `now`, in the order in which objects are made (a report after the segmentation that
/// it refers to), and when the next of the others may.
pub fn due<'a>(
    deliveries: impl IntoIterator<Item = &'a DeliveryToDo>,
    now: Millis,
) -> (Vec<&'a DeliveryToDo>, Option<Millis>) {
    let (mut due, later): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|row| row.not_before <= now);
    due.sort_by_key(|delivery| (delivery.row.revision, delivery.row.role));
    (due, later.into_iter().map(|row| row.not_before).min())
}
