//! MR Image Storage (PS3.3 A.4): one object a slice.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::WriteError;
use dicom_object::mem::InMemElement;

use super::elements::{decimals, integer, pixels, text};
use super::{MR_IMAGE, PhantomInstance, Series, Vendor, shared};

/// The object of the slice at place `at`.
pub(super) fn instance(series: &Series<'_>, at: usize) -> Result<PhantomInstance, Box<WriteError>> {
    let sop_instance_uid = series.sop_instance_uid(at);
    let protocol = shared::protocol(series.phantom);
    let spacing = series.phantom.spec.spacing_mm;
    let mut elements = shared::elements(series, MR_IMAGE, &sop_instance_uid);
    elements.extend([
        text(tags::ACQUISITION_DATE, VR::DA, shared::DATE),
        text(tags::ACQUISITION_TIME, VR::TM, series.time),
        text(tags::SCANNING_SEQUENCE, VR::CS, "GR\\IR"),
        text(tags::SEQUENCE_VARIANT, VR::CS, "SK\\SP\\MP"),
        text(tags::SCAN_OPTIONS, VR::CS, ""),
        text(tags::MR_ACQUISITION_TYPE, VR::CS, "3D"),
        text(tags::SEQUENCE_NAME, VR::SH, shared::sequence_name(series.scan.vendor)),
        decimals(tags::SLICE_THICKNESS, &[series.thickness_mm]),
        decimals(tags::REPETITION_TIME, &[protocol.repetition * 1000.0]),
        decimals(tags::ECHO_TIME, &[protocol.echo_time * 1000.0]),
        decimals(tags::IMAGING_FREQUENCY, &[shared::frequency(series.phantom)]),
        text(tags::IMAGED_NUCLEUS, VR::SH, "1H"),
        integer(tags::ECHO_TRAIN_LENGTH, 1),
        decimals(tags::PIXEL_BANDWIDTH, &[240.0]),
        decimals(tags::FLIP_ANGLE, &[series.flip]),
        integer(tags::INSTANCE_NUMBER, at + 1),
        decimals(tags::IMAGE_POSITION_PATIENT, &series.position(at)),
        decimals(tags::IMAGE_ORIENTATION_PATIENT, &series.orientation()),
        integer(tags::IMAGES_IN_ACQUISITION, series.slices.len()),
        decimals(tags::PIXEL_SPACING, &[spacing[1], spacing[0]]),
        decimals(tags::WINDOW_CENTER, &[2048.0]),
        decimals(tags::WINDOW_WIDTH, &[4096.0]),
        pixels(series.stored(at)),
    ]);
    // Type 2C: an image of both inversions has the attribute without a value.
    elements.push(decimals(tags::INVERSION_TIME, series.inversion_ms.as_slice()));
    if series.scan.vendor == Vendor::Philips {
        elements.extend([
            decimals(tags::RESCALE_INTERCEPT, &[0.0]),
            decimals(tags::RESCALE_SLOPE, &[series.slope()]),
            text(tags::RESCALE_TYPE, VR::LO, "normalized"),
            text(Tag(0x2001, 0x0010), VR::LO, "Philips Imaging DD 001"),
            DataElement::new(Tag(0x2001, 0x1018), VR::SL, PrimitiveValue::from(series.slices.len() as i32)),
        ]);
        elements.extend(scale(series));
    }
    shared::encode(elements, MR_IMAGE, sop_instance_uid)
}

/// The private attributes from which floating point values follow: FP = (PV RS + RI) / (RS SS).
pub(super) fn scale(series: &Series<'_>) -> [InMemElement; 3] {
    let float = |element, value: f32| DataElement::new(Tag(0x2005, element), VR::FL, PrimitiveValue::from(value));
    [
        text(Tag(0x2005, 0x0010), VR::LO, "Philips MR Imaging DD 001"),
        float(0x100D, 0.0),
        float(0x100E, series.scale_slope()),
    ]
}
