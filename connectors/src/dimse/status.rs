//! Status codes of responses (PS3.4 B.2.3, PS3.7 annex C), and which one an inbox's answer becomes.
//!
//! What is durably kept is answered with success or a warning, so that no sender retries for ever what is held in
//! quarantine; what is not kept is answered with a failure.

use crate::inbox::Stored;

/// Success.
pub const SUCCESS: u16 = 0x0000;
/// Invalid attribute value: a step with a state that it may not have.
pub const INVALID_ATTRIBUTE: u16 = 0x0106;
/// Processing failure.
pub const PROCESSING_FAILURE: u16 = 0x0110;
/// Duplicate SOP instance: a step that was begun before.
pub const DUPLICATE_SOP_INSTANCE: u16 = 0x0111;
/// No such SOP instance: an N-service named another than the well-known one, or a step that was never begun.
pub const NO_SUCH_SOP_INSTANCE: u16 = 0x0112;
/// No such event type.
pub const NO_SUCH_EVENT_TYPE: u16 = 0x0113;
/// Invalid argument value: the report of a transaction that was never begun here.
pub const INVALID_ARGUMENT: u16 = 0x0115;
/// No such SOP class.
pub const NO_SUCH_SOP_CLASS: u16 = 0x0118;
/// Mistyped argument: a report that cannot be read.
pub const MISTYPED_ARGUMENT: u16 = 0x0212;
/// Resource limitation: a report longer than any that was asked for.
pub const RESOURCE_LIMITATION: u16 = 0x0213;
/// Refused: SOP class not supported.
pub const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;
/// No such action: an N-ACTION of another type than a request.
pub const NO_SUCH_ACTION_TYPE: u16 = 0x0123;
/// Unrecognized operation.
pub const UNRECOGNIZED_OPERATION: u16 = 0x0211;
/// Refused: out of resources.
pub const OUT_OF_RESOURCES: u16 = 0xA700;
/// Warning: coercion of data elements. For an object whose UID is already held with other bytes.
pub const COERCION: u16 = 0xB000;
/// Warning: data set does not match SOP class. For an object held in quarantine.
pub const DATA_SET_DOES_NOT_MATCH: u16 = 0xB007;
/// Error: cannot understand.
pub const CANNOT_UNDERSTAND: u16 = 0xC000;

/// Whether the receiver keeps the object: success, or a warning.
pub fn is_kept(status: u16) -> bool {
    status == SUCCESS || status & 0xF000 == 0xB000 || status == 0x0001
}

/// The status and the Error Comment (0000,0902) for what became of an object. Comments are fixed texts: a reason may quote
/// the object, and what it quotes is nobody's business on the way.
pub fn of(stored: &Stored) -> (u16, Option<&'static str>) {
    match stored {
        Stored::Kept { .. } | Stored::Repeated { .. } => (SUCCESS, None),
        Stored::Conflict => (COERCION, Some("UID already held with other content, this one is in quarantine")),
        Stored::Quarantined { .. } => (DATA_SET_DOES_NOT_MATCH, Some("kept in quarantine, it cannot be understood")),
        Stored::OutOfResources { .. } => (OUT_OF_RESOURCES, Some("storage or a limit is exhausted")),
        Stored::Failed { .. } => (PROCESSING_FAILURE, Some("the object could not be stored")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_never_answered_with_a_failure() {
        let series_uid = "1.2".to_owned();
        let reason = String::new();
        let kept = [
            Stored::Kept { series_uid: series_uid.clone() },
            Stored::Repeated { series_uid },
            Stored::Conflict,
            Stored::Quarantined { reason: reason.clone() },
        ];
        let lost = [Stored::OutOfResources { reason: reason.clone() }, Stored::Failed { reason }];
        assert!(kept.iter().all(|stored| is_kept(of(stored).0)));
        assert!(lost.iter().all(|stored| !is_kept(of(stored).0)));
        for stored in kept.iter().chain(&lost) {
            assert!(of(stored).1.is_none_or(|comment| comment.len() <= 64));
        }
    }
}
