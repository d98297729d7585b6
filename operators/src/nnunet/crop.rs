//! Crop to the nonzero region with its holes filled (nnU-Net `cropping.py::crop_to_nonzero`), and the way back.
//!
//! Owns which voxels count as the head; what is done with them is in `normalise` and `resample`.

use ndarray::{Array3, Array4, ArrayView3, ArrayView4, Axis, s};

/// A half-open box of voxels: `first..first + size` on each axis (z, y, x).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropBox {
    /// First voxel.
    pub first: [usize; 3],
    /// Voxels along each axis.
    pub size: [usize; 3],
}

/// A crop and what it was cut from.
#[derive(Clone, Debug)]
pub struct Cropped {
    /// Channels, z, y, x.
    pub voxels: Array4<f32>,
    /// True inside the filled nonzero region (nnU-Net's segmentation 0), false outside (-1).
    pub inside: Array3<bool>,
    /// Where the crop lies in the image.
    pub bounds: CropBox,
    /// Shape of the image.
    pub full: [usize; 3],
}

/// Cuts the tight box around the voxels that are nonzero in any channel, holes filled. An image of zeros only is
/// kept whole, as nnU-Net does.
pub fn crop_to_nonzero(channels: ArrayView4<'_, f32>) -> Cropped {
    let dim = channels.raw_dim();
    let full = [dim[1], dim[2], dim[3]];
    let mut inside = Array3::from_elem(full, false);
    for channel in channels.axis_iter(Axis(0)) {
        inside.zip_mut_with(&channel, |set, &value| *set |= value != 0.0);
    }
    let bounds = bounding_box(inside.view()).unwrap_or(CropBox { first: [0; 3], size: full });
    let [z, y, x] = std::array::from_fn(|axis| bounds.first[axis]..bounds.first[axis] + bounds.size[axis]);
    // A hole never reaches beyond the box, so filling the crop equals cropping the filled image.
    let mut inside = inside.slice(s![z.clone(), y.clone(), x.clone()]).to_owned();
    fill_holes(&mut inside);
    Cropped { voxels: channels.slice(s![.., z, y, x]).to_owned(), inside, bounds, full }
}

/// The tight box around the set voxels; none where there are none.
pub fn bounding_box(mask: ArrayView3<'_, bool>) -> Option<CropBox> {
    let dim = mask.raw_dim();
    let rows = dim[1];
    let mut first = [usize::MAX; 3];
    let mut last = [0; 3];
    let mut any = false;
    for (line, voxels) in mask.rows().into_iter().enumerate() {
        let Some(start) = voxels.iter().position(|&set| set) else { continue };
        let end = voxels.iter().rposition(|&set| set).unwrap_or(start);
        any = true;
        for (axis, (low, high)) in
            [(line / rows, line / rows), (line % rows, line % rows), (start, end)].iter().enumerate()
        {
            first[axis] = first[axis].min(*low);
            last[axis] = last[axis].max(*high);
        }
    }
    any.then(|| CropBox { first, size: std::array::from_fn(|axis| last[axis] + 1 - first[axis]) })
}

/// Sets every voxel that no path of unset voxels across faces joins to the border (`binary_fill_holes`).
pub fn fill_holes(mask: &mut Array3<bool>) {
    let dim = mask.raw_dim();
    let (rows, columns) = (dim[1], dim[2]);
    let slice_len = rows * columns;
    if mask.is_empty() {
        return;
    }
    let mut outside = vec![false; mask.len()];
    let set: Vec<bool> = mask.iter().copied().collect();
    let mut open: Vec<usize> = Vec::new();
    let mut reach = |at: usize, open: &mut Vec<usize>| {
        if !set[at] && !outside[at] {
            outside[at] = true;
            open.push(at);
        }
    };
    for (at, (z, y, x)) in ndarray::indices(mask.raw_dim()).into_iter().enumerate() {
        let border = z == 0 || z + 1 == dim[0] || y == 0 || y + 1 == rows || x == 0 || x + 1 == columns;
        if border {
            reach(at, &mut open);
        }
    }
    while let Some(at) = open.pop() {
        let (z, y, x) = (at / slice_len, at / columns % rows, at % columns);
        if x > 0 {
            reach(at - 1, &mut open);
        }
        if x + 1 < columns {
            reach(at + 1, &mut open);
        }
        if y > 0 {
            reach(at - columns, &mut open);
        }
        if y + 1 < rows {
            reach(at + columns, &mut open);
        }
        if z > 0 {
            reach(at - slice_len, &mut open);
        }
        if z + 1 < dim[0] {
            reach(at + slice_len, &mut open);
        }
    }
    for (voxel, outside) in mask.iter_mut().zip(outside) {
        *voxel = !outside;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A hollow cube of ones at 2..7 in 9 x 10 x 11, with a one-voxel tunnel where `open`.
    fn hollow(open: bool) -> Array4<f32> {
        let mut image = Array4::zeros((1, 9, 10, 11));
        image.slice_mut(s![0, 2..7, 2..7, 2..7]).fill(1.0);
        image.slice_mut(s![0, 3..6, 3..6, 3..6]).fill(0.0);
        if open {
            image[[0, 4, 4, 6]] = 0.0;
        }
        image
    }

    #[test]
    fn a_closed_hole_is_inside_and_an_open_one_is_not() {
        let closed = crop_to_nonzero(hollow(false).view());
        assert_eq!(closed.bounds, CropBox { first: [2; 3], size: [5; 3] });
        assert!(closed.inside.iter().all(|&inside| inside));
        let open = crop_to_nonzero(hollow(true).view());
        assert_eq!(open.inside.iter().filter(|inside| !**inside).count(), 27 + 1);
        assert_eq!(open.full, [9, 10, 11]);
    }

    #[test]
    fn any_channel_counts() {
        let mut image = Array4::zeros((2, 4, 4, 4));
        image[[0, 1, 1, 1]] = -1.0;
        image[[1, 2, 3, 0]] = 5.0;
        let cropped = crop_to_nonzero(image.view());
        assert_eq!(cropped.bounds, CropBox { first: [1, 1, 0], size: [2, 3, 2] });
        assert_eq!(cropped.voxels.dim(), (2, 2, 3, 2));
    }

    #[test]
    fn an_image_of_zeros_is_kept_whole() {
        let cropped = crop_to_nonzero(Array4::zeros((1, 3, 4, 5)).view());
        assert_eq!(cropped.bounds, CropBox { first: [0; 3], size: [3, 4, 5] });
        assert!(cropped.inside.iter().all(|inside| !inside));
    }

    #[test]
    fn a_diagonal_gap_does_not_open_a_hole() {
        let mut mask = Array3::from_elem((5, 5, 5), false);
        mask.slice_mut(s![1..4, 1..4, 1..4]).fill(true);
        mask[[2, 2, 2]] = false;
        mask[[1, 1, 1]] = false;
        fill_holes(&mut mask);
        assert!(mask[[2, 2, 2]] && !mask[[1, 1, 1]]);
    }
}
