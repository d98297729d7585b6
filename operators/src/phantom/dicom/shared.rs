//! What every object of the study carries: patient, study, series, equipment, pixel format.

use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;
use dicom_object::{InMemDicomObject, WriteError};
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;

use super::super::signal::Protocol;
use super::elements::{decimals, integer, short, text};
use super::{EXPLICIT_LE, Field, Phantom, PhantomInstance, ScanSpec, Series, Vendor, digest_uid};

/// The day of every phantom scan.
pub(super) const DATE: &str = "20260105";

pub(super) fn protocol(phantom: &Phantom) -> Protocol {
    Protocol::of(phantom.spec.field, phantom.spec.sequence)
}

/// A UID of the study, from everything that changes its bytes.
pub(super) fn uid(phantom: &Phantom, scan: &ScanSpec, what: &[&str]) -> String {
    let scanned = format!("{:?} {:?}", phantom.spec, scan);
    let mut parts: Vec<&[u8]> = vec![scanned.as_bytes()];
    parts.extend(what.iter().map(|part| part.as_bytes()));
    digest_uid(&parts)
}

/// The elements of patient, study, series, frame of reference, equipment and pixel format.
pub(super) fn elements(series: &Series<'_>, sop_class_uid: &str, sop_instance_uid: &str) -> Vec<InMemElement> {
    let Series { phantom, scan, .. } = series;
    let study = |what: &str| uid(phantom, scan, &["study", what]);
    let seed = phantom.spec.seed;
    let tesla = phantom.spec.field.tesla();
    let (manufacturer, model, software) = match (scan.vendor, phantom.spec.field) {
        (Vendor::Siemens, Field::T3) => ("SIEMENS", "MAGNETOM Prisma_fit", "syngo MR E11"),
        (Vendor::Siemens, Field::T7) => ("SIEMENS", "MAGNETOM Terra", "syngo MR E12"),
        (Vendor::Philips, Field::T3) => ("Philips Medical Systems", "Ingenia Elition X", "5.7.1"),
        (Vendor::Philips, Field::T7) => ("Philips Medical Systems", "Achieva 7T", "5.7.1"),
    };
    let protocol_name = super::scan_name(phantom, scan.vendor);
    let number = usize::from(series.number) * if scan.vendor == Vendor::Philips { 100 } else { 1 }
        + usize::from(scan.vendor == Vendor::Philips);
    vec![
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        text(tags::IMAGE_TYPE, VR::CS, series.image_type),
        text(tags::SOP_CLASS_UID, VR::UI, sop_class_uid),
        text(tags::SOP_INSTANCE_UID, VR::UI, sop_instance_uid),
        text(tags::STUDY_DATE, VR::DA, DATE),
        text(tags::SERIES_DATE, VR::DA, DATE),
        text(tags::CONTENT_DATE, VR::DA, DATE),
        text(tags::STUDY_TIME, VR::TM, "101000.000000"),
        text(tags::SERIES_TIME, VR::TM, series.time),
        text(tags::CONTENT_TIME, VR::TM, series.time),
        text(tags::ACCESSION_NUMBER, VR::SH, format!("PH{:06}", seed % 1_000_000)),
        text(tags::MODALITY, VR::CS, "MR"),
        text(tags::MANUFACTURER, VR::LO, manufacturer),
        text(tags::INSTITUTION_NAME, VR::LO, "Phantom"),
        text(tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
        text(tags::STATION_NAME, VR::SH, "PHANTOM"),
        text(tags::STUDY_DESCRIPTION, VR::LO, "Phantom head, cortical lesions"),
        text(tags::SERIES_DESCRIPTION, VR::LO, series.description.clone()),
        text(tags::MANUFACTURER_MODEL_NAME, VR::LO, model),
        text(tags::PATIENT_NAME, VR::PN, format!("Phantom^Seed {seed}")),
        text(tags::PATIENT_ID, VR::LO, format!("PHANTOM-{seed}")),
        text(tags::PATIENT_BIRTH_DATE, VR::DA, ""),
        text(tags::PATIENT_SEX, VR::CS, "O"),
        text(tags::BODY_PART_EXAMINED, VR::CS, "HEAD"),
        text(tags::DEVICE_SERIAL_NUMBER, VR::LO, "0"),
        text(tags::SOFTWARE_VERSIONS, VR::LO, software),
        text(tags::PROTOCOL_NAME, VR::LO, protocol_name),
        decimals(tags::MAGNETIC_FIELD_STRENGTH, &[tesla]),
        text(tags::PATIENT_POSITION, VR::CS, "HFS"),
        text(tags::STUDY_INSTANCE_UID, VR::UI, study("uid")),
        text(tags::SERIES_INSTANCE_UID, VR::UI, series.uid("series")),
        text(tags::STUDY_ID, VR::SH, "1"),
        integer(tags::SERIES_NUMBER, number),
        integer(tags::ACQUISITION_NUMBER, 1),
        text(tags::FRAME_OF_REFERENCE_UID, VR::UI, study("frame of reference")),
        text(tags::POSITION_REFERENCE_INDICATOR, VR::LO, ""),
        short(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        short(tags::ROWS, phantom.grid.size[1] as u16),
        short(tags::COLUMNS, phantom.grid.size[0] as u16),
        short(tags::BITS_ALLOCATED, 16),
        short(tags::BITS_STORED, 12),
        short(tags::HIGH_BIT, 11),
        short(tags::PIXEL_REPRESENTATION, 0),
    ]
}

/// The name of the pulse sequence.
pub(super) fn sequence_name(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Siemens => "*tfl3d1_16ns",
        Vendor::Philips => "T1TFE",
    }
}

/// Precession frequency of hydrogen, MHz.
pub(super) fn frequency(phantom: &Phantom) -> f64 {
    42.577_478 * phantom.spec.field.tesla()
}

/// Encodes the data set.
pub(super) fn encode(
    elements: Vec<InMemElement>,
    sop_class_uid: &str,
    sop_instance_uid: String,
) -> Result<PhantomInstance, Box<WriteError>> {
    let object = InMemDicomObject::from_element_iter(elements);
    let mut data_set = Vec::new();
    object.write_dataset_with_ts(&mut data_set, &EXPLICIT_VR_LITTLE_ENDIAN.erased()).map_err(Box::new)?;
    Ok(PhantomInstance {
        sop_class_uid: sop_class_uid.to_owned(),
        sop_instance_uid,
        transfer_syntax: EXPLICIT_LE.to_owned(),
        data_set,
    })
}
