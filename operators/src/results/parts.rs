//! One blob for the files that an object consists of. Nearly always that is one file, and the blob is the file; only a
//! segmentation that no single object can hold has several.
//!
//! ```text
//! "SULCUS PARTS 1\n"  then for each part: its length, 8 bytes little endian, and its bytes
//! ```

/// No DICOM file begins so: its preamble is zero, or it begins with group 0002.
const MAGIC: &[u8] = b"SULCUS PARTS 1\n";

/// The blob of these parts.
pub fn join(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut blob = MAGIC.to_vec();
    for part in parts {
        blob.extend_from_slice(&(part.len() as u64).to_le_bytes());
        blob.extend_from_slice(&part);
    }
    blob
}

/// The parts of a blob, in order; none where it ends within one.
pub fn split(blob: &[u8]) -> Option<Vec<&[u8]>> {
    let Some(mut rest) = blob.strip_prefix(MAGIC) else { return Some(vec![blob]) };
    let mut parts = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<8>() {
        let (part, after) = behind.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        parts.push(part);
        rest = after;
    }
    rest.is_empty().then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_out_as_they_went_in() {
        let one = b"\0\0DICM".to_vec();
        assert_eq!(join(vec![one.clone()]), one);
        assert_eq!(split(&one), Some(vec![one.as_slice()]));
        let several = [one, Vec::new(), vec![7; 1000]];
        let blob = join(several.to_vec());
        assert_eq!(split(&blob), Some(several.iter().map(Vec::as_slice).collect()));
        assert_eq!(split(&blob[..blob.len() - 1]), None);
        assert_eq!(split(&blob[..MAGIC.len() + 3]), None);
    }
}
