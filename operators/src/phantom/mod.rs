//! A head with multiple sclerosis that was never anyone's: anatomy, scan and lesions follow from a seed.
//!
//! A phantom is for trying and testing the whole chain with known truth; nothing measured on it says how well a model
//! works on patients. What a scanner would send of it is made in [`dicom`]; how a result compares with the truth is
//! worked out in [`score`](mod@score).

mod anatomy;
pub mod dicom;
mod distance;
mod head;
mod lesions;
mod random;
pub mod score;
mod shape;
mod signal;
mod spec;
mod traced;
mod visit;

use ndarray::Array3;
use rayon::prelude::*;

use crate::volume::{Grid, Volume};
use anatomy::Anatomy;
use head::{Head, Tissue};
use lesions::Placed;
pub use lesions::{LesionType, TrueLesion};
use random::Draws;
use shape::Point;
use signal::Signal;
pub use spec::{Field, Orientation, PhantomError, PhantomSpec, Sequence};
use traced::Traced;
pub use traced::{TraceError, Tracing};
pub use visit::{Motion, Visit};

/// Which image of a scan it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImageKind {
    /// MP2RAGE, uniform: 0 to 4095, where 2047.5 is none of either sign.
    Uni,
    /// MP2RAGE, first inversion, magnitude.
    Inv1,
    /// MP2RAGE, second inversion, magnitude.
    Inv2,
    /// MPRAGE, magnitude.
    Mprage,
}

/// One image of the scan.
#[derive(Clone, Debug)]
pub struct PhantomImage {
    /// Which one.
    pub kind: ImageKind,
    /// Intensities from 0 to 4095, axes (slice, row, column).
    pub voxels: Array3<f32>,
}

/// A scanned head and its truth.
#[derive(Clone, Debug)]
pub struct Phantom {
    /// What was asked for.
    pub spec: PhantomSpec,
    /// The grid of all images, LPS.
    pub grid: Grid,
    /// UNI, INV1, INV2; or MPRAGE alone. The first is the one that models read.
    pub images: Vec<PhantomImage>,
    /// Lesion numbers, axes (slice, row, column); 0 is none.
    pub labels: Array3<u16>,
    /// True within the brain and 1 mm around it, axes (slice, row, column).
    pub brain: Array3<bool>,
    /// The lesions, by label.
    pub lesions: Vec<TrueLesion>,
}

/// The grid as the scan needs it: single precision, and in the head's own space.
struct Frame {
    grid: Grid,
    size: [usize; 3],
    spacing: [f32; 3],
    axes: [Point; 3],
    /// Head space position of voxel (0, 0, 0).
    origin: Point,
}

impl Frame {
    fn new(spec: &PhantomSpec) -> Self {
        let axes = spec.orientation.axes();
        let mut draws = Draws::new(spec.seed, "position");
        // The head lies a little off the isocentre, and a little off the middle of the grid.
        let isocentre: [f64; 3] = std::array::from_fn(|_| f64::from(draws.between(-12.0, 12.0)));
        let centre = [0.0, 2.0, -6.0];
        let extent = |axis: usize| (spec.size[axis] as f64 - 1.0) / 2.0 * spec.spacing_mm[axis];
        let origin: [f64; 3] =
            std::array::from_fn(|i| centre[i] - (0..3).map(|axis| extent(axis) * axes[axis][i]).sum::<f64>());
        let mut affine = [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        for i in 0..3 {
            for axis in 0..3 {
                affine[i][axis] = axes[axis][i] * spec.spacing_mm[axis];
            }
            affine[i][3] = origin[i] + isocentre[i];
        }
        Frame {
            grid: Grid { size: spec.size, affine },
            size: spec.size,
            spacing: spec.spacing_mm.map(|mm| mm as f32),
            axes: axes.map(|axis| axis.map(|x| x as f32)),
            origin: origin.map(|x| x as f32),
        }
    }

    /// Head space position of a voxel index (column, row, slice).
    fn place(&self, index: Point) -> Point {
        let mut p = self.origin;
        for (axis, steps) in index.iter().enumerate() {
            p = shape::along(p, steps * self.spacing[axis], self.axes[axis]);
        }
        p
    }

    /// Voxel index (column, row, slice) of a head space position.
    fn index(&self, p: Point) -> Point {
        let offset = shape::along(p, -1.0, self.origin);
        std::array::from_fn(|axis| shape::dot(offset, self.axes[axis]) / self.spacing[axis])
    }
}

impl Phantom {
    /// Draws a head, puts lesions into its cortex and scans it. The same specification gives the same phantom,
    /// whatever the number of threads.
    pub fn generate(spec: &PhantomSpec) -> Result<Self, PhantomError> {
        Self::scan(spec, &Anatomy::new(spec.seed))
    }

    /// As [`Phantom::generate`], with a head that is traced from a real one and deformed.
    pub fn trace(spec: &PhantomSpec, tracing: &Tracing) -> Result<Self, PhantomError> {
        Self::scan(spec, &Traced::new(tracing, spec.seed))
    }

    /// Voxels (slice, row, column) on the phantom's grid as a volume: one of its images, or its truth.
    pub fn volume(&self, voxels: Array3<f32>) -> Volume {
        Volume {
            grid: self.grid.clone(),
            voxels,
            frames: Vec::new(),
            stack: String::new(),
            frame_of_reference_uid: String::new(),
            rescale: Some([1.0, 0.0]),
            intensity_scale: String::new(),
            notes: Vec::new(),
        }
    }

    fn scan(spec: &PhantomSpec, head: &dyn Head) -> Result<Self, PhantomError> {
        spec.check()?;
        let frame = Frame::new(spec);
        let placed = lesions::place(head, &frame, count(spec), spec.seed)?;
        Ok(Self::measure(spec, head, frame, placed, &Signal::new(spec)))
    }

    /// Scans a head with its lesions.
    fn measure(spec: &PhantomSpec, head: &dyn Head, frame: Frame, placed: Placed, signal: &Signal) -> Self {
        let [columns, rows, slices] = spec.size;
        let shape = (slices, rows, columns);
        let voxel = frame.spacing.iter().product::<f32>().cbrt();
        let mut brain = Array3::from_elem(shape, false);
        let mut stacked: Vec<Array3<f32>> = (0..signal.images()).map(|_| Array3::zeros(shape)).collect();
        let per_slice = rows * columns;
        let measured: Vec<(Vec<bool>, Vec<[f32; 3]>)> = (0..slices)
            .into_par_iter()
            .map(|slice| {
                let first = slice * per_slice;
                let from = placed.shares.partition_point(|(number, _)| *number < first);
                let mut lesion = placed.shares[from..].iter().peekable();
                let mut masks = Vec::with_capacity(per_slice);
                let mut values = Vec::with_capacity(per_slice);
                for number in first..first + per_slice {
                    let at = number - first;
                    let p = frame.place([(at % columns) as f32, (at / columns) as f32, slice as f32]);
                    let mut content = head.content(p, voxel);
                    if let Some((_, share)) = lesion.next_if(|(other, _)| *other == number) {
                        content.shares.iter_mut().for_each(|other| *other *= 1.0 - share);
                        content.shares[Tissue::Lesion as usize] += share;
                    }
                    masks.push(content.brain);
                    let stored =
                        signal.measure(p, &content.shares, number as u64).map(|x| x.round().clamp(0.0, 4095.0));
                    values.push(if content.brain || !spec.stripped { stored } else { [0.0; 3] });
                }
                (masks, values)
            })
            .collect();
        for (slice, (masks, values)) in measured.iter().enumerate() {
            brain.index_axis_mut(ndarray::Axis(0), slice).iter_mut().zip(masks).for_each(|(to, from)| *to = *from);
            for (image, voxels) in stacked.iter_mut().enumerate() {
                let mut plane = voxels.index_axis_mut(ndarray::Axis(0), slice);
                plane.iter_mut().zip(values).for_each(|(to, from)| *to = from[image]);
            }
        }
        let kinds = match spec.sequence {
            Sequence::Mp2rage => [ImageKind::Uni, ImageKind::Inv1, ImageKind::Inv2].as_slice(),
            Sequence::Mprage => &[ImageKind::Mprage],
        };
        let images = kinds.iter().zip(stacked).map(|(kind, voxels)| PhantomImage { kind: *kind, voxels }).collect();
        let Frame { grid, .. } = frame;
        Phantom { spec: spec.clone(), grid, images, labels: placed.labels, brain, lesions: placed.lesions }
    }
}

/// How many lesions a specification's seed draws.
fn count(spec: &PhantomSpec) -> usize {
    Draws::new(spec.seed, "count").count(*spec.lesions.start(), *spec.lesions.end())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A coarse scan of the whole head: quick, and still with room for lesions.
    fn coarse(seed: u64) -> PhantomSpec {
        PhantomSpec {
            spacing_mm: [1.5; 3],
            size: [128, 104, 104],
            lesions: 6..=9,
            ..PhantomSpec::demo(Field::T3, Sequence::Mp2rage, seed)
        }
    }

    #[test]
    fn a_seed_gives_the_same_phantom_again_and_another_seed_another() {
        let first = Phantom::generate(&coarse(5)).unwrap();
        let again = Phantom::generate(&coarse(5)).unwrap();
        let other = Phantom::generate(&coarse(6)).unwrap();
        assert_eq!(first.images[0].voxels, again.images[0].voxels);
        assert_eq!((&first.labels, &first.lesions), (&again.labels, &again.lesions));
        assert_ne!(first.images[0].voxels, other.images[0].voxels);
    }

    #[test]
    fn lesions_are_apart_and_of_the_volume_that_is_told() {
        for seed in 0..3 {
            let phantom = Phantom::generate(&coarse(seed)).unwrap();
            assert!((6..=9).contains(&phantom.lesions.len()));
            let voxel_mm3 = phantom.spec.spacing_mm.iter().product::<f64>();
            for lesion in &phantom.lesions {
                let voxels = phantom.labels.iter().filter(|label| **label == lesion.label).count() as u64;
                assert_eq!(voxels, lesion.voxels);
                assert!((5.0..=120.0).contains(&lesion.volume_mm3), "{lesion:?}");
                assert!((voxels as f64 * voxel_mm3 / lesion.volume_mm3 - 1.0).abs() < 0.75, "{lesion:?}");
            }
            for ((z, y, x), label) in phantom.labels.indexed_iter().filter(|(_, label)| **label > 0) {
                let near = ndarray::s![z - 1..z + 2, y - 1..y + 2, x - 1..x + 2];
                assert!(phantom.labels.slice(near).iter().all(|other| *other == 0 || other == label));
                assert!(phantom.brain[[z, y, x]]);
            }
        }
    }

    #[test]
    fn a_lesion_is_darker_than_what_it_replaces() {
        let with = Phantom::generate(&coarse(2)).unwrap();
        let without = Phantom::generate(&PhantomSpec { lesions: 0..=0, ..coarse(2) }).unwrap();
        assert!(without.lesions.is_empty() && without.labels.iter().all(|label| *label == 0));
        for lesion in &with.lesions {
            let mean = |phantom: &Phantom| {
                let within =
                    with.labels.iter().zip(&phantom.images[0].voxels).filter(|(label, _)| **label == lesion.label);
                within.map(|(_, v)| f64::from(*v)).sum::<f64>() / lesion.voxels as f64
            };
            assert!(mean(&with) < mean(&without) - 100.0, "{lesion:?}: {} {}", mean(&with), mean(&without));
        }
    }

    #[test]
    fn a_lesion_lies_at_its_centre_in_every_orientation() {
        for orientation in [Orientation::Axial, Orientation::Sagittal, Orientation::Coronal, Orientation::Oblique] {
            let spec = PhantomSpec { orientation, size: [104, 120, 104], lesions: 4..=4, ..coarse(1) };
            let phantom = Phantom::generate(&spec).unwrap();
            for lesion in &phantom.lesions {
                let mut sum = [0.0; 3];
                for ((z, y, x), _) in phantom.labels.indexed_iter().filter(|(_, label)| **label == lesion.label) {
                    let point = phantom.grid.point([x as f64, y as f64, z as f64]);
                    (0..3).for_each(|i| sum[i] += point[i] / lesion.voxels as f64);
                }
                assert!(
                    (0..3).all(|i| (sum[i] - lesion.centre_mm[i]).abs() < 1.0),
                    "{orientation:?} {lesion:?} {sum:?}"
                );
            }
        }
    }

    #[test]
    fn stripping_leaves_the_brain_alone() {
        let stripped = Phantom::generate(&coarse(4)).unwrap();
        let whole = Phantom::generate(&PhantomSpec { stripped: false, ..coarse(4) }).unwrap();
        assert_eq!(stripped.images.len(), 3);
        for (brain, (kept, voxel)) in
            stripped.brain.iter().zip(stripped.images[1].voxels.iter().zip(&whole.images[1].voxels))
        {
            assert_eq!(*kept, if *brain { *voxel } else { 0.0 });
        }
        let share = stripped.brain.iter().filter(|inside| **inside).count() as f64 * 3.375 / 1.0e6;
        assert!((0.9..1.7).contains(&share), "{share} litres of brain");
    }

    #[test]
    fn what_cannot_be_scanned_is_refused() {
        let spec = coarse(1);
        let error = |spec: PhantomSpec| Phantom::generate(&spec).unwrap_err();
        assert_eq!(error(PhantomSpec { size: [0, 9, 9], ..spec.clone() }), PhantomError::Size([0, 9, 9]));
        assert_eq!(error(PhantomSpec { size: [2000; 3], ..spec.clone() }), PhantomError::Size([2000; 3]));
        assert!(matches!(
            error(PhantomSpec { spacing_mm: [1.0, f64::NAN, 1.0], ..spec.clone() }),
            PhantomError::Spacing(_)
        ));
        #[allow(clippy::reversed_empty_ranges)]
        let backwards = 5..=2;
        assert_eq!(error(PhantomSpec { lesions: backwards.clone(), ..spec.clone() }), PhantomError::Lesions(backwards));
        let tiny = PhantomSpec { size: [8; 3], lesions: 3..=3, ..spec };
        assert_eq!(error(tiny), PhantomError::NoRoom { placed: 0, wanted: 3 });
    }
}
