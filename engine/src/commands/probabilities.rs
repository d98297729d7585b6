//! `CASE.npz` and `CASE.pkl` as `nnUNetv2_predict --save_probabilities` writes them, so that `nnUNetv2_ensemble` and
//! others read them.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use ndarray::ArrayView4;
use sulcus_models::predict::Predicted;
use sulcus_operators::nifti_image::Image;
use zip::{ZipWriter, write::SimpleFileOptions};

/// Writes probabilities (outputs, z, y, x) as `numpy.savez_compressed(path, probabilities=...)` does.
pub(super) fn write(path: &Path, probabilities: ArrayView4<'_, f32>) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(path)?));
    zip.start_file("probabilities.npy", SimpleFileOptions::default().large_file(true))?;
    let (outputs, z, y, x) = probabilities.dim();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({outputs}, {z}, {y}, {x}), }}");
    // The header ends in a line feed at a multiple of 64 bytes (NEP 1).
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 11;
    header.push_str(&" ".repeat(padded - header.len()));
    header.push('\n');
    zip.write_all(b"\x93NUMPY\x01\x00")?;
    zip.write_all(&(header.len() as u16).to_le_bytes())?;
    zip.write_all(header.as_bytes())?;
    for plane in probabilities.rows() {
        zip.write_all(&plane.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    zip.finish()?.flush()
}

/// Writes the properties of an image as nnU-Net's reader and preprocessor note them.
pub(super) fn write_properties(path: &Path, image: &Image, predicted: &Predicted) -> io::Result<()> {
    let affine = &image.grid.affine;
    let lengths = image.grid.spacing();
    let direction: Vec<Value> =
        (0..3).flat_map(|row| (0..3).map(move |axis| Value::Float(affine[row][axis] / lengths[axis]))).collect();
    let floats = |values: &[f64]| values.iter().copied().map(Value::Float).collect::<Vec<_>>();
    let counts = |values: &[usize]| values.iter().map(|value| Value::Int(*value as i32)).collect::<Vec<_>>();
    let [x, y, z] = image.spacing;
    let bounds = predicted.bounds;
    let boxed = (0..3).map(|axis| Value::List(counts(&[bounds.first[axis], bounds.first[axis] + bounds.size[axis]])));
    let properties = Value::Dict(vec![
        (
            "sitk_stuff",
            Value::Dict(vec![
                ("spacing", Value::Tuple(floats(&image.spacing))),
                ("origin", Value::Tuple(floats(&[affine[0][3], affine[1][3], affine[2][3]]))),
                ("direction", Value::Tuple(direction)),
            ]),
        ),
        ("spacing", Value::List(floats(&[z, y, x]))),
        ("shape_before_cropping", Value::Tuple(counts(&predicted.full))),
        ("bbox_used_for_cropping", Value::List(boxed.collect())),
        ("shape_after_cropping_and_before_resampling", Value::Tuple(counts(&bounds.size))),
    ]);
    let mut bytes = b"\x80\x02".to_vec();
    properties.pickle(&mut bytes);
    bytes.push(b'.');
    std::fs::write(path, bytes)
}

/// As much of Python as these properties need.
enum Value {
    Int(i32),
    Float(f64),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(&'static str, Value)>),
}

impl Value {
    /// Writes the value in protocol 2.
    fn pickle(&self, out: &mut Vec<u8>) {
        match self {
            Value::Int(value) => {
                out.push(b'J');
                out.extend(value.to_le_bytes());
            }
            Value::Float(value) => {
                out.push(b'G');
                out.extend(value.to_be_bytes());
            }
            Value::List(members) => {
                out.extend(b"](");
                members.iter().for_each(|member| member.pickle(out));
                out.push(b'e');
            }
            Value::Tuple(members) => {
                out.push(b'(');
                members.iter().for_each(|member| member.pickle(out));
                out.push(b't');
            }
            Value::Dict(entries) => {
                out.extend(b"}(");
                for (key, value) in entries {
                    out.push(b'X');
                    out.extend((key.len() as u32).to_le_bytes());
                    out.extend(key.as_bytes());
                    value.pickle(out);
                }
                out.push(b'u');
            }
        }
    }
}
