//! Promises of the alignment, on phantoms whose motion is known.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::phantom::{Field, Motion, Orientation, Phantom, PhantomSpec, Sequence, Visit};

fn spec(sequence: Sequence, seed: u64) -> PhantomSpec {
    PhantomSpec { lesions: 6..=6, ..PhantomSpec::demo(Field::T3, sequence, seed) }
}

fn volume(phantom: &Phantom) -> Volume {
    phantom.volume(phantom.images[0].voxels.clone())
}

/// Mean distance, mm, between where the alignment takes the brain's voxels of the new scan and where they were.
fn error(new: &Phantom, motion: &Motion, found: &Rigid) -> f64 {
    // The head's middle on the grid: see `Frame::new`.
    let middle = new.grid.point(new.grid.size.map(|extent| (extent as f64 - 1.0) / 2.0));
    let middle = [middle[0], middle[1] - 2.0, middle[2] + 6.0];
    let turn = motion.rotation();
    let (mut sum, mut count) = (0.0, 0.0);
    for ((z, y, x), _) in new.brain.indexed_iter().filter(|((z, y, x), set)| **set && (z + y + x) % 7 == 0) {
        let point = new.grid.point([x as f64, y as f64, z as f64]);
        let back: [f64; 3] = std::array::from_fn(|i| point[i] - middle[i] - motion.shift_mm[i]);
        let was: [f64; 3] = std::array::from_fn(|j| middle[j] + (0..3).map(|i| turn[i][j] * back[i]).sum::<f64>());
        let is = found.apply(point);
        sum += (0..3).map(|i| (was[i] - is[i]).powi(2)).sum::<f64>().sqrt();
        count += 1.0;
    }
    sum / count
}

const MOTIONS: [Motion; 6] = [
    Motion { turn_degrees: [0.0; 3], shift_mm: [0.0; 3] },
    Motion { turn_degrees: [4.0, -3.0, 6.0], shift_mm: [3.0, -8.0, 12.0] },
    Motion { turn_degrees: [20.0, 0.0, 0.0], shift_mm: [0.0, 20.0, -22.0] },
    Motion { turn_degrees: [0.0, -20.0, 0.0], shift_mm: [-17.0, 17.0, 17.0] },
    Motion { turn_degrees: [0.0, 3.0, 19.0], shift_mm: [30.0, 0.0, 0.0] },
    Motion { turn_degrees: [11.5, 11.5, -11.5], shift_mm: [0.0, 0.0, -30.0] },
];

fn whole(spec: PhantomSpec) -> PhantomSpec {
    PhantomSpec { stripped: false, size: [224, 232, 192], ..spec }
}

/// Moves the head, scans it again, aligns: the error in mm, with what was found.
fn moved(earlier: &Phantom, spec: &PhantomSpec, motion: &Motion, scan: u64) -> (f64, Aligned) {
    let visit = Visit { motion: *motion, scan, ..Visit::default() };
    let new = Phantom::revisit(&earlier.spec, spec, &visit).unwrap();
    let (is, was) = (volume(&new), volume(earlier));
    let aligned = best(&is, &was).unwrap();
    let error = error(&new, motion, &aligned.motion);
    println!(
        "{:?} {motion:?}: {error:.3} mm, {} and {} per mille",
        spec.sequence, aligned.similarity_permille, aligned.overlap_permille
    );
    (error, aligned)
}

#[test]
fn a_head_that_moved_is_found_within_half_a_millimetre() {
    let earlier = Phantom::generate(&spec(Sequence::Mprage, 3)).unwrap();
    let oblique = PhantomSpec {
        spacing_mm: [0.9, 0.9, 1.2],
        size: [200, 220, 160],
        orientation: Orientation::Oblique,
        ..spec(Sequence::Mprage, 3)
    };
    let specs = [spec(Sequence::Mp2rage, 3), oblique, spec(Sequence::Mprage, 3)];
    for (scan, (motion, spec)) in (100..).zip(MOTIONS.iter().zip(specs.iter().cycle())) {
        let (error, aligned) = moved(&earlier, spec, motion, scan);
        assert!(error < 0.5 && aligned.similarity_permille > 900, "{error} {aligned:?}");
    }
}

#[test]
fn scalp_and_noise_around_the_head_are_no_hindrance() {
    let earlier = Phantom::generate(&whole(spec(Sequence::Mprage, 3))).unwrap();
    for (scan, motion) in (200..).zip(&MOTIONS).skip(2).step_by(2) {
        let (error, aligned) = moved(&earlier, &whole(spec(Sequence::Mp2rage, 3)), motion, scan);
        assert!(error < 0.5 && aligned.similarity_permille > LEAST_SIMILARITY, "{error} {aligned:?}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let first = spec(Sequence::Mprage, 5);
    let visit = Visit { motion: MOTIONS[1], scan: 9, ..Visit::default() };
    let was = volume(&Phantom::generate(&first).unwrap());
    let is = volume(&Phantom::revisit(&first, &first, &visit).unwrap());
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| align(&is, &was).unwrap())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn what_shows_no_head_is_not_aligned() {
    let head = volume(&Phantom::generate(&spec(Sequence::Mprage, 3)).unwrap());
    let like = |value: &dyn Fn(usize) -> f32| {
        let mut other = head.clone();
        other.voxels.iter_mut().enumerate().for_each(|(number, voxel)| *voxel = value(number));
        other
    };
    assert_eq!(align(&head, &like(&|_| 7.0)), Err(NotAligned::Empty));
    assert_eq!(align(&like(&|_| f32::NAN), &head), Err(NotAligned::Empty));
    let noise = |number: usize| (number as u32).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
    let noise = like(&|number| (noise(number) >> 20) as f32);
    assert!(align(&head, &noise).is_err() && align(&noise, &head).is_err(), "{:?}", best(&noise, &head));
    let waves = like(&|number| {
        [192, 160, 160]
            .iter()
            .fold((1.0, number), |(product, rest), extent| {
                (product * ((rest % extent) as f32 / 6.0).sin(), rest / extent)
            })
            .0
    });
    assert!(matches!(align(&head, &waves), Err(NotAligned::Unlike { .. })), "{:?}", best(&head, &waves));
    assert!(matches!(align(&waves, &head), Err(NotAligned::Unlike { .. })), "{:?}", best(&waves, &head));
    let mut flat = head.clone();
    flat.grid.affine[2] = [0.0; 4];
    assert_eq!(align(&head, &flat), Err(NotAligned::Empty));
    let mut slice = head.clone();
    slice.grid.size[2] = 1;
    slice.voxels = slice.voxels.slice(ndarray::s![..1, .., ..]).to_owned();
    assert_eq!(align(&slice, &head), Err(NotAligned::Empty));
}
