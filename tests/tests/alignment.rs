//! The alignment of visits beside SimpleITK's, on the same pairs: phantoms, and a real head that is moved by resampling.
//! Measures, on demand: `cargo nextest run --release --workspace alignment:: --run-ignored only --no-capture`.

use std::time::Instant;

use ndarray::Array3;
use sulcus_operators::convert;
use sulcus_operators::nifti_file::write;
use sulcus_operators::phantom::{Field, Motion, Orientation, Phantom, PhantomSpec, Sequence, Visit};
use sulcus_operators::registration::{Rigid, align};
use sulcus_operators::volume::{Encoded, Grid, Volume};
use sulcus_tests::or_skip;
use sulcus_tests::places::scanner_files;
use sulcus_tests::python::python;
use sulcus_tests::scans::objects;

/// Two scans, the true motion from the new to the earlier one, and points of the brain in the new one's space.
struct Pair {
    name: String,
    new: Volume,
    earlier: Volume,
    truth: Rigid,
    brain: Vec<[f64; 3]>,
}

impl Pair {
    fn error(&self, found: &Rigid) -> f64 {
        let distance = |point: &[f64; 3]| {
            let (is, was) = (found.apply(*point), self.truth.apply(*point));
            (0..3).map(|i| (is[i] - was[i]).powi(2)).sum::<f64>().sqrt()
        };
        self.brain.iter().map(distance).sum::<f64>() / self.brain.len() as f64
    }
}

/// A motion about a point, as `Motion` tells it.
fn about(motion: &Motion, middle: [f64; 3]) -> Rigid {
    let rotation = motion.rotation();
    let turned: [f64; 3] = std::array::from_fn(|i| (0..3).map(|j| rotation[i][j] * middle[j]).sum());
    Rigid { rotation, shift_mm: std::array::from_fn(|i| middle[i] + motion.shift_mm[i] - turned[i]) }
}

fn middle(grid: &Grid) -> [f64; 3] {
    grid.point(grid.size.map(|extent| (extent as f64 - 1.0) / 2.0))
}

const MOTIONS: [Motion; 3] = [
    Motion { turn_degrees: [4.0, -3.0, 6.0], shift_mm: [3.0, -8.0, 12.0] },
    Motion { turn_degrees: [20.0, 0.0, 0.0], shift_mm: [0.0, 20.0, -22.0] },
    Motion { turn_degrees: [0.0, 3.0, 19.0], shift_mm: [30.0, 0.0, 0.0] },
];

fn phantoms() -> Vec<Pair> {
    let demo = |sequence| PhantomSpec { lesions: 4..=4, ..PhantomSpec::demo(Field::T3, sequence, 3) };
    let whole = |spec| PhantomSpec { stripped: false, size: [224, 232, 192], ..spec };
    let oblique = PhantomSpec {
        spacing_mm: [0.9, 0.9, 1.2],
        size: [200, 220, 160],
        orientation: Orientation::Oblique,
        ..demo(Sequence::Mprage)
    };
    let mut pairs = Vec::new();
    for (kind, first, later) in [
        ("brain, MPRAGE", demo(Sequence::Mprage), demo(Sequence::Mprage)),
        ("brain, MPRAGE then MP2RAGE", demo(Sequence::Mprage), demo(Sequence::Mp2rage)),
        ("head, MPRAGE, another grid", whole(demo(Sequence::Mprage)), PhantomSpec { stripped: false, ..oblique }),
        ("head, MPRAGE then MP2RAGE", whole(demo(Sequence::Mprage)), whole(demo(Sequence::Mp2rage))),
    ] {
        let was = Phantom::generate(&first).unwrap();
        for (scan, motion) in (70..).zip(&MOTIONS) {
            let visit = Visit { motion: *motion, scan, ..Visit::default() };
            let is = Phantom::revisit(&first, &later, &visit).unwrap();
            // The head lies 2 mm before and 6 mm above the middle of its grid.
            let [x, y, z] = middle(&is.grid);
            let brain = is.brain.indexed_iter().filter(|((z, y, x), set)| **set && (z + y + x) % 7 == 0);
            pairs.push(Pair {
                name: format!("{kind}, {:?} {:?}", motion.turn_degrees, motion.shift_mm),
                brain: brain.map(|((z, y, x), _)| is.grid.point([x as f64, y as f64, z as f64])).collect(),
                truth: about(motion, [x, y - 2.0, z + 6.0]).inverse(),
                new: is.volume(is.images[0].voxels.clone()),
                earlier: was.volume(was.images[0].voxels.clone()),
            });
        }
    }
    pairs
}

/// Linear between voxels; 0 outside.
fn sample(volume: &Volume, back: &[[f64; 4]; 3], point: [f64; 3]) -> f32 {
    let at = back.map(|row| row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);
    let low = at.map(f64::floor);
    let mut sum = 0.0;
    for corner in 0..8 {
        let step = [corner & 1, corner >> 1 & 1, corner >> 2 & 1];
        let index: [f64; 3] = std::array::from_fn(|i| low[i] + f64::from(step[i]));
        let share: f64 = (0..3).map(|i| 1.0 - (at[i] - index[i]).abs()).product();
        if index.iter().all(|i| *i >= 0.0) {
            let [x, y, z] = index.map(|i| i as usize);
            sum += share * f64::from(volume.voxels.get([z, y, x]).copied().unwrap_or_default());
        }
    }
    sum as f32
}

/// The real head as it would lie elsewhere, on an axial grid of 1.1 mm, with noise.
fn moved(head: &Volume, motion: &Motion, seed: u32) -> Pair {
    let centre = middle(&head.grid);
    let truth = about(motion, centre).inverse();
    let size = [190, 230, 200];
    let spacing = 1.1;
    let forth = about(motion, centre).apply(centre);
    let mut affine = [[0.0; 4]; 4];
    for i in 0..3 {
        affine[i][i] = spacing;
        affine[i][3] = forth[i] - spacing * (size[i] as f64 - 1.0) / 2.0;
    }
    affine[3][3] = 1.0;
    let grid = Grid { size, affine };
    // The head's axes stand at right angles: the way back is their transpose over the squared spacing.
    let (a, steps) = (&head.grid.affine, head.grid.spacing());
    let back: [[f64; 4]; 3] = std::array::from_fn(|axis| {
        let row: [f64; 3] = std::array::from_fn(|i| a[i][axis] / steps[axis].powi(2));
        [row[0], row[1], row[2], -(0..3).map(|i| row[i] * a[i][3]).sum::<f64>()]
    });
    let largest = head.voxels.iter().fold(0f32, |a, b| a.max(*b));
    let voxels = Array3::from_shape_fn((size[2], size[1], size[0]), |(z, y, x)| {
        let value = sample(head, &back, truth.apply(grid.point([x as f64, y as f64, z as f64])));
        let mut hash = (z * 65_536 + y * 256 + x) as u32 ^ seed;
        let mut noise = 0.0;
        for _ in 0..4 {
            hash = hash.wrapping_mul(747_796_405).wrapping_add(2_891_336_453).rotate_left(15);
            noise += hash as f32 / u32::MAX as f32 - 0.5;
        }
        (value + 0.02 * largest * noise).abs()
    });
    let within = |point: &[f64; 3]| (0..3).map(|i| (point[i] - forth[i]).powi(2)).sum::<f64>() < 70.0f64.powi(2);
    let all = (0..20).flat_map(|z| (0..20).flat_map(move |y| (0..20).map(move |x| [x, y, z])));
    let brain = all.map(|at| grid.point([0, 1, 2].map(|i| f64::from(at[i]) * size[i] as f64 / 20.0))).filter(within);
    Pair {
        name: format!("real head, {:?} {:?}", motion.turn_degrees, motion.shift_mm),
        brain: brain.collect(),
        truth,
        new: Volume { grid, voxels, rescale: None, frames: Vec::new(), ..head.clone() },
        earlier: head.clone(),
    }
}

fn real_head() -> Option<Volume> {
    let files = or_skip(scanner_files("philips-mprage-classic/In/cl"))?;
    let objects = objects(&files).unwrap();
    let encoded: Vec<Encoded<'_>> = objects
        .iter()
        .map(|object| Encoded { transfer_syntax: &object.transfer_syntax, data_set: &object.data_set })
        .collect();
    convert::volumes(&encoded).unwrap().into_iter().max_by_key(|volume| volume.voxels.len())
}

#[test]
fn a_real_head_that_is_moved_is_found() {
    let Some(head) = real_head() else { return };
    let pair = moved(&head, &MOTIONS[0], 1);
    let begun = Instant::now();
    let aligned = align(&pair.new, &pair.earlier).unwrap();
    let error = pair.error(&aligned.motion);
    println!("{}: {error:.3} mm in {:.2?}, {} per mille", pair.name, begun.elapsed(), aligned.similarity_permille);
    assert!(error < 0.5, "{error} mm, {aligned:?}");
}

#[test]
#[ignore = "measures"]
fn beside_simpleitk() {
    let mut pairs = phantoms();
    if let Some(head) = real_head() {
        pairs.extend((1..).zip(&MOTIONS).map(|(seed, motion)| moved(&head, motion, seed)));
    }
    let folder = tempfile::tempdir().unwrap();
    println!("| pair | ours, mm | s | similarity | SimpleITK, mm | s |\n| --- | --- | --- | --- | --- | --- |");
    for pair in &pairs {
        let begun = Instant::now();
        let aligned = align(&pair.new, &pair.earlier);
        let seconds = begun.elapsed().as_secs_f64();
        let ours = match aligned {
            Ok(aligned) => {
                format!("{:.3} | {seconds:.2} | {}", pair.error(&aligned.motion), aligned.similarity_permille)
            }
            Err(error) => format!("{error} | {seconds:.2} |"),
        };
        let files = ["new.nii", "earlier.nii"].map(|name| folder.path().join(name));
        write(&pair.new, &files[0]).unwrap();
        write(&pair.earlier, &files[1]).unwrap();
        let theirs = python("register.py", &files).map_or_else(
            |error| format!("{error:?}"),
            |said| {
                let number = |value: &serde_json::Value| value.as_f64().unwrap();
                let rotation = std::array::from_fn(|i| std::array::from_fn(|j| number(&said["rotation"][i][j])));
                let found = Rigid { rotation, shift_mm: std::array::from_fn(|i| number(&said["shift"][i])) };
                format!("{:.3} | {:.2}", pair.error(&found), number(&said["seconds"]))
            },
        );
        println!("| {} | {ours} | {theirs} |", pair.name);
    }
}
