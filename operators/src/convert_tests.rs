//! Promises of conversion, on real files and on small series.
#![allow(clippy::unwrap_used)]

use nifti::{IntoNdArray, NiftiObject, ReaderOptions};

use super::*;
use crate::nifti_file;
use crate::prescan::IMPLICIT_LE;
use crate::scanner_files::scanner_files;

/// A slice of 2 x 2 voxels in implicit VR, with the given texts for (group, element).
fn slice(number: u8, z: &str, change: &[(u16, u16, &str)]) -> Vec<u8> {
    let uid = format!("1.2.{number}");
    let position = format!("10\\20\\{z}");
    let mut texts = BTreeMap::from([
        ((0x0008, 0x0008), "ORIGINAL\\PRIMARY\\M\\ND"),
        ((0x0008, 0x0018), uid.as_str()),
        ((0x0018, 0x0050), "3"),
        ((0x0020, 0x0032), position.as_str()),
        ((0x0020, 0x0037), "1\\0\\0\\0\\1\\0"),
        ((0x0020, 0x0052), "1.9"),
        ((0x0028, 0x0030), "0.5\\0.7"),
        ((0x0028, 0x1052), "-1"),
        ((0x0028, 0x1053), "2"),
        ((0x0028, 0x0004), "MONOCHROME2"),
    ]);
    texts.extend(change.iter().map(|(group, element, text)| ((*group, *element), *text)));
    let mut elements: Vec<((u16, u16), Vec<u8>)> =
        texts.into_iter().map(|(tag, text)| (tag, text.as_bytes().to_vec())).collect();
    let numbers = [(0x10, 2u16), (0x11, 2), (0x100, 16), (0x101, 12), (0x102, 11), (0x103, 0)];
    elements.extend(numbers.map(|(element, value)| ((0x28, element), value.to_le_bytes().to_vec())));
    let words = [u16::from(number), 2, 3, 0xF004].iter().flat_map(|word| word.to_le_bytes()).collect();
    if !elements.iter().any(|(tag, _)| *tag == (0x7FE0, 0x10)) {
        elements.push(((0x7FE0, 0x10), words));
    }
    elements.sort();
    let mut bytes = Vec::new();
    for ((group, element), value) in elements {
        bytes.extend([group.to_le_bytes(), element.to_le_bytes()].concat());
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(value);
    }
    bytes
}

fn convert(slices: &[Vec<u8>]) -> Result<Vec<Volume>, ConvertError> {
    let encoded: Vec<Encoded<'_>> =
        slices.iter().map(|data_set| Encoded { transfer_syntax: IMPLICIT_LE, data_set }).collect();
    volumes(&encoded)
}

fn three() -> Vec<Vec<u8>> {
    vec![slice(3, "9", &[]), slice(1, "3", &[]), slice(2, "6", &[])]
}

#[test]
fn slices_are_sorted_by_position_and_rescaled() {
    let volumes = convert(&three()).unwrap();
    let volume = &volumes[0];
    assert_eq!(volume.grid.size, [2, 2, 3]);
    assert_eq!(
        volume.grid.affine,
        [[0.7, 0.0, 0.0, 10.0], [0.0, 0.5, 0.0, 20.0], [0.0, 0.0, 3.0, 3.0], [0.0, 0.0, 0.0, 1.0]]
    );
    assert_eq!(volume.voxels.as_slice().unwrap(), [1., 3., 5., 7., 3., 3., 5., 7., 5., 3., 5., 7.]);
    assert_eq!(volume.frames[2].sop_instance_uid, "1.2.3");
    assert_eq!(volume.frames[2].frame, None);
    assert!(volume.intensity_scale.contains("stored x 2 + -1"));
    assert!(volume.notes[0].contains("RescaleIntercept"));
}

#[test]
fn each_slice_keeps_its_own_rescale() {
    let mut slices = three();
    slices[0] = slice(3, "9", &[(0x0028, 0x1053, "10"), (0x0028, 0x1052, "0")]);
    let volume = convert(&slices).unwrap().remove(0);
    assert_eq!(volume.voxels[[2, 0, 0]], 30.0);
    assert_eq!(volume.voxels[[1, 0, 0]], 3.0);
    assert!(volume.intensity_scale.contains("of each slice"));
}

#[test]
fn magnitude_and_phase_in_one_series_are_two_volumes() {
    let phase = [(0x0008, 0x0008, "ORIGINAL\\PRIMARY\\P\\ND")];
    let mut slices = three();
    slices.extend([slice(4, "3", &phase), slice(5, "6", &phase)]);
    let volumes = convert(&slices).unwrap();
    assert_eq!(volumes.iter().map(|volume| volume.grid.size[2]).collect::<Vec<_>>(), [3, 2]);
}

#[test]
fn one_slice_is_a_volume_as_thick_as_it_says() {
    let volume = convert(&[slice(1, "3", &[])]).unwrap().remove(0);
    assert_eq!(volume.grid.spacing(), [0.7, 0.5, 3.0]);
}

#[test]
fn a_rescale_that_is_no_number_gives_no_volume() {
    let with = |element: u16, text: &str| convert(&[slice(1, "3", &[(0x0028, element, text)])]);
    for (element, text) in [
        (0x1053, "2,5"),
        (0x1053, "NaN"),
        (0x1053, "inf"),
        (0x1053, "0"),
        (0x1053, "-0.0"),
        (0x1052, "abc"),
        (0x1052, "NaN "),
    ] {
        let error = with(element, text).unwrap_err();
        assert!(matches!(error, ConvertError::Frames(FramesError::Rescale { .. })), "{text}: {error}");
    }
    // An empty element says nothing, like one that is not there.
    assert_eq!(with(0x1053, "  ").unwrap()[0].voxels.as_slice().unwrap(), [0., 1., 2., 3.]);
}

#[test]
fn monochrome1_is_turned_round_and_padding_is_nothing() {
    let slices = [slice(1, "3", &[(0x0028, 0x0004, "MONOCHROME1"), (0x0028, 0x1052, "0"), (0x0028, 0x1053, "1")])];
    assert_eq!(convert(&slices).unwrap()[0].voxels.as_slice().unwrap(), [4094., 4093., 4092., 4091.]);
    let padded = [slice(1, "3", &[(0x0028, 0x0120, "\u{3}\0")])];
    assert_eq!(convert(&padded).unwrap()[0].voxels.as_slice().unwrap(), [1., 3., 0., 7.]);
}

#[test]
fn what_makes_no_volume_is_named() {
    let with = |extra: Vec<u8>| {
        let mut slices = three();
        slices.push(extra);
        convert(&slices).unwrap_err()
    };
    assert!(matches!(convert(&[]), Err(ConvertError::Empty)));
    assert!(matches!(with(slice(9, "6", &[])), ConvertError::Doubled { count: 1, .. }));
    assert!(matches!(with(slice(9, "18", &[])), ConvertError::Missing { count: 2, .. }));
    assert!(matches!(with(slice(9, "13.4", &[])), ConvertError::Mixed { .. }));
    assert!(matches!(with(slice(9, "12", &[(0x20, 0x37, "1\\0\\0\\0\\0\\1")])), ConvertError::Mixed { .. }));
    assert!(matches!(with(slice(9, "12", &[(0x20, 0x32, "")])), ConvertError::NoGeometry { .. }));
    assert!(matches!(with(slice(9, "12", &[(0x20, 0x32, "13\\20\\12")])), ConvertError::Irregular { .. }));
    assert!(matches!(with(slice(9, "12", &[(0x20, 0x52, "1.8")])), ConvertError::MixedFrameOfReference));
    assert!(matches!(with(slice(9, "12", &[(0x08, 0x08, "ORIGINAL\\PRIMARY\\M\\MOSAIC")])), ConvertError::Mosaic));
    assert!(matches!(with(slice(9, "12", &[(0x7FE0, 0x10, "")])), ConvertError::Pixels { .. }));
}

#[test]
fn deflated_images_share_one_bound() {
    // 400 MB of zeros in a private element before the image, which each may be and three may not.
    let mut bytes = [&[9, 0, 0x10, 0, b'L', b'O', 4, 0][..], b"TEST", &[9, 0, 1, 0x10, b'O', b'B', 0, 0]].concat();
    bytes.extend(400_000_000u32.to_le_bytes());
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 400_000_000), &mut encoder).unwrap();
    // Rows, so that it counts as an image.
    std::io::Write::write_all(&mut encoder, &[0x28, 0, 0x10, 0, b'U', b'S', 2, 0, 2, 0]).unwrap();
    std::io::Write::write_all(&mut encoder, &[0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0, 2, 0, 0, 0, 7, 0]).unwrap();
    let data_set = encoder.finish().unwrap();
    let left = Mutex::new(MOST_INFLATED);
    let encoded = Encoded { transfer_syntax: DEFLATED_LE, data_set: &data_set };
    let held: Vec<_> = (0..2).map(|_| scan(encoded, &left).unwrap()).collect();
    assert!(held.iter().all(|scan| scan.bytes().len() > 400_000_000));
    assert_eq!(scan(encoded, &left).unwrap_err(), ConvertError::InflatesTooFar);
}

#[test]
fn an_orientation_that_is_not_square_gives_no_volume() {
    let turned = |cosines: &str| {
        let change = [(0x20, 0x37, cosines)];
        convert(&[slice(1, "3", &change), slice(2, "6", &change), slice(3, "9", &change)])
    };
    for cosines in ["2\\0\\0\\0\\2\\0", "1\\0\\0\\0.5\\0.866025\\0", "1\\0\\0\\0.0002\\1\\0", "1\\0\\0\\0\\0.99\\0"] {
        assert!(matches!(turned(cosines), Err(ConvertError::Skewed { .. })), "{cosines}");
    }
    for cosines in ["0.6\\0.8\\0\\-0.8\\0.6\\0", "0.7071\\0.7071\\0\\-0.7071\\0.7071\\0", "1\\0\\0\\0\\1.00009\\0"] {
        assert!(turned(cosines).is_ok(), "{cosines}");
    }
}

#[test]
fn the_chosen_volume_converts_although_another_is_broken() {
    let mut slices = three();
    slices.push(slice(9, "6", &[(0x0008, 0x0008, "ORIGINAL\\PRIMARY\\P\\ND"), (0x0020, 0x0032, "")]));
    let encoded: Vec<Encoded<'_>> =
        slices.iter().map(|data_set| Encoded { transfer_syntax: IMPLICIT_LE, data_set }).collect();
    assert!(volumes(&encoded).is_err());
    assert_eq!(volume(&encoded, "ORIGINAL\\PRIMARY\\M\\ND").unwrap().grid.size, [2, 2, 3]);
    assert!(matches!(volume(&encoded, "other"), Err(ConvertError::NoSuchStack(_))));
}

#[test]
fn mosaics_in_every_encoding_are_refused() {
    let Some(files) = scanner_files("transfer-syntaxes/In") else { return };
    for file in &files {
        assert_eq!(volumes(&[file.encoded()]).unwrap_err(), ConvertError::Mosaic);
    }
}

#[test]
fn a_file_holds_stored_samples_where_they_say_it_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume.nii");
    let wide = [(0x0028, 0x1052, "1e30")];
    let turned = [(0x0028, 0x1053, "-2")];
    for (change, bits) in [(&[][..], 16), (&wide, 32), (&turned, 32), (&[(0x0028, 0x1053, "1e300")], 32)] {
        let volume = convert(&[slice(1, "3", change)]).unwrap().remove(0);
        nifti_file::write(&volume, &path).unwrap();
        let file = ReaderOptions::new().read_file(&path).unwrap();
        assert_eq!(file.header().bitpix, bits, "{change:?}");
        let voxels = file.into_volume().into_ndarray::<f32>().unwrap();
        assert_eq!(voxels.t().iter().collect::<Vec<_>>(), volume.voxels.iter().collect::<Vec<_>>(), "{change:?}");
    }
}

#[test]
fn real_series_convert_and_survive_a_nifti_file() {
    let folder = tempfile::tempdir().unwrap();
    for (series, size) in [
        ("philips-mprage-classic/In", [256, 256, 170]),
        ("siemens-xa30-enhanced/In/5_anat-T1w_acq-tfl", [128, 128, 96]),
    ] {
        let Some(files) = scanner_files(series) else { return };
        let encoded: Vec<Encoded<'_>> = files.iter().map(|file| file.encoded()).collect();
        let volumes = volumes(&encoded).unwrap();
        assert_eq!((volumes.len(), volumes[0].grid.size), (1, size));
        for name in ["volume.nii", "volume.nii.gz"] {
            let path = folder.path().join(name);
            nifti_file::write(&volumes[0], &path).unwrap();
            let file = ReaderOptions::new().read_file(&path).unwrap();
            assert_eq!((file.header().qform_code, file.header().sform_code), (1, 1));
            let affine: Vec<[f64; 2]> = transforms::both(file.header());
            assert!(affine.iter().all(|[q, s]| (q - s).abs() < 1e-3), "qform and sform differ: {affine:?}");
            let voxels = file.into_volume().into_ndarray::<f32>().unwrap();
            // The slope of a NIfTI header is a float32.
            for (index, voxel) in volumes[0].voxels.indexed_iter() {
                let read = voxels[[index.2, index.1, index.0]];
                assert!((read - voxel).abs() <= 2.0 * f32::EPSILON * voxel.abs(), "{read} is not {voxel}");
            }
        }
    }
}

#[test]
fn a_sheared_volume_has_an_sform_and_no_qform() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("volume.nii");
    let at = |number: u8, position: &str| slice(number, "0", &[(0x0020, 0x0032, position)]);
    let sheared = [at(1, "10\\20\\3"), at(2, "10\\20.7\\6"), at(3, "10\\21.4\\9")];
    for (slices, code) in [(&sheared[..], 0), (&three(), 1)] {
        let volume = convert(slices).unwrap().remove(0);
        nifti_file::write(&volume, &path).unwrap();
        let header = ReaderOptions::new().read_file(&path).unwrap().header().clone();
        assert_eq!((header.qform_code, header.sform_code), (code, 1));
        let step = [header.srow_x[2], header.srow_y[2], header.srow_z[2]];
        assert_eq!(step, if code == 0 { [0.0, -0.7, 3.0] } else { [0.0, 0.0, 3.0] });
    }
}

#[test]
fn a_nifti_file_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut volume = convert(&three()).unwrap().remove(0);
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for name in ["a.nii", "a.nii.gz"] {
        nifti_file::write(&volume, &folder.path().join(name)).unwrap();
    }
    nifti_file::write_sidecar(&serde_json::json!({"EchoTime": 3}), &folder.path().join("a.json")).unwrap();
    assert_eq!(names(), ["a.json", "a.nii", "a.nii.gz"]);
    // The name is taken by a folder, so that the last step fails.
    std::fs::create_dir_all(folder.path().join("b.nii/in")).unwrap();
    assert!(nifti_file::write(&volume, &folder.path().join("b.nii")).is_err());
    assert!(nifti_file::write_sidecar(&serde_json::json!({}), &folder.path().join("b.nii")).is_err());
    volume.grid.size[0] = 40_000;
    assert!(nifti_file::write(&volume, &folder.path().join("c.nii")).is_err());
    assert_eq!(names(), ["a.json", "a.nii", "a.nii.gz", "b.nii"]);
}

/// qform and sform of a header, part by part, in the arithmetic of nifti1.h.
mod transforms {
    use nifti::NiftiHeader;

    pub fn both(header: &NiftiHeader) -> Vec<[f64; 2]> {
        let [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d].map(f64::from);
        let a = (1.0 - (b * b + c * c + d * d)).max(0.0).sqrt();
        let rotation = [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ];
        let mut parts = Vec::new();
        let offset = [header.quatern_x, header.quatern_y, header.quatern_z].map(f64::from);
        for (row, sform) in [header.srow_x, header.srow_y, header.srow_z].iter().enumerate() {
            for axis in 0..3 {
                let flip = if axis == 2 { f64::from(header.pixdim[0]) } else { 1.0 };
                let length = f64::from(header.pixdim[axis + 1]) * flip;
                parts.push([rotation[row][axis] * length, f64::from(sform[axis])]);
            }
            parts.push([offset[row], f64::from(sform[3])]);
        }
        parts
    }
}
