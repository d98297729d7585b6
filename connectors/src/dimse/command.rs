//! DIMSE command sets (PS3.7 annex E): encoding and decoding of the few elements that C-ECHO, C-STORE, C-FIND and the
//! N-services of storage commitment and performed procedure steps use.
//!
//! A command set is always Implicit VR Little Endian and comes from outside, so decoding is bounded by the bytes present
//! and by [`MAX_COMMAND_BYTES`]. What a command means is for `service` (acceptor) and `scu` (requestor).

use thiserror::Error;

/// The longest command set taken, in bytes. Ours are under 300; the longest a standard service needs is a few thousand.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;

/// Command Field (0000,0100) of C-STORE-RQ.
pub const C_STORE_RQ: u16 = 0x0001;
/// Command Field (0000,0100) of C-FIND-RQ.
pub const C_FIND_RQ: u16 = 0x0020;
/// Command Field (0000,0100) of C-ECHO-RQ.
pub const C_ECHO_RQ: u16 = 0x0030;
/// Command Field (0000,0100) of N-EVENT-REPORT-RQ.
pub const N_EVENT_REPORT_RQ: u16 = 0x0100;
/// Command Field (0000,0100) of N-SET-RQ.
pub const N_SET_RQ: u16 = 0x0120;
/// Command Field (0000,0100) of N-ACTION-RQ.
pub const N_ACTION_RQ: u16 = 0x0130;
/// Command Field (0000,0100) of N-CREATE-RQ.
pub const N_CREATE_RQ: u16 = 0x0140;
/// Command Field (0000,0100) of C-CANCEL-RQ.
pub const C_CANCEL_RQ: u16 = 0x0FFF;
/// The bit of Command Field (0000,0100) that tells a response from its request.
pub const RESPONSE: u16 = 0x8000;

/// Command Data Set Type (0000,0800): no data set follows. Any other value means that one does.
const NO_DATA_SET: u16 = 0x0101;
/// Command Data Set Type (0000,0800) as we write it when a data set follows.
const DATA_SET_FOLLOWS: u16 = 0x0001;

/// Why bytes are not a command set.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// An element reaches past the end of the set.
    #[error("the command set is cut short at byte {at}")]
    CutShort {
        /// Offset of the element.
        at: usize,
    },
    /// An element of another group than 0000.
    #[error("element ({group:04X},{element:04X}) does not belong into a command set")]
    Foreign {
        /// Its group.
        group: u16,
        /// Its element number.
        element: u16,
    },
    /// A value that is not of its element's type.
    #[error("the value of command element (0000,{element:04X}) is malformed")]
    Malformed {
        /// Its element number.
        element: u16,
    },
    /// An element that every command carries is absent.
    #[error("command element (0000,{element:04X}) is missing")]
    Missing {
        /// Its element number.
        element: u16,
    },
}

/// A command set, request or response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Affected SOP Class UID (0000,0002).
    pub sop_class_uid: Option<String>,
    /// Requested SOP Class UID (0000,0003): of an N-ACTION or N-SET request.
    pub requested_sop_class_uid: Option<String>,
    /// Command Field (0000,0100).
    pub field: u16,
    /// Message ID (0000,0110): of a request.
    pub message_id: Option<u16>,
    /// Message ID Being Responded To (0000,0120): of a response or a cancel.
    pub responded_to: Option<u16>,
    /// Priority (0000,0700): of a C-STORE or C-FIND request.
    pub priority: Option<u16>,
    /// Whether Command Data Set Type (0000,0800) announces a data set.
    pub has_data_set: bool,
    /// Status (0000,0900): of a response.
    pub status: Option<u16>,
    /// Error Comment (0000,0902), at most 64 characters.
    pub error_comment: Option<String>,
    /// Affected SOP Instance UID (0000,1000).
    pub sop_instance_uid: Option<String>,
    /// Requested SOP Instance UID (0000,1001): of an N-ACTION or N-SET request.
    pub requested_sop_instance_uid: Option<String>,
    /// Event Type ID (0000,1002): of an N-EVENT-REPORT and its response.
    pub event_type: Option<u16>,
    /// Action Type ID (0000,1008): of an N-ACTION and its response.
    pub action_type: Option<u16>,
}

impl Command {
    /// Reads a whole command set. Elements that this crate has no use for are passed over; order is not checked.
    pub fn decode(bytes: &[u8]) -> Result<Command, CommandError> {
        let mut command = Command::default();
        let (mut field, mut data_set_type) = (None, None);
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let (head, tail) = rest.split_first_chunk::<8>().ok_or(CommandError::CutShort { at })?;
            let [g0, g1, e0, e1, l0, l1, l2, l3] = *head;
            let (group, element) = (u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1]));
            if group != 0 {
                return Err(CommandError::Foreign { group, element });
            }
            let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
            let (value, after) = tail.split_at_checked(length).ok_or(CommandError::CutShort { at })?;
            rest = after;
            match element {
                0x0002 => command.sop_class_uid = Some(text(element, value)?),
                0x0003 => command.requested_sop_class_uid = Some(text(element, value)?),
                0x0100 => field = Some(number(element, value)?),
                0x0110 => command.message_id = Some(number(element, value)?),
                0x0120 => command.responded_to = Some(number(element, value)?),
                0x0700 => command.priority = Some(number(element, value)?),
                0x0800 => data_set_type = Some(number(element, value)?),
                0x0900 => command.status = Some(number(element, value)?),
                0x0902 => command.error_comment = Some(String::from_utf8_lossy(value).trim().to_owned()),
                0x1000 => command.sop_instance_uid = Some(text(element, value)?),
                0x1001 => command.requested_sop_instance_uid = Some(text(element, value)?),
                0x1002 => command.event_type = Some(number(element, value)?),
                0x1008 => command.action_type = Some(number(element, value)?),
                _ => {}
            }
        }
        command.field = field.ok_or(CommandError::Missing { element: 0x0100 })?;
        command.has_data_set = data_set_type.ok_or(CommandError::Missing { element: 0x0800 })? != NO_DATA_SET;
        Ok(command)
    }

    /// Appends the command set to `out`, elements in ascending order, Command Group Length (0000,0000) first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        put_element(out, 0x0000, &[0; 4]);
        let body = out.len();
        put_text(out, 0x0002, self.sop_class_uid.as_deref(), 0);
        put_text(out, 0x0003, self.requested_sop_class_uid.as_deref(), 0);
        put_number(out, 0x0100, Some(self.field));
        put_number(out, 0x0110, self.message_id);
        put_number(out, 0x0120, self.responded_to);
        put_number(out, 0x0700, self.priority);
        put_number(out, 0x0800, Some(if self.has_data_set { DATA_SET_FOLLOWS } else { NO_DATA_SET }));
        put_number(out, 0x0900, self.status);
        put_text(out, 0x0902, self.error_comment.as_deref(), b' ');
        put_text(out, 0x1000, self.sop_instance_uid.as_deref(), 0);
        put_text(out, 0x1001, self.requested_sop_instance_uid.as_deref(), 0);
        put_number(out, 0x1002, self.event_type);
        put_number(out, 0x1008, self.action_type);
        let group_length = u32::try_from(out.len() - body).unwrap_or(u32::MAX);
        if let Some(value) = out.get_mut(start + 8..start + 12) {
            value.copy_from_slice(&group_length.to_le_bytes());
        }
    }

    /// The response to this request: its message id, its SOP class and instance, `status`, and no data set.
    pub fn response(&self, status: u16, comment: Option<&str>) -> Command {
        Command {
            // PS3.7 10.3: a response to an N-service names the requested class as the affected one.
            sop_class_uid: self.sop_class_uid.clone().or_else(|| self.requested_sop_class_uid.clone()),
            field: self.field | RESPONSE,
            responded_to: self.message_id,
            status: Some(status),
            error_comment: comment.map(|text| text.chars().filter(|c| !c.is_control()).take(64).collect()),
            sop_instance_uid: self.sop_instance_uid.clone().or_else(|| self.requested_sop_instance_uid.clone()),
            event_type: self.event_type,
            action_type: self.action_type,
            ..Command::default()
        }
    }
}

fn number(element: u16, value: &[u8]) -> Result<u16, CommandError> {
    <[u8; 2]>::try_from(value).map(u16::from_le_bytes).map_err(|_| CommandError::Malformed { element })
}

/// A UID, without its padding. Anything but printable ASCII, or more than 64 characters, is malformed.
fn text(element: u16, value: &[u8]) -> Result<String, CommandError> {
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    match std::str::from_utf8(value).map(str::trim) {
        Ok(uid) if uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(uid.to_owned()),
        _ => Err(CommandError::Malformed { element }),
    }
}

fn put_element(out: &mut Vec<u8>, element: u16, value: &[u8]) {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(value);
}

fn put_number(out: &mut Vec<u8>, element: u16, value: Option<u16>) {
    if let Some(value) = value {
        put_element(out, element, &value.to_le_bytes());
    }
}

fn put_text(out: &mut Vec<u8>, element: u16, value: Option<&str>, padding: u8) {
    let Some(value) = value else { return };
    let odd = value.len() % 2;
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len() + odd).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
    out.extend(std::iter::repeat_n(padding, odd));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn store_request() -> Command {
        Command {
            sop_class_uid: Some("1.2.840.10008.5.1.4.1.1.4".to_owned()),
            field: C_STORE_RQ,
            message_id: Some(7),
            priority: Some(0),
            has_data_set: true,
            sop_instance_uid: Some("1.2.3.45".to_owned()),
            ..Command::default()
        }
    }

    fn encoded(command: &Command) -> Vec<u8> {
        let mut bytes = Vec::new();
        command.encode(&mut bytes);
        bytes
    }

    #[test]
    fn an_echo_request_has_the_bytes_of_the_standard() {
        let echo = Command {
            sop_class_uid: Some("1.2.840.10008.1.1".to_owned()),
            field: C_ECHO_RQ,
            message_id: Some(1),
            ..Command::default()
        };
        let expected = b"\0\0\0\0\x04\0\0\0\x38\0\0\0\
            \0\0\x02\0\x12\0\0\x001.2.840.10008.1.1\0\
            \0\0\0\x01\x02\0\0\0\x30\0\0\0\x10\x01\x02\0\0\0\x01\0\0\0\0\x08\x02\0\0\0\x01\x01";
        assert_eq!(encoded(&echo), expected);
    }

    #[test]
    fn a_response_echoes_what_it_answers() {
        let response = store_request().response(0xA700, Some("disk\n full"));
        assert_eq!(response.field, 0x8001);
        assert_eq!((response.responded_to, response.message_id), (Some(7), None));
        assert_eq!(response.sop_instance_uid.as_deref(), Some("1.2.3.45"));
        assert_eq!(response.error_comment.as_deref(), Some("disk full"));
        assert!(!response.has_data_set);
        assert_eq!(Command::decode(&encoded(&response)).unwrap(), response);
    }

    #[test]
    fn a_set_without_its_field_or_from_another_group_is_refused() {
        assert_eq!(Command::decode(&[]), Err(CommandError::Missing { element: 0x0100 }));
        let foreign = b"\x08\0\x18\0\x02\0\0\x001\0";
        assert_eq!(Command::decode(foreign), Err(CommandError::Foreign { group: 8, element: 0x18 }));
        let huge = b"\0\0\x02\0\xff\xff\xff\xff";
        assert_eq!(Command::decode(huge), Err(CommandError::CutShort { at: 0 }));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Command::decode(&bytes);
        }

        #[test]
        fn a_command_cut_anywhere_or_changed_never_panics(cut in 0usize..200, at in 0usize..200, byte: u8) {
            let mut bytes = encoded(&store_request());
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(cut);
            let _ = Command::decode(&bytes);
        }

        #[test]
        fn what_is_encoded_decodes_to_the_same(
            class in "[0-9.]{0,64}", instance in "[0-9.]{0,64}", field: u16, id: u16, follows: bool, status: Option<u16>,
        ) {
            let command = Command {
                sop_class_uid: Some(class), sop_instance_uid: Some(instance), field, message_id: Some(id),
                has_data_set: follows, status, ..Command::default()
            };
            prop_assert_eq!(Command::decode(&encoded(&command)).unwrap(), command);
        }
    }
}
