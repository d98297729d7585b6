//! The codes that objects use (PS3.16).

use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::elements::text;

/// A coded entry: value, scheme, meaning (PS3.3 8.8).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code(pub(crate) &'static str, pub(crate) &'static str, pub(crate) &'static str);

/// Category of every segment (CID 7150).
pub(crate) const MORPHOLOGICALLY_ABNORMAL: Code = Code("49755003", "SCT", "Morphologically Abnormal Structure");
/// Type of every segment (CID 7159).
pub(crate) const LESION: Code = Code("52988006", "SCT", "Lesion");
/// Category and type of what lies around the segments of a label map (CID 7150, CID 7159).
pub(crate) const BACKGROUND: Code = Code("125040", "DCM", "Background");
/// Anatomic region of every segment (CID 4).
pub(crate) const BRAIN: Code = Code("12738006", "SCT", "Brain");
/// Family of the algorithm (CID 7162).
pub(crate) const ARTIFICIAL_INTELLIGENCE: Code = Code("123110", "DCM", "Artificial Intelligence");
/// How a frame was derived (CID 7203).
pub(crate) const SEGMENTATION: Code = Code("113076", "DCM", "Segmentation");
/// Why a source image is referenced (CID 7202).
pub(crate) const SOURCE_IMAGE: Code = Code("121322", "DCM", "Source image for image processing operation");
/// Title of a document of measurements (CID 7021).
pub(crate) const IMAGING_MEASUREMENT_REPORT: Code = Code("126000", "DCM", "Imaging Measurement Report");

impl Code {
    /// The item of a code sequence.
    pub(crate) fn item(self) -> InMemDicomObject {
        InMemDicomObject::from_element_iter([
            text(tags::CODE_VALUE, VR::SH, self.0),
            text(tags::CODING_SCHEME_DESIGNATOR, VR::SH, self.1),
            text(tags::CODE_MEANING, VR::LO, self.2),
        ])
    }
}
