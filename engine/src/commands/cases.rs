//! Folders of NIfTI images as nnU-Net names them, and their images as a network's reader turns them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use ndarray::{Array3, Array4, Axis};
use sulcus_models::{package::Package, reorient::Reorientation};
use sulcus_operators::nifti_image::{self, Image};

use super::{CommandError, chain};

/// The files of each case, a channel each.
pub(super) type Cases = BTreeMap<String, Vec<PathBuf>>;

/// Cases of a folder by name: `CASE_0000.nii.gz` and so on.
pub(super) fn cases(folder: &Path, channels: usize) -> Result<Cases, CommandError> {
    let unreadable = |error: std::io::Error| {
        CommandError::usage(format!("{} cannot be read: {error}", folder.display()), "name a folder of images")
    };
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        for ending in [".nii.gz", ".nii"] {
            if let Some(case) = name.strip_suffix(ending).and_then(|stem| stem.strip_suffix("_0000")) {
                names.insert((case.to_owned(), ending));
            }
        }
    }
    let twice = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one.0 == next.0);
    if let Some(((case, _), _)) = twice {
        return Err(CommandError::usage(
            format!("case {case} is there twice, as {case}_0000.nii and as {case}_0000.nii.gz"),
            "remove the one that is not meant",
        ));
    }
    if names.is_empty() {
        return Err(CommandError::usage(
            format!("{} holds no file named CASE_0000.nii.gz or CASE_0000.nii", folder.display()),
            "name images as nnU-Net does, the channel behind the last underscore",
        ));
    }
    let files = |case: &str, ending: &str| {
        (0..channels).map(|channel| folder.join(format!("{case}_{channel:04}{ending}"))).collect()
    };
    Ok(names.iter().map(|(case, ending)| (case.clone(), files(case, ending))).collect())
}

/// Reads a case's images.
pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Image>, String> {
    files.iter().map(|file| nifti_image::read(file)).collect::<Result<_, _>>().map_err(|error| chain(&error))
}

/// A case as the network's reader gives it.
pub(super) struct Turned {
    /// Channels, z, y, x.
    pub(super) channels: Array4<f32>,
    /// Spacing of z, y, x, mm.
    pub(super) spacing: [f64; 3],
    /// Its first image as it was read.
    pub(super) first: Image,
    /// How it was turned, if it was.
    pub(super) way: Option<Reorientation>,
}

/// Lays a case's images on each other.
pub(super) fn turned(package: &Package, images: Vec<Image>) -> Result<Turned, String> {
    let mut images = images.into_iter();
    let first = images.next().ok_or("it has no image")?;
    let way = Reorientation::of_reader(&package.plans().reader, &first.grid)?;
    let turned = |image: &Image| match way {
        None => image.voxels.clone(),
        Some(way) => way.forward(image.voxels.view()),
    };
    let voxels = turned(&first);
    let mut channels = Array4::zeros((0, voxels.dim().0, voxels.dim().1, voxels.dim().2));
    let mut push = |voxels: Array3<f32>| channels.push(Axis(0), voxels.view()).map_err(|error| error.to_string());
    push(voxels)?;
    for image in images {
        if image.voxels.dim() != first.voxels.dim() || !together(&image, &first) {
            let reason = "its channels differ in shape, spacing, orientation or place; resample them to one grid";
            return Err(reason.to_owned());
        }
        push(turned(&image))?;
    }
    let [x, y, z] = first.spacing;
    let spacing = way.map_or([z, y, x], |way| way.by_axis([z, y, x]));
    Ok(Turned { channels, spacing, first, way })
}

/// Whether two images of one shape lie on one grid: no corner is off by more than a quarter of the smallest voxel.
fn together(image: &Image, first: &Image) -> bool {
    let most = 0.25 * first.spacing.iter().copied().fold(f64::INFINITY, f64::min);
    let ends = first.grid.size.map(|length| [0.0, length.saturating_sub(1) as f64]);
    let corners = (0..8).map(|corner| std::array::from_fn(|axis| ends[axis][corner >> axis & 1]));
    let apart = |index: [f64; 3]| {
        let (a, b) = (image.grid.point(index), first.grid.point(index));
        (0..3).map(|axis| (a[axis] - b[axis]).abs()).fold(0.0, f64::max)
    };
    image.spacing.iter().zip(first.spacing).all(|(a, b)| (a - b).abs() <= 1e-3 * b)
        && corners.map(apart).all(|distance| distance <= most)
}
