//! Key images of a volume: planes in three views through the largest lesions, and the lesions' contours on them.
//!
//! Shared by the page (`page::pictures`) and the key image object (`key_images`), which place, scale and draw them.
//! How a view lies on the grid is `orientation`'s,
//! what there is to see `survey`'s.

pub(crate) mod orientation;
mod survey;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use ndarray::ArrayView3;
use thiserror::Error;

use self::{
    orientation::{Cut, View, cuts},
    survey::{head, spots, window},
};
use super::report::Lesion;
use crate::volume::Volume;

/// As many lesions are shown.
pub(crate) const SHOWN: usize = 3;
/// Grey levels above the brightest brain, as a share of those below.
const HEADROOM: f32 = 0.3;

/// Why there are no key images.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlanesError {
    /// Volume, grid and label map differ, or are empty.
    #[error(
        "label map of {labels:?} voxels (slices, rows, columns) does not fit a volume of {volume:?}; use the label map of this volume's run"
    )]
    Shape {
        /// Of the label map.
        labels: [usize; 3],
        /// Of the volume.
        volume: [usize; 3],
    },
    /// The grid has no usable axes.
    #[error(
        "the volume's axes are not finite or not at right angles, so no view can be named; convert the series again"
    )]
    Geometry,
}

/// A volume that is looked at.
pub(crate) struct Scene<'a> {
    volume: &'a Volume,
    labels: ArrayView3<'a, u16>,
    /// By label: whether it is a lesion of the report.
    listed: Vec<bool>,
    /// Intensities that are shown black and white.
    window: [f32; 2],
    /// First voxel and the one after the last, by grid axis (column, row, slice).
    head: [[usize; 2]; 3],
    cuts: [Cut; 3],
    /// The largest lesions.
    pub(crate) spots: Vec<Spot>,
}

/// Where a lesion is shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spot {
    /// Its label.
    pub(crate) label: u32,
    /// The voxel (column, row, slice) that its planes go through: the centre, moved into the lesion along each axis.
    pub(crate) centre: [usize; 3],
    /// Bounding box: first voxel and the one after the last, by grid axis.
    pub(crate) bounds: [[usize; 2]; 3],
}

/// One plane, the right way up.
#[derive(Clone, Debug)]
pub(crate) struct Plane {
    /// How it lies on the grid.
    pub(crate) cut: Cut,
    /// Which slice of the volume it is, from 1, and of how many; none where it cuts through the slices.
    pub(crate) slice: Option<[usize; 2]>,
    /// Pixels across and down.
    pub(crate) size: [usize; 2],
    /// Size of a pixel across and down, mm.
    pub(crate) step: [f32; 2],
    /// Grey levels, row by row.
    grey: Vec<u8>,
    /// Labels of listed lesions, row by row.
    labels: Vec<u16>,
    /// Where the spot is: left, top, right and bottom of its bounding box, in pixels.
    pub(crate) spot: [f32; 4],
}

/// A piece of a lesion's contour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Segment {
    /// Whose.
    pub(crate) label: u16,
    /// Its ends in pixels; a pixel reaches from its number to the next.
    pub(crate) ends: [[f32; 2]; 2],
}

impl<'a> Scene<'a> {
    /// Looks at a volume and the report's lesions in its label map, axes (slice, row, column).
    ///
    /// # Errors
    /// [`PlanesError`].
    pub(crate) fn new(
        volume: &'a Volume,
        labels: ArrayView3<'a, u16>,
        lesions: &[Lesion],
    ) -> Result<Self, PlanesError> {
        let shape = <[usize; 3]>::from(volume.voxels.dim());
        let [columns, rows, slices] = volume.grid.size;
        let fits = labels.raw_dim() == volume.voxels.raw_dim() && shape == [slices, rows, columns];
        if !fits || shape.contains(&0) {
            return Err(PlanesError::Shape { labels: labels.dim().into(), volume: shape });
        }
        let cuts = cuts(&volume.grid).ok_or(PlanesError::Geometry)?;
        let mut listed = vec![false; usize::from(u16::MAX) + 1];
        for lesion in lesions {
            if let Some(flag) = listed.get_mut(lesion.label as usize).filter(|_| lesion.label > 0) {
                *flag = true;
            }
        }
        let spots = spots(labels, lesions);
        let mut head = head(volume, window(volume, volume.grid.size.map(|extent| [0, extent])));
        // Fat and vessels are bright: the grey levels are those of the middle half of the head, which is brain.
        let quarter = |[first, end]: [usize; 2]| (end - first) / 4;
        let [black, white] = window(volume, head.map(|axis| [axis[0] + quarter(axis), axis[1] - quarter(axis)]));
        // White matter stays grey enough for a contour on it.
        let window = [black, white + HEADROOM * (white - black)];
        for spot in &spots {
            for (reach, [first, end]) in head.iter_mut().zip(spot.bounds) {
                *reach = [reach[0].min(first), reach[1].max(end)];
            }
        }
        Ok(Self { volume, labels, listed, window, head, cuts, spots })
    }

    /// The middle of the head, for a report without lesions.
    pub(crate) fn middle(&self) -> Spot {
        let centre = self.head.map(|[first, end]| (first + end) / 2);
        Spot { label: 0, centre, bounds: centre.map(|at| [at, at + 1]) }
    }

    /// The plane of a view through a spot, around the head.
    pub(crate) fn plane(&self, view: View, spot: &Spot) -> Plane {
        let cut = match view {
            View::Axial => &self.cuts[0],
            View::Coronal => &self.cuts[1],
            View::Sagittal => &self.cuts[2],
        };
        let spacing = self.volume.grid.spacing();
        let extent = |axis: usize| self.head[axis][1] - self.head[axis][0];
        let size = [extent(cut.right.axis), extent(cut.down.axis)];
        let (mut grey, mut labels) = (Vec::new(), Vec::new());
        grey.reserve_exact(size[0] * size[1]);
        labels.reserve_exact(size[0] * size[1]);
        let index = |along: orientation::Along, at: usize| match along.reversed {
            true => self.head[along.axis][1] - 1 - at,
            false => self.head[along.axis][0] + at,
        };
        let mut voxel = spot.centre;
        for down in 0..size[1] {
            voxel[cut.down.axis] = index(cut.down, down);
            for across in 0..size[0] {
                voxel[cut.right.axis] = index(cut.right, across);
                let [column, row, slice] = voxel;
                let value = self.volume.voxels.get([slice, row, column]).copied().unwrap_or(f32::NAN);
                let label = self.labels.get([slice, row, column]).copied().unwrap_or(0);
                grey.push(self.grey(value));
                labels.push(if self.is_listed(label) { label } else { 0 });
            }
        }
        let place = |along: orientation::Along, bound: usize| match along.reversed {
            true => self.head[along.axis][1] as f32 - bound as f32,
            false => bound as f32 - self.head[along.axis][0] as f32,
        };
        let edges = |along: orientation::Along| {
            let [first, end] = spot.bounds[along.axis].map(|bound| place(along, bound));
            [first.min(end), first.max(end)]
        };
        let ([left, right], [top, bottom]) = (edges(cut.right), edges(cut.down));
        Plane {
            slice: (cut.through == 2).then(|| [spot.centre[2] + 1, self.volume.grid.size[2]]),
            cut: cut.clone(),
            size,
            step: [spacing[cut.right.axis] as f32, spacing[cut.down.axis] as f32],
            grey,
            labels,
            spot: [left, top, right, bottom],
        }
    }

    fn is_listed(&self, label: u16) -> bool {
        label != 0 && self.listed.get(usize::from(label)).copied().unwrap_or(false)
    }

    /// What is no number is black.
    fn grey(&self, value: f32) -> u8 {
        let [black, white] = self.window;
        ((value - black) / (white - black) * 255.0).round().clamp(0.0, 255.0) as u8
    }
}

impl Plane {
    /// What is written on it, line by line.
    pub(crate) fn words(&self) -> Vec<String> {
        let slice = self.slice.map(|[number, of]| format!("slice {number} of {of}"));
        let tilt = (self.cut.tilt >= 1.0).then(|| format!("oblique {:.0}\u{b0}", self.cut.tilt));
        [Some(self.cut.view.name().to_owned()), slice, tilt].into_iter().flatten().collect()
    }

    /// Its extent across and down, mm.
    pub(crate) fn extent(&self) -> [f32; 2] {
        [self.size[0] as f32 * self.step[0], self.size[1] as f32 * self.step[1]]
    }

    /// A square around the spot, at least `mm` wide and wider where the lesion is: left, top, right and bottom, in
    /// pixels, moved into the plane where it fits.
    pub(crate) fn around_spot(&self, mm: f32) -> [f32; 4] {
        let [left, top, right, bottom] = self.spot;
        let lesion = ((right - left) * self.step[0]).max((bottom - top) * self.step[1]);
        let side = mm.max(1.5 * lesion).min(self.extent()[0].min(self.extent()[1]));
        let place = |first: f32, end: f32, axis: usize| {
            let half = side / self.step[axis] / 2.0;
            let centre = ((first + end) / 2.0).clamp(half, (self.size[axis] as f32 - half).max(half));
            [centre - half, centre + half]
        };
        let ([left, right], [top, bottom]) = (place(left, right, 0), place(top, bottom, 1));
        [left, top, right, bottom]
    }

    /// Grey levels of a part (left, top, right, bottom, in pixels) in `size` pixels across and down, row by row;
    /// between pixels by bilinear interpolation.
    pub(crate) fn sample(&self, part: [f32; 4], size: [usize; 2]) -> Vec<u8> {
        let places = |first: f32, end: f32, axis: usize| -> Vec<(usize, usize, f32)> {
            let last = self.size[axis].saturating_sub(1);
            let place = |at: usize| {
                let x = first + (at as f32 + 0.5) / size[axis] as f32 * (end - first) - 0.5;
                let x = x.clamp(0.0, last as f32);
                (x as usize, (x as usize + 1).min(last), x.fract())
            };
            (0..size[axis]).map(place).collect()
        };
        let (across, down) = (places(part[0], part[2], 0), places(part[1], part[3], 1));
        let grey = |x: usize, y: usize| f32::from(self.grey.get(y * self.size[0] + x).copied().unwrap_or(0));
        let mut pixels = Vec::with_capacity(size[0] * size[1]);
        for &(top, bottom, v) in &down {
            for &(left, right, u) in &across {
                let upper = grey(left, top) * (1.0 - u) + grey(right, top) * u;
                let lower = grey(left, bottom) * (1.0 - u) + grey(right, bottom) * u;
                pixels.push((upper * (1.0 - v) + lower * v).round() as u8);
            }
        }
        pixels
    }

    /// The contours of all listed lesions: lines half-way between the centres of voxels inside and outside (marching
    /// squares), each lesion for itself.
    pub(crate) fn contours(&self) -> Vec<Segment> {
        let label = |x: isize, y: isize| {
            let inside = x >= 0 && y >= 0 && (x as usize) < self.size[0] && (y as usize) < self.size[1];
            if inside { self.labels.get(y as usize * self.size[0] + x as usize).copied().unwrap_or(0) } else { 0 }
        };
        let mut segments = Vec::new();
        for y in -1..self.size[1] as isize {
            for x in -1..self.size[0] as isize {
                let corners = [label(x, y), label(x + 1, y), label(x, y + 1), label(x + 1, y + 1)];
                if corners.iter().all(|corner| *corner == corners[0]) {
                    continue;
                }
                let mut seen = corners.to_vec();
                seen.sort_unstable();
                seen.dedup();
                for label in seen.into_iter().filter(|label| *label != 0) {
                    let inside = corners.map(|corner| corner == label);
                    segments.extend(lines(inside, [x as f32 + 0.5, y as f32 + 0.5], label));
                }
            }
        }
        segments
    }
}

/// The lines of one square between four voxel centres (top left, top right, bottom left, bottom right).
fn lines(inside: [bool; 4], [x, y]: [f32; 2], label: u16) -> Vec<Segment> {
    let (top, left) = ([x + 0.5, y], [x, y + 0.5]);
    let (right, bottom) = ([x + 1.0, y + 0.5], [x + 0.5, y + 1.0]);
    let ends = match inside {
        [true, false, false, false] | [false, true, true, true] => vec![[top, left]],
        [false, true, false, false] | [true, false, true, true] => vec![[top, right]],
        [false, false, true, false] | [true, true, false, true] => vec![[left, bottom]],
        [false, false, false, true] | [true, true, true, false] => vec![[right, bottom]],
        [true, true, false, false] | [false, false, true, true] => vec![[left, right]],
        [true, false, true, false] | [false, true, false, true] => vec![[top, bottom]],
        [true, false, false, true] => vec![[top, left], [right, bottom]],
        [false, true, true, false] => vec![[top, right], [left, bottom]],
        _ => Vec::new(),
    };
    ends.into_iter().map(|ends| Segment { label, ends }).collect()
}

/// The lesions by descending volume, of equals the lowest label first.
pub(crate) fn by_size(lesions: &[Lesion]) -> Vec<&Lesion> {
    let mut lesions: Vec<&Lesion> = lesions.iter().collect();
    lesions.sort_by(|a, b| b.volume_mm3.total_cmp(&a.volume_mm3).then(a.label.cmp(&b.label)));
    lesions
}
