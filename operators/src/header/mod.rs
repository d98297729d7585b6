//! Headers: the whole object for those who copy from it, the facts of an instance for those who reason about it.
//!
//! Everything goes through `prescan` first. Pixels are left out here; `pixels` reads them.

mod facts;
mod functional_groups;
mod keywords;
mod vendor;

use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::{
    EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN,
};

pub use facts::{FactsError, facts};
pub use functional_groups::{Frame, FramesError, frames};
pub use keywords::KEYWORDS;

use crate::prescan::{EXPLICIT_BE, IMPLICIT_LE, Limits, Refusal, prescan};
use crate::volume::Encoded;

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Refused before parsing.
    #[error("the header was refused")]
    Refused(#[from] Refusal),
    /// dicom-rs could not parse it.
    #[error("the header cannot be parsed; validate the object with its sender")]
    Parse(#[from] Box<dicom_object::ReadError>),
}

/// Parses everything but PixelData. Sequences of VR UN with undefined length come out as plain bytes (see
/// [`Prescan::without_pixels`](crate::prescan::Prescan::without_pixels)).
///
/// # Errors
/// [`HeaderError`] where the bytes are refused or cannot be parsed.
pub fn read(encoded: Encoded<'_>) -> Result<InMemDicomObject, HeaderError> {
    read_within(encoded, &Limits::default())
}

/// [`read`] with limits of one's own.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_within(encoded: Encoded<'_>, limits: &Limits) -> Result<InMemDicomObject, HeaderError> {
    let scan = prescan(encoded, limits)?;
    let syntax = match encoded.transfer_syntax {
        IMPLICIT_LE => IMPLICIT_VR_LITTLE_ENDIAN.erased(),
        EXPLICIT_BE => EXPLICIT_VR_BIG_ENDIAN.erased(),
        _ => EXPLICIT_VR_LITTLE_ENDIAN.erased(),
    };
    Ok(InMemDicomObject::read_dataset_with_ts(&*scan.without_pixels(), &syntax).map_err(Box::new)?)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
