//! Promises of the key image object.

use ndarray::Array3;

use super::*;
use crate::{
    phantom::Orientation,
    results::{fixture::Sample, report::Status},
    volume::Grid,
};

const MM: f64 = 1.0;

/// A grey ball of 40 mm with a lesion of 6 x 4 x 4 mm in it, acquired in some orientation.
fn ball(orientation: Orientation) -> (Volume, Array3<u16>) {
    let sample = Sample::new([4, 4, 4], &[]);
    let axes = orientation.axes();
    let mut affine = [[0.0; 4]; 4];
    for row in 0..3 {
        for axis in 0..3 {
            affine[row][axis] = axes[axis][row] * MM;
            affine[row][3] -= axes[axis][row] * MM * 24.5;
        }
    }
    affine[3][3] = 1.0;
    let grid = Grid { size: [50; 3], affine };
    let at = |(s, r, c): (usize, usize, usize)| grid.point([c as f64, r as f64, s as f64]);
    let voxels = Array3::from_shape_fn([50; 3], |index| {
        let inside = at(index).iter().map(|x| x * x).sum::<f64>() < 400.0;
        if inside { 100.0 + (index.0 % 3) as f32 } else { 0.0 }
    });
    // To the patient's left, front and head.
    let labels = Array3::from_shape_fn([50; 3], |index| {
        let [x, y, z] = at(index);
        u16::from((x - 8.0).abs() < 3.0 && (y + 6.0).abs() < 2.0 && (z - 7.0).abs() < 2.0)
    });
    let volume = Volume {
        grid,
        voxels,
        frames: sample.frames,
        stack: String::new(),
        frame_of_reference_uid: String::new(),
        rescale: None,
        intensity_scale: String::new(),
        notes: Vec::new(),
    };
    (volume, labels)
}

fn report(lesions: usize) -> Report {
    let lesion = |label| {
        serde_json::json!({"label": label, "tracking_uid": "2.25.9", "voxels": 120, "volume_mm3": 120.0,
            "centroid_mm": [8.0, -6.0, 7.0], "box_first": [0, 0, 0], "box_size": [1, 1, 1], "mean_intensity": 1.0,
            "mean_probability": 0.9, "peak_probability": 1.0, "verdict": null})
    };
    let lesions: Vec<_> = (1..=lesions).map(lesion).collect();
    let report = serde_json::json!({"schema_version": 2, "research_use": RESEARCH_USE, "uid": "2.25.7", "revision": 1,
        "supersedes": null, "created": "2024-02-28T23:59:59.999Z", "status": "final", "withdrawn_because": null,
        "result": "1 lesion was found.", "patient": {"id": "P1", "issuer": "x"}, "study_instance_uid": "1.2.3",
        "pipeline": "p", "run": null, "segmentation_sop_instance_uid": null, "series_not_used": [],
        "lesions": lesions, "lesion_volume_mm3": 120.0, "notes": []});
    serde_json::from_value(report).unwrap()
}

fn is_contour(sheet: &Sheet, x: usize, y: usize) -> bool {
    let at = (y * sheet.size[0] + x) * 3;
    sheet.rgb[at] < 60 && sheet.rgb[at + 1] > 160 && sheet.rgb[at + 2] > 180
}

#[test]
fn contours_stand_at_the_lesions_place_on_the_sheet_for_every_acquisition() {
    // Of the lesion's box in patient space: what runs to the right and downwards, in LPS.
    let (x, y, z) = ([5.0, 11.0], [-8.0, -4.0], [5.0, 9.0]);
    let down = |[from, to]: [f64; 2]| [-to, -from];
    let views = [(x, y), (x, down(z)), (y, down(z))];
    for orientation in [Orientation::Axial, Orientation::Sagittal, Orientation::Coronal] {
        let (volume, labels) = ball(orientation);
        let sheet = sheet(&report(1), &volume, labels.view(), None).unwrap();
        // The head is the ball with its margin: about the centre, so a square's middle is the origin.
        let scene = Scene::new(&volume, labels.view(), &report(1).lesions).unwrap();
        for (column, (across, downwards)) in views.iter().enumerate() {
            let plane = scene.plane(View::ALL[column], &scene.spots[0]);
            let scale = SIDE as f64 / f64::from(plane.extent()[0].max(plane.extent()[1]));
            let (left, top) = (GAP + column * (SIDE + GAP), 2 * WORDS);
            let pixels = |mm: f64| mm * scale + SIDE as f64 / 2.0;
            let mut seen = [f64::MAX, f64::MIN, f64::MAX, f64::MIN];
            // The upper part of the square, which no detail covers.
            for v in 0..SIDE - DETAIL {
                for u in 0..SIDE {
                    if is_contour(&sheet, left + u, top + v) {
                        seen = [
                            seen[0].min(u as f64),
                            seen[1].max(u as f64),
                            seen[2].min(v as f64),
                            seen[3].max(v as f64),
                        ];
                    }
                }
            }
            let wanted = [across[0], across[1], downwards[0], downwards[1]].map(pixels);
            for (seen, wanted) in seen.iter().zip(wanted) {
                // A voxel is 1 mm; its edge is met to within half of one.
                assert!((seen - wanted).abs() <= 0.6 * scale, "{orientation:?} {column}: {seen} {wanted}");
            }
        }
    }
}

#[test]
fn a_report_without_lesions_shows_the_head_without_contours() {
    let (volume, labels) = ball(Orientation::Axial);
    let sheet = sheet(&report(0), &volume, labels.view(), None).unwrap();
    let pictures = |test: fn(&Sheet, usize, usize) -> bool| {
        (2 * WORDS..2 * WORDS + SIDE).any(|y| (0..sheet.size[0]).any(|x| test(&sheet, x, y)))
    };
    assert!(!pictures(is_contour));
    assert!(pictures(|sheet, x, y| sheet.rgb[(y * sheet.size[0] + x) * 3] > 100));
}

#[test]
fn the_object_holds_the_sheet_and_says_what_it_is() {
    let (volume, labels) = ball(Orientation::Oblique);
    let sample = Sample::new([4, 4, 4], &[]);
    let report = report(1);
    let input = KeyImagesInput { header: sample.header(), report: &report, volume: &volume, labels: labels.view() };
    let object = encode(&input).unwrap();
    assert_eq!(object.bytes, encode(&input).unwrap().bytes);
    let sheet = sheet(&report, &volume, labels.view(), None).unwrap();
    assert_eq!(sheet.rgb.len(), sheet.size[0] * sheet.size[1] * 3);
    assert_eq!(sheet.rgb.len() % 2, 0);
    let read = dicom_object::from_reader(object.bytes.as_slice()).unwrap();
    assert_eq!(read.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap(), sheet.rgb.as_slice());
    let text = |tag| read.element(tag).unwrap().to_str().unwrap().trim().to_owned();
    assert_eq!(text(tags::BURNED_IN_ANNOTATION), "NO");
    assert_eq!(text(tags::IMAGE_COMMENTS), RESEARCH_USE);
    assert_eq!(text(tags::SERIES_DESCRIPTION), "Sulcus key images; revision 2; research use only");
    let first = KeyImagesInput { header: Header { revision: 1, ..sample.header() }, ..input };
    let first = dicom_object::from_reader(encode(&first).unwrap().bytes.as_slice()).unwrap();
    let first = first.element(tags::SERIES_DESCRIPTION).unwrap().to_str().unwrap().into_owned();
    assert_eq!(first.trim(), "Sulcus key images; research use only, not for diagnosis");
}

#[test]
fn a_withdrawn_report_has_no_key_images() {
    let (volume, labels) = ball(Orientation::Axial);
    let withdrawn = Report { status: Status::Withdrawn, ..report(0) };
    assert_eq!(sheet(&withdrawn, &volume, labels.view(), None), Err(KeyImagesError::Withdrawn));
}
