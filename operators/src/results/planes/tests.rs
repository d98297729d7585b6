//! Promises of the key images' planes.

use ndarray::Array3;

use super::*;
use crate::{results::fixture::Sample, volume::Grid};

fn lesion(label: u32, volume_mm3: f64) -> Lesion {
    Lesion {
        label,
        tracking_uid: format!("2.25.{label}"),
        voxels: 1,
        volume_mm3,
        centroid_mm: [0.0; 3],
        box_first: [0; 3],
        box_size: [1; 3],
        mean_intensity: 1.0,
        mean_probability: 0.9,
        peak_probability: 1.0,
        verdict: None,
    }
}

fn volume(voxels: Array3<f32>, grid: Grid) -> Volume {
    Volume {
        grid,
        voxels,
        frames: Vec::new(),
        stack: String::new(),
        frame_of_reference_uid: String::new(),
        rescale: None,
        intensity_scale: String::new(),
        notes: Vec::new(),
    }
}

fn sample(size: [usize; 3], boxes: &[([usize; 3], [usize; 3])]) -> (Volume, Array3<u16>) {
    let sample = Sample::new(size, boxes);
    let voxels = Array3::from_shape_fn(sample.labels.dim(), |(s, r, c)| (100 + s + 2 * r + 3 * c) as f32);
    (volume(voxels, sample.grid), sample.labels)
}

#[test]
fn contours_lie_between_the_voxels_inside_and_outside() {
    let (volume, labels) = sample([20, 18, 16], &[([4, 5, 6], [3, 4, 5]), ([7, 5, 6], [2, 2, 2])]);
    let scene = Scene::new(&volume, labels.view(), &[lesion(1, 50.0), lesion(2, 8.0)]).unwrap();
    for spot in &scene.spots {
        for view in View::ALL {
            let plane = scene.plane(view, spot);
            let label = |[x, y]: [f32; 2]| {
                let inside = x >= 0.0 && y >= 0.0 && (x as usize) < plane.size[0] && (y as usize) < plane.size[1];
                if inside { plane.labels[y as usize * plane.size[0] + x as usize] } else { 0 }
            };
            let contours = plane.contours();
            assert!(contours.iter().any(|segment| u32::from(segment.label) == spot.label), "{view:?}");
            for segment in &contours {
                for [x, y] in segment.ends {
                    // Half-way between two neighbouring centres, exactly one of which is the lesion's.
                    let across = x.fract() == 0.0;
                    let pair = if across { [[x - 0.5, y], [x + 0.5, y]] } else { [[x, y - 0.5], [x, y + 0.5]] };
                    let inside = pair.map(|centre| label(centre) == segment.label);
                    assert!(inside[0] != inside[1], "{view:?} {segment:?}");
                }
            }
            // Every end is shared by two pieces: the contours are closed.
            let mut ends: Vec<(u16, [i64; 2])> = contours
                .iter()
                .flat_map(|s| s.ends.map(|end| (s.label, end.map(|part| (part * 2.0) as i64))))
                .collect();
            ends.sort_unstable();
            assert!(ends.chunks(2).all(|pair| pair[0] == pair[1]), "{view:?}");
        }
    }
}

#[test]
fn planes_go_through_the_largest_lesions_even_where_their_centre_is_hollow() {
    let (volume, mut labels) = sample([20, 20, 20], &[]);
    // A frame around nothing, and three smaller ones.
    for at in 5..14 {
        for (row, column) in [(5, at), (13, at), (at, 5), (at, 13)] {
            labels[[9, row, column]] = 1;
        }
    }
    for label in 2..=4u16 {
        labels[[2, 2, usize::from(label)]] = label;
    }
    let lesions = [lesion(4, 1.0), lesion(3, 1.0), lesion(1, 30.0), lesion(2, 2.0)];
    let scene = Scene::new(&volume, labels.view(), &lesions).unwrap();
    let shown: Vec<u32> = scene.spots.iter().map(|spot| spot.label).collect();
    assert_eq!(shown, [1, 2, 3]);
    assert_eq!(scene.spots[0].centre, [9, 9, 9]);
    for spot in &scene.spots {
        for view in View::ALL {
            let contours = scene.plane(view, spot).contours();
            assert!(contours.iter().any(|segment| u32::from(segment.label) == spot.label), "{view:?}");
        }
    }
}

#[test]
fn what_the_report_does_not_list_has_no_contour() {
    let (volume, labels) = sample([12, 12, 12], &[([3, 3, 3], [3, 3, 3]), ([7, 7, 3], [3, 3, 3])]);
    let scene = Scene::new(&volume, labels.view(), &[lesion(2, 20.0)]).unwrap();
    let plane = scene.plane(View::Axial, &scene.spots[0]);
    assert!(plane.contours().iter().all(|segment| segment.label == 2));
}

#[test]
fn a_part_is_sampled_in_its_true_proportions() {
    let grid = Grid {
        size: [4, 6, 2],
        affine: [[2.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
    };
    let voxels = Array3::from_shape_fn([2, 6, 4], |(_, row, column)| (1 + row * 10 + column) as f32);
    let volume = volume(voxels, grid);
    let labels = Array3::zeros([2, 6, 4]);
    let scene = Scene::new(&volume, labels.view(), &[]).unwrap();
    let plane = scene.plane(View::Axial, &scene.middle());
    assert_eq!((plane.size, plane.extent()), ([4, 6], [8.0, 3.0]));
    let whole = plane.sample([0.0, 0.0, 4.0, 6.0], [4, 6]);
    assert_eq!(whole, plane.grey);
    // Between two pixels lies their mean.
    let finer = plane.sample([0.0, 0.0, 4.0, 6.0], [8, 6]);
    assert_eq!(finer[0], plane.grey[0]);
    let (a, b) = (f32::from(plane.grey[1]), f32::from(plane.grey[2]));
    assert!((f32::from(finer[4]) - (0.75 * b + 0.25 * a).min(255.0)).abs() <= (b - a).abs());
}

#[test]
fn intensities_that_are_no_numbers_are_black_and_one_slice_is_enough() {
    let (mut volume, labels) = sample([9, 8, 1], &[([2, 2, 0], [3, 3, 1])]);
    volume.voxels[[0, 0, 0]] = f32::NAN;
    volume.voxels[[0, 0, 1]] = f32::INFINITY;
    volume.voxels[[0, 0, 2]] = f32::NEG_INFINITY;
    let scene = Scene::new(&volume, labels.view(), &[lesion(1, 9.0)]).unwrap();
    assert_eq!([f32::NAN, f32::NEG_INFINITY, f32::INFINITY].map(|value| scene.grey(value)), [0, 0, 255]);
    for view in View::ALL {
        assert!(!scene.plane(view, &scene.spots[0]).contours().is_empty());
    }
    volume.voxels.fill(f32::NAN);
    let scene = Scene::new(&volume, labels.view(), &[]).unwrap();
    assert!(scene.plane(View::Axial, &scene.middle()).grey.iter().all(|grey| *grey == 0));
}

#[test]
fn a_label_map_of_another_volume_and_a_grid_without_geometry_are_refused() {
    let (mut volume, labels) = sample([9, 8, 4], &[]);
    let other = Array3::zeros([4, 8, 8]);
    assert!(matches!(Scene::new(&volume, other.view(), &[]), Err(PlanesError::Shape { .. })));
    volume.grid.affine[0][0] = f64::INFINITY;
    assert!(matches!(Scene::new(&volume, labels.view(), &[]), Err(PlanesError::Geometry)));
}
