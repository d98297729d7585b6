//! Enhanced MR Image Storage (PS3.3 A.36.2): one object a series, with shared and per-frame functional groups.

use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;
use dicom_object::{InMemDicomObject, WriteError};

use super::elements::{code, decimals, double, group, integer, long, pixels, sequence, short, text};
use super::{ENHANCED_MR_IMAGE, PhantomInstance, Series, Vendor, classic, shared};

/// The object of the whole series.
pub(super) fn instance(series: &Series<'_>) -> Result<PhantomInstance, Box<WriteError>> {
    let sop_instance_uid = series.sop_instance_uid(0);
    let protocol = shared::protocol(series.phantom);
    let organization = series.uid("dimension organization");
    let index = |pointer| {
        InMemDicomObject::from_element_iter([
            text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization.clone()),
            DataElement::new(tags::DIMENSION_INDEX_POINTER, VR::AT, PrimitiveValue::from(pointer)),
            DataElement::new(
                tags::FUNCTIONAL_GROUP_POINTER,
                VR::AT,
                PrimitiveValue::from(tags::FRAME_CONTENT_SEQUENCE),
            ),
        ])
    };
    let frames = series.slices.len();
    let mut elements = shared::elements(series, ENHANCED_MR_IMAGE, &sop_instance_uid);
    elements.extend(description());
    if series.image_type.starts_with("ORIGINAL") {
        elements.extend(pulse_sequence(series));
    }
    elements.extend([
        text(tags::ACQUISITION_DATE_TIME, VR::DT, format!("{}{}", shared::DATE, series.time)),
        double(tags::ACQUISITION_DURATION, protocol.repetition * f64::from(protocol.flips)),
        text(tags::CONTENT_QUALIFICATION, VR::CS, "RESEARCH"),
        text(tags::K_SPACE_FILTERING, VR::CS, "NONE"),
        text(tags::RESONANT_NUCLEUS, VR::CS, "1H"),
        text(tags::APPLICABLE_SAFETY_STANDARD_AGENCY, VR::CS, "IEC"),
        integer(tags::INSTANCE_NUMBER, 1),
        sequence(tags::ACQUISITION_CONTEXT_SEQUENCE, Vec::new()),
        group(
            tags::DIMENSION_ORGANIZATION_SEQUENCE,
            vec![text(tags::DIMENSION_ORGANIZATION_UID, VR::UI, organization.clone())],
        ),
        sequence(tags::DIMENSION_INDEX_SEQUENCE, vec![index(tags::STACK_ID), index(tags::IN_STACK_POSITION_NUMBER)]),
        integer(tags::NUMBER_OF_FRAMES, frames),
        text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
        text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"),
        text(tags::PRESENTATION_LUT_SHAPE, VR::CS, "IDENTITY"),
        group(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, shared_groups(series)),
        sequence(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            (0..frames).map(|at| InMemDicomObject::from_element_iter(frame_groups(series, at))).collect(),
        ),
        pixels((0..frames).flat_map(|at| series.stored(at)).collect()),
    ]);
    shared::encode(elements, ENHANCED_MR_IMAGE, sop_instance_uid)
}

/// The MR Pulse Sequence module (PS3.3 C.8.13.4), which a derived image must not have.
fn pulse_sequence(series: &Series<'_>) -> [InMemElement; 16] {
    [
        text(tags::MR_ACQUISITION_TYPE, VR::CS, "3D"),
        text(tags::PULSE_SEQUENCE_NAME, VR::SH, shared::sequence_name(series.scan.vendor)),
        text(tags::ECHO_PULSE_SEQUENCE, VR::CS, "GRADIENT"),
        text(tags::MULTI_PLANAR_EXCITATION, VR::CS, "NO"),
        text(tags::PHASE_CONTRAST, VR::CS, "NO"),
        text(tags::TIME_OF_FLIGHT_CONTRAST, VR::CS, "NO"),
        text(tags::STEADY_STATE_PULSE_SEQUENCE, VR::CS, "NONE"),
        text(tags::ECHO_PLANAR_PULSE_SEQUENCE, VR::CS, "NO"),
        text(tags::SATURATION_RECOVERY, VR::CS, "NO"),
        text(tags::SPECTRALLY_SELECTED_SUPPRESSION, VR::CS, "NONE"),
        text(tags::OVERSAMPLING_PHASE, VR::CS, "NONE"),
        text(tags::GEOMETRY_OF_K_SPACE_TRAVERSAL, VR::CS, "RECTILINEAR"),
        text(tags::SEGMENTED_K_SPACE_TRAVERSAL, VR::CS, "SINGLE"),
        text(tags::RECTILINEAR_PHASE_ENCODE_REORDERING, VR::CS, "LINEAR"),
        text(tags::COVERAGE_OF_K_SPACE, VR::CS, "FULL"),
        short(tags::NUMBER_OF_K_SPACE_TRAJECTORIES, 1),
    ]
}

/// What the image shows: at the top level, and again for the frames.
fn description() -> [InMemElement; 5] {
    [
        text(tags::PIXEL_PRESENTATION, VR::CS, "MONOCHROME"),
        text(tags::VOLUMETRIC_PROPERTIES, VR::CS, "VOLUME"),
        text(tags::VOLUME_BASED_CALCULATION_TECHNIQUE, VR::CS, "NONE"),
        text(tags::COMPLEX_IMAGE_COMPONENT, VR::CS, "MAGNITUDE"),
        text(tags::ACQUISITION_CONTRAST, VR::CS, "T1"),
    ]
}

fn shared_groups(series: &Series<'_>) -> Vec<InMemElement> {
    let protocol = shared::protocol(series.phantom);
    let [columns, rows, _] = series.phantom.grid.size.map(|n| n as u16);
    let spacing = series.phantom.spec.spacing_mm;
    let mut frame_type = vec![text(tags::FRAME_TYPE, VR::CS, series.image_type)];
    frame_type.extend(description());
    let mut modifier = vec![
        text(tags::INVERSION_RECOVERY, VR::CS, if series.inversion_ms.is_some() { "YES" } else { "NO" }),
        text(tags::FLOW_COMPENSATION, VR::CS, "NONE"),
        text(tags::SPOILING, VR::CS, "RF"),
        text(tags::T2_PREPARATION, VR::CS, "NO"),
        text(tags::SPECTRALLY_SELECTED_EXCITATION, VR::CS, "NONE"),
        text(tags::SPATIAL_PRESATURATION, VR::CS, "NONE"),
        text(tags::PARTIAL_FOURIER, VR::CS, "NO"),
        text(tags::PARALLEL_ACQUISITION, VR::CS, "NO"),
    ];
    modifier.extend(series.inversion_ms.map(|inversion| double(tags::INVERSION_TIMES, inversion)));
    vec![
        group(
            tags::PIXEL_MEASURES_SEQUENCE,
            vec![
                decimals(tags::SLICE_THICKNESS, &[series.thickness_mm]),
                decimals(tags::PIXEL_SPACING, &[spacing[1], spacing[0]]),
            ],
        ),
        group(tags::PLANE_ORIENTATION_SEQUENCE, vec![decimals(tags::IMAGE_ORIENTATION_PATIENT, &series.orientation())]),
        group(
            tags::FRAME_ANATOMY_SEQUENCE,
            vec![
                code(tags::ANATOMIC_REGION_SEQUENCE, ["12738006", "SCT", "Brain"]),
                text(tags::FRAME_LATERALITY, VR::CS, "U"),
            ],
        ),
        group(tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, frame_type),
        group(
            tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE,
            vec![
                decimals(tags::REPETITION_TIME, &[protocol.repetition * 1000.0]),
                integer(tags::ECHO_TRAIN_LENGTH, 1),
                decimals(tags::FLIP_ANGLE, &[series.flip]),
                short(tags::RF_ECHO_TRAIN_LENGTH, 0),
                short(tags::GRADIENT_ECHO_TRAIN_LENGTH, 1),
                group(
                    tags::SPECIFIC_ABSORPTION_RATE_SEQUENCE,
                    vec![
                        text(tags::SPECIFIC_ABSORPTION_RATE_DEFINITION, VR::CS, "IEC_HEAD"),
                        double(tags::SPECIFIC_ABSORPTION_RATE_VALUE, 0.1),
                    ],
                ),
                group(
                    tags::OPERATING_MODE_SEQUENCE,
                    vec![
                        text(tags::OPERATING_MODE_TYPE, VR::CS, "GRADIENT"),
                        text(tags::OPERATING_MODE, VR::CS, "IEC_NORMAL"),
                    ],
                ),
                text(tags::GRADIENT_OUTPUT_TYPE, VR::CS, "PER_NERVE_STIM"),
                double(tags::GRADIENT_OUTPUT, 0.5),
            ],
        ),
        group(
            tags::MRFOV_GEOMETRY_SEQUENCE,
            vec![
                text(tags::IN_PLANE_PHASE_ENCODING_DIRECTION, VR::CS, "ROW"),
                short(tags::MR_ACQUISITION_FREQUENCY_ENCODING_STEPS, rows),
                short(tags::MR_ACQUISITION_PHASE_ENCODING_STEPS_IN_PLANE, columns),
                short(tags::MR_ACQUISITION_PHASE_ENCODING_STEPS_OUT_OF_PLANE, protocol.flips as u16),
                decimals(tags::PERCENT_SAMPLING, &[100.0]),
                decimals(tags::PERCENT_PHASE_FIELD_OF_VIEW, &[100.0]),
            ],
        ),
        group(tags::MR_ECHO_SEQUENCE, vec![double(tags::EFFECTIVE_ECHO_TIME, protocol.echo_time * 1000.0)]),
        group(tags::MR_MODIFIER_SEQUENCE, modifier),
        group(
            tags::MR_IMAGING_MODIFIER_SEQUENCE,
            vec![
                text(tags::MAGNETIZATION_TRANSFER, VR::CS, "NONE"),
                text(tags::BLOOD_SIGNAL_NULLING, VR::CS, "NO"),
                text(tags::TAGGING, VR::CS, "NONE"),
                double(tags::TRANSMITTER_FREQUENCY, shared::frequency(series.phantom)),
                decimals(tags::PIXEL_BANDWIDTH, &[240.0]),
            ],
        ),
        group(
            tags::MR_RECEIVE_COIL_SEQUENCE,
            vec![
                text(tags::RECEIVE_COIL_NAME, VR::SH, "Head"),
                text(tags::RECEIVE_COIL_MANUFACTURER_NAME, VR::LO, ""),
                text(tags::RECEIVE_COIL_TYPE, VR::CS, "VOLUME"),
                text(tags::QUADRATURE_RECEIVE_COIL, VR::CS, "YES"),
            ],
        ),
        group(
            tags::MR_TRANSMIT_COIL_SEQUENCE,
            vec![
                text(tags::TRANSMIT_COIL_NAME, VR::SH, "Body"),
                text(tags::TRANSMIT_COIL_MANUFACTURER_NAME, VR::LO, ""),
                text(tags::TRANSMIT_COIL_TYPE, VR::CS, "BODY"),
            ],
        ),
        group(tags::MR_AVERAGES_SEQUENCE, vec![decimals(tags::NUMBER_OF_AVERAGES, &[1.0])]),
    ]
}

fn frame_groups(series: &Series<'_>, at: usize) -> Vec<InMemElement> {
    let protocol = shared::protocol(series.phantom);
    let time = format!("{}{}", shared::DATE, series.time);
    let place = at as u32 + 1;
    let rescale = vec![
        decimals(tags::RESCALE_INTERCEPT, &[0.0]),
        decimals(tags::RESCALE_SLOPE, &[series.slope()]),
        text(tags::RESCALE_TYPE, VR::LO, if series.scan.vendor == Vendor::Philips { "normalized" } else { "US" }),
    ];
    let mut groups = vec![
        group(
            tags::FRAME_CONTENT_SEQUENCE,
            vec![
                text(tags::FRAME_ACQUISITION_DATE_TIME, VR::DT, time.clone()),
                text(tags::FRAME_REFERENCE_DATE_TIME, VR::DT, time),
                double(tags::FRAME_ACQUISITION_DURATION, protocol.repetition * f64::from(protocol.flips) * 1000.0),
                text(tags::STACK_ID, VR::SH, "1"),
                long(tags::IN_STACK_POSITION_NUMBER, &[place]),
                long(tags::DIMENSION_INDEX_VALUES, &[1, place]),
                long(tags::TEMPORAL_POSITION_INDEX, &[1]),
                short(tags::FRAME_ACQUISITION_NUMBER, 1),
            ],
        ),
        group(tags::PLANE_POSITION_SEQUENCE, vec![decimals(tags::IMAGE_POSITION_PATIENT, &series.position(at))]),
        group(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE, rescale),
        group(
            tags::FRAME_VOILUT_SEQUENCE,
            vec![decimals(tags::WINDOW_CENTER, &[2048.0]), decimals(tags::WINDOW_WIDTH, &[4096.0])],
        ),
    ];
    if series.scan.vendor == Vendor::Philips {
        groups.extend(classic::scale(series));
    }
    groups
}
