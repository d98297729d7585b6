//! Arrays that NumPy saved (`.npy`, NEP 1), as far as the oracle's cases need: C order; f4, f2 and u1.

use std::path::Path;

use ndarray::{ArrayD, IxDyn};

use crate::peer::PeerError;

/// Reads an array; every number becomes an f32.
///
/// # Errors
/// Where the file is missing or of another kind.
pub fn read(path: &Path) -> Result<ArrayD<f32>, PeerError> {
    let bytes = std::fs::read(path).map_err(|error| PeerError::failed(format!("{}: {error}", path.display())))?;
    parse(&bytes).ok_or_else(|| PeerError::failed(format!("{} is no array that is read here", path.display())))
}

fn parse(bytes: &[u8]) -> Option<ArrayD<f32>> {
    let rest = bytes.strip_prefix(b"\x93NUMPY\x01\x00")?;
    let (length, rest) = rest.split_first_chunk()?;
    let (header, values) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let header = std::str::from_utf8(header).ok()?;
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest);
    if !after("'fortran_order': ")?.starts_with("False") {
        return None;
    }
    let shape: Vec<usize> = after("'shape': (")?
        .split_once(')')?
        .0
        .split(',')
        .map(str::trim)
        .filter(|length| !length.is_empty())
        .map(|length| length.parse().ok())
        .collect::<Option<_>>()?;
    let values: Vec<f32> = match after("'descr': '")?.split_once('\'')?.0 {
        "<f4" => values.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        "<f2" => values.as_chunks().0.iter().map(|word| half::f16::from_le_bytes(*word).to_f32()).collect(),
        "|u1" => values.iter().map(|byte| f32::from(*byte)).collect(),
        _ => return None,
    };
    ArrayD::from_shape_vec(IxDyn(&shape), values).ok()
}
