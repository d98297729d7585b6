//! The values that pipeline rules may use, by DICOM keyword (PS3.6).

use std::collections::BTreeMap;

use dicom_core::{Tag, VR};

use super::functional_groups::Groups;
use crate::prescan::Prescan;

/// Keywords and where their values are: the first place that has one counts. None of them changes from slice to
/// slice of a volume. `ImageType` of an Enhanced object is its first frame's FrameType; `ImageTypeText` is private to
/// Siemens and is added where it exists.
pub const KEYWORDS: &[(&str, &[Tag])] = &[
    ("AcquisitionContrast", &[Tag(0x0008, 0x9209)]),
    ("AcquisitionMatrix", &[Tag(0x0018, 0x1310)]),
    ("BodyPartExamined", &[Tag(0x0018, 0x0015)]),
    ("ClinicalTrialProtocolID", &[Tag(0x0012, 0x0020)]),
    ("ClinicalTrialSiteID", &[Tag(0x0012, 0x0030)]),
    ("ClinicalTrialTimePointID", &[Tag(0x0012, 0x0050)]),
    ("Columns", &[Tag(0x0028, 0x0011)]),
    ("ComplexImageComponent", &[Tag(0x0008, 0x9208)]),
    ("ContrastBolusAgent", &[Tag(0x0018, 0x0010)]),
    ("DeviceSerialNumber", &[Tag(0x0018, 0x1000)]),
    ("EchoTime", &[Tag(0x0018, 0x9082), Tag(0x0018, 0x0081)]),
    ("EchoTrainLength", &[Tag(0x0018, 0x0091)]),
    ("FlipAngle", &[Tag(0x0018, 0x1314)]),
    ("ImagedNucleus", &[Tag(0x0018, 0x9100), Tag(0x0018, 0x0085)]),
    ("ImagingFrequency", &[Tag(0x0018, 0x9098), Tag(0x0018, 0x0084)]),
    ("InstitutionName", &[Tag(0x0008, 0x0080)]),
    ("InstitutionalDepartmentName", &[Tag(0x0008, 0x1040)]),
    ("InversionTime", &[Tag(0x0018, 0x9079), Tag(0x0018, 0x0082)]),
    ("MRAcquisitionType", &[Tag(0x0018, 0x0023)]),
    ("MagneticFieldStrength", &[Tag(0x0018, 0x0087)]),
    ("Manufacturer", &[Tag(0x0008, 0x0070)]),
    ("ManufacturerModelName", &[Tag(0x0008, 0x1090)]),
    ("Modality", &[Tag(0x0008, 0x0060)]),
    ("PatientPosition", &[Tag(0x0018, 0x5100)]),
    ("PixelBandwidth", &[Tag(0x0018, 0x0095)]),
    ("PixelSpacing", &[Tag(0x0028, 0x0030)]),
    ("ProtocolName", &[Tag(0x0018, 0x1030)]),
    ("ReceiveCoilName", &[Tag(0x0018, 0x1250)]),
    ("RepetitionTime", &[Tag(0x0018, 0x0080)]),
    ("Rows", &[Tag(0x0028, 0x0010)]),
    ("SOPClassUID", &[Tag(0x0008, 0x0016)]),
    ("ScanOptions", &[Tag(0x0018, 0x0022)]),
    ("ScanningSequence", &[Tag(0x0018, 0x0020)]),
    ("SequenceName", &[Tag(0x0018, 0x0024), Tag(0x0018, 0x9005)]),
    ("SequenceVariant", &[Tag(0x0018, 0x0021)]),
    ("SeriesDescription", &[Tag(0x0008, 0x103E)]),
    ("SeriesNumber", &[Tag(0x0020, 0x0011)]),
    ("SliceThickness", &[Tag(0x0018, 0x0050)]),
    ("SoftwareVersions", &[Tag(0x0018, 0x1020)]),
    ("SpacingBetweenSlices", &[Tag(0x0018, 0x0088)]),
    ("StationName", &[Tag(0x0008, 0x1010)]),
    ("StudyDate", &[Tag(0x0008, 0x0020)]),
    ("StudyDescription", &[Tag(0x0008, 0x1030)]),
    ("TransmitCoilName", &[Tag(0x0018, 0x1251)]),
    ("VolumetricProperties", &[Tag(0x0008, 0x9206)]),
];

/// The keywords that the header has a value for.
pub(super) fn keywords(scan: &Prescan<'_>) -> BTreeMap<String, String> {
    Groups::first(scan, |groups| {
        let mut found: BTreeMap<String, String> = KEYWORDS
            .iter()
            .filter_map(|(keyword, tags)| {
                let value = tags.iter().map(|tag| value(scan, groups, *tag)).find(|value| !value.is_empty())?;
                Some(((*keyword).to_owned(), value))
            })
            .collect();
        let image_type = groups.image_type();
        if !image_type.is_empty() {
            found.insert("ImageType".to_owned(), image_type);
        }
        if let Some(text) = groups.image_type_text() {
            found.insert("ImageTypeText".to_owned(), text);
        }
        found
    })
}

/// Text as in the file, binary numbers in decimal.
fn value(scan: &Prescan<'_>, groups: &Groups<'_, '_>, tag: Tag) -> String {
    let Some(element) = groups.find(tag) else { return String::new() };
    if scan.is_text(element) {
        return scan.text_of(element);
    }
    let numbers: Vec<String> = scan.numbers_of(element, VR::UN).iter().map(f64::to_string).collect();
    numbers.join("\\")
}
