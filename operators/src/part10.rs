//! DICOM files (PS3.10): taking the data set out of one, and wrapping a data set into one.
//!
//! Only group 0002 is read here. The data set itself is looked at by `prescan`.

/// Implementation Class UID written into files, under `2.25.` (PS3.5 B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.294076595006788012448296663233243212134";
/// Implementation Version Name written into files.
pub const IMPLEMENTATION_VERSION: &str = "SULCUS_0_1";

const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";

/// A file taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part10<'a> {
    /// TransferSyntaxUID (0002,0010); guessed from the first element where the file has no group 0002.
    pub transfer_syntax: String,
    /// MediaStorageSOPClassUID (0002,0002); empty where missing.
    pub sop_class_uid: String,
    /// MediaStorageSOPInstanceUID (0002,0003); empty where missing.
    pub sop_instance_uid: String,
    /// The data set's bytes, without preamble and group 0002.
    pub data_set: &'a [u8],
}

/// Why bytes are not a DICOM file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Part10Error {
    /// Neither a file header nor a data set.
    #[error("the bytes are neither a DICOM file nor a bare data set; check that the file is DICOM")]
    NotDicom,
    /// Group 0002 ends in the middle of an element.
    #[error("the file ends inside its header (group 0002); send the file again")]
    Truncated,
    /// Group 0002 names no transfer syntax.
    #[error("the file's header names no transfer syntax (0002,0010); write the file again with one")]
    NoTransferSyntax,
}

/// Takes a file apart. A missing preamble is tolerated, and so is a bare data set in implicit VR little endian or
/// explicit VR of either byte order.
pub fn split(bytes: &[u8]) -> Result<Part10<'_>, Part10Error> {
    let rest = if bytes.get(128..132) == Some(b"DICM") {
        &bytes[132..]
    } else if bytes.starts_with(b"DICM") {
        &bytes[4..]
    } else {
        bytes
    };
    if !rest.starts_with(&[2, 0]) {
        return bare(rest);
    }
    let mut file = Part10 {
        transfer_syntax: String::new(),
        sop_class_uid: String::new(),
        sop_instance_uid: String::new(),
        data_set: &[],
    };
    let mut at = 0;
    // The group's length is not trusted: the group ends where another group begins.
    while rest.get(at..at + 2) == Some(&[2, 0]) {
        let header = rest.get(at..at + 8).ok_or(Part10Error::Truncated)?;
        let long = matches!(&header[4..6], b"OB" | b"OW" | b"UN" | b"UT" | b"SQ");
        let (value, length) = if long {
            let length = rest.get(at + 8..at + 12).ok_or(Part10Error::Truncated)?;
            (at + 12, u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize)
        } else {
            (at + 8, usize::from(u16::from_le_bytes([header[6], header[7]])))
        };
        let end = value.checked_add(length).ok_or(Part10Error::Truncated)?;
        let text = rest.get(value..end).ok_or(Part10Error::Truncated)?;
        match u16::from_le_bytes([header[2], header[3]]) {
            0x0002 => file.sop_class_uid = uid(text),
            0x0003 => file.sop_instance_uid = uid(text),
            0x0010 => file.transfer_syntax = uid(text),
            _ => {}
        }
        at = end;
    }
    if file.transfer_syntax.is_empty() {
        return Err(Part10Error::NoTransferSyntax);
    }
    file.data_set = rest.get(at..).unwrap_or_default();
    Ok(file)
}

/// A data set without a header: its first element is in group 0004 to 0010, and its VR tells the encoding.
fn bare(bytes: &[u8]) -> Result<Part10<'_>, Part10Error> {
    let header = bytes.get(..8).ok_or(Part10Error::NotDicom)?;
    let explicit = header[4].is_ascii_uppercase() && header[5].is_ascii_uppercase();
    let transfer_syntax = match [header[0], header[1]] {
        [4..=16, 0] if explicit => EXPLICIT_LE,
        [0, 4..=16] if explicit => EXPLICIT_BE,
        [4..=16, 0] => IMPLICIT_LE,
        _ => return Err(Part10Error::NotDicom),
    };
    Ok(Part10 {
        transfer_syntax: transfer_syntax.to_owned(),
        sop_class_uid: String::new(),
        sop_instance_uid: String::new(),
        data_set: bytes,
    })
}

fn uid(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()
}

/// A file around a data set: preamble, group 0002 with its length, then the bytes as they are.
pub fn wrap(transfer_syntax: &str, sop_class_uid: &str, sop_instance_uid: &str, data_set: &[u8]) -> Vec<u8> {
    let mut file = begin(transfer_syntax, sop_class_uid, sop_instance_uid);
    file.reserve_exact(data_set.len());
    file.extend_from_slice(data_set);
    file
}

/// What comes before the data set in a file: preamble and group 0002.
pub(crate) fn begin(transfer_syntax: &str, sop_class_uid: &str, sop_instance_uid: &str) -> Vec<u8> {
    let mut group = Vec::with_capacity(256);
    group.extend_from_slice(&[2, 0, 1, 0, b'O', b'B', 0, 0, 2, 0, 0, 0, 0, 1]);
    for (element, vr, text, padding) in [
        (0x02, b"UI", sop_class_uid, 0),
        (0x03, b"UI", sop_instance_uid, 0),
        (0x10, b"UI", transfer_syntax, 0),
        (0x12, b"UI", IMPLEMENTATION_CLASS_UID, 0),
        (0x13, b"SH", IMPLEMENTATION_VERSION, b' '),
    ] {
        // A UID has at most 64 characters; what is longer was refused long before.
        let mut value = text.as_bytes()[..text.len().min(64)].to_vec();
        if value.len() % 2 == 1 {
            value.push(padding);
        }
        group.extend_from_slice(&[2, 0, element, 0]);
        group.extend_from_slice(vr);
        group.extend_from_slice(&(value.len() as u16).to_le_bytes());
        group.extend_from_slice(&value);
    }
    let mut file = Vec::with_capacity(144 + group.len());
    file.resize(128, 0);
    file.extend_from_slice(b"DICM");
    file.extend_from_slice(&[2, 0, 0, 0, b'U', b'L', 4, 0]);
    file.extend_from_slice(&(group.len() as u32).to_le_bytes());
    file.extend_from_slice(&group);
    file
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Digest;

    const DATA_SET: &[u8] = &[8, 0, 5, 0, b'C', b'S', 2, 0, b'A', b' '];

    #[test]
    fn what_is_wrapped_comes_out_again() {
        let file = wrap(EXPLICIT_LE, "1.2.3", "1.2.3.4", DATA_SET);
        let back = split(&file).unwrap();
        assert_eq!((back.sop_class_uid.as_str(), back.sop_instance_uid.as_str()), ("1.2.3", "1.2.3.4"));
        assert_eq!((back.transfer_syntax.as_str(), back.data_set), (EXPLICIT_LE, DATA_SET));
    }

    #[test]
    fn dicom_rs_reads_what_is_wrapped() {
        let file = wrap(EXPLICIT_LE, "1.2.3", "1.2.3.4", DATA_SET);
        let object = dicom_object::from_reader(file.as_slice()).unwrap();
        assert_eq!(object.meta().implementation_class_uid.trim_end_matches('\0'), IMPLEMENTATION_CLASS_UID);
        assert_eq!(object.meta().media_storage_sop_instance_uid.trim_end_matches('\0'), "1.2.3.4");
    }

    #[test]
    fn the_implementation_class_is_frozen() {
        assert_eq!(Digest::of(b"sulcus implementation class").uid(), IMPLEMENTATION_CLASS_UID);
    }

    #[test]
    fn a_missing_preamble_is_tolerated() {
        let file = wrap(IMPLICIT_LE, "1.2.3", "1.2.3.4", DATA_SET);
        assert_eq!(split(&file[128..]).unwrap(), split(&file).unwrap());
        assert_eq!(split(&file[132..]).unwrap(), split(&file).unwrap());
    }

    #[test]
    fn a_bare_data_set_tells_its_encoding() {
        assert_eq!(split(DATA_SET).unwrap().transfer_syntax, EXPLICIT_LE);
        assert_eq!(split(&[0, 8, 0, 5, b'C', b'S', 0, 0]).unwrap().transfer_syntax, EXPLICIT_BE);
        assert_eq!(split(&[8, 0, 5, 0, 0, 0, 0, 0]).unwrap().transfer_syntax, IMPLICIT_LE);
        assert_eq!(split(b"PNG is not DICOM"), Err(Part10Error::NotDicom));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, cut in 0usize..400, at in 0usize..400, value: u8) {
            let _ = split(&bytes);
            bytes = wrap(EXPLICIT_LE, "1.2.3", "1.2.3.4", DATA_SET);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(cut);
            let _ = split(&bytes);
        }
    }
}
