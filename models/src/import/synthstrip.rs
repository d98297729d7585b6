//! SynthStrip's checkpoint as an ONNX graph (Hoopes et al., NeuroImage 260:119474, 2022; `StripModel` of FreeSurfer's
//! `mri_synthstrip`).
//!
//! A U-Net of 3 x 3 x 3 convolutions with bias and LeakyReLU 0.2: on the way down each level's convolutions, then the
//! maximum of 2 x 2 x 2; on the way up each level's convolutions, then doubling (nearest) beside the level's output;
//! then convolutions at full resolution, the last of one channel and not rectified. What it gives is the distance to
//! the surface of the brain, mm, negative inside. Levels and widths follow from the weights' names and shapes.

use std::collections::BTreeMap;
use std::path::Path;

use sulcus_operators::digest::Digest;

use super::checkpoint::{self, Tensor};
use super::{ImportError, Partial, new, text};
use crate::brain::{BrainManifest, BrainPackage, LARGEST_REDUCTION, Task};
use crate::onnx::{ANY, Attribute, Graph};
use crate::package::{FORMAT, GOLDEN, MANIFEST, MODEL};

/// Field of the checkpoint that holds the weights.
pub const WEIGHTS: &str = "model_state_dict";
/// Name of the graph's input: (1, 1, z, y, x), each side a multiple of [`Network::reduction`].
pub const INPUT: &str = "image";
/// Name of the output: (1, 1, z, y, x).
pub const DISTANCE: &str = "distance";
/// Slope of LeakyReLU below zero.
const SLOPE: f32 = 0.2;
/// Most channels of a convolution.
const MOST_CHANNELS: usize = 4096;

/// The network as ONNX, and what it asks for.
#[derive(Clone, Debug)]
pub struct Network {
    /// The ONNX model.
    pub model: Vec<u8>,
    /// What the sides of the input must be multiples of: 64 for the published network.
    pub reduction: usize,
    /// Weights.
    pub parameters: usize,
}

/// Writes the network.
///
/// # Errors
/// The weight that is missing, has another shape than its place asks for, or has no place.
pub fn build(weights: &BTreeMap<String, Tensor>) -> Result<Network, String> {
    let mut net = Net { weights, used: 0, graph: Graph::new("SynthStrip", INPUT, &[1, 1, ANY, ANY, ANY]), channels: 1 };
    // Weights of a level beyond these have no place, and are refused below.
    let levels = (0..LARGEST_REDUCTION.ilog2()).take_while(|level| net.has(&format!("encoder.{level}.0"))).count();
    if levels == 0 {
        return Err("weight encoder.0.0.conv.weight is missing; this is no SynthStrip network".to_owned());
    }
    let mut skips = Vec::new();
    let mut input = INPUT.to_owned();
    for level in 0..levels {
        input = net.row(input, &format!("encoder.{level}"))?;
        skips.push((input.clone(), net.channels));
        let attributes = [("kernel_shape", Attribute::Ints(vec![2; 3])), ("strides", Attribute::Ints(vec![2; 3]))];
        let output = format!("encoder.{level}.pooled");
        net.graph.node("MaxPool", &[&input], &output, &attributes);
        input = output;
    }
    net.graph.weights("scales", &[5], &[1.0, 1.0, 2.0, 2.0, 2.0]);
    let nearest = [
        ("mode", Attribute::Text("nearest".to_owned())),
        ("coordinate_transformation_mode", Attribute::Text("asymmetric".to_owned())),
        ("nearest_mode", Attribute::Text("floor".to_owned())),
    ];
    for (level, (skip, channels)) in skips.iter().rev().enumerate() {
        input = net.row(input, &format!("decoder.{level}"))?;
        let (up, both) = (format!("decoder.{level}.up"), format!("decoder.{level}.both"));
        net.graph.node("Resize", &[&input, "", "scales"], &up, &nearest);
        net.graph.node("Concat", &[&up, skip], &both, &[("axis", Attribute::Int(1))]);
        net.channels += channels;
        input = both;
    }
    let mut last = 0;
    while net.has(&format!("remaining.{}", last + 1)) {
        input = net.conv(&input, &format!("remaining.{last}"), true)?;
        last += 1;
    }
    input = net.conv(&input, &format!("remaining.{last}"), false)?;
    if net.channels != 1 {
        return Err(format!("the last convolution has {} outputs where a distance is one number", net.channels));
    }
    if net.used < weights.len() {
        return Err(format!("{} of its {} weights have no place in it", weights.len() - net.used, weights.len()));
    }
    net.graph.node("Identity", &[&input], DISTANCE, &[]);
    let model = net.graph.finish(&[(DISTANCE, &[1, 1, ANY, ANY, ANY])], "written from SynthStrip's weights");
    let parameters = weights.values().map(|tensor| tensor.values.len()).sum();
    Ok(Network { model, reduction: 1 << levels, parameters })
}

/// Imports a checkpoint as a package. `golden` runs the package's self-test on what is written so far; nothing is left
/// behind where anything fails.
///
/// # Errors
/// [`ImportError`] with the file, and the weight where one is at fault.
pub fn import(
    path: &Path,
    output: &Path,
    name: Option<&str>,
    golden: impl FnOnce(BrainPackage) -> Result<Vec<u8>, String>,
) -> Result<(), ImportError> {
    new(output)?;
    let wrong = |reason: String| ImportError::Weights { path: path.to_owned(), plans: "SynthStrip", reason };
    let weights = checkpoint::weights(path, WEIGHTS)?;
    let Network { model, reduction, parameters } = build(&weights).map_err(wrong)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut manifest = BrainManifest {
        format: FORMAT,
        task: Task::BrainExtraction,
        name: name.unwrap_or("synthstrip").to_owned(),
        version: "1".to_owned(),
        description: "Distance to the surface of the brain in heads of any contrast.".to_owned(),
        provenance: format!(
            "SynthStrip's network of {parameters} weights (Hoopes et al., NeuroImage 260:119474, 2022), from {file}."
        ),
        research_use: "Research use only. Not for diagnosis.".to_owned(),
        reduction,
        files: BTreeMap::from([(MODEL.to_owned(), Digest::of(&model))]),
    };
    let partial = Partial::new(output)?;
    partial.write(MODEL, &model)?;
    partial.write(MANIFEST, text(&manifest)?.as_bytes())?;
    let package = BrainPackage::open(&partial.folder).map_err(|error| ImportError::Order(error.to_string()))?;
    let package = package.ok_or_else(|| ImportError::Order("the package was not written as one".to_owned()))?;
    let golden =
        golden(package).map_err(|reason| ImportError::Order(format!("the imported network fails: {reason}")))?;
    partial.write(GOLDEN, &golden)?;
    manifest.files.insert(GOLDEN.to_owned(), Digest::of(&golden));
    partial.write(MANIFEST, text(&manifest)?.as_bytes())?;
    partial.finish(output)
}

struct Net<'w> {
    weights: &'w BTreeMap<String, Tensor>,
    used: usize,
    graph: Graph,
    /// Channels of what was last computed.
    channels: usize,
}

impl Net<'_> {
    fn has(&self, prefix: &str) -> bool {
        self.weights.contains_key(&format!("{prefix}.conv.weight"))
    }

    /// All convolutions of a level, as many as there are.
    fn row(&mut self, mut input: String, prefix: &str) -> Result<String, String> {
        let mut at = 0;
        while at == 0 || self.has(&format!("{prefix}.{at}")) {
            input = self.conv(&input, &format!("{prefix}.{at}"), true)?;
            at += 1;
        }
        Ok(input)
    }

    fn conv(&mut self, input: &str, prefix: &str, rectified: bool) -> Result<String, String> {
        let weight = self.weight(
            format!("{prefix}.conv.weight"),
            |shape, channels| matches!(shape, [_, from, 3, 3, 3] if *from == channels),
        )?;
        let wide = self.weights[&weight].shape[0];
        if !(1..=MOST_CHANNELS).contains(&wide) {
            return Err(format!("weight {weight} gives {wide} channels; 1 to {MOST_CHANNELS} are possible"));
        }
        let bias = self.weight(format!("{prefix}.conv.bias"), |shape, _| shape == [wide])?;
        let (through, output) = (format!("{prefix}.out"), format!("{prefix}.rectified"));
        let attributes = [("kernel_shape", Attribute::Ints(vec![3; 3])), ("pads", Attribute::Ints(vec![1; 6]))];
        self.graph.node("Conv", &[input, &weight, &bias], &through, &attributes);
        self.channels = wide;
        if !rectified {
            return Ok(through);
        }
        self.graph.node("LeakyRelu", &[&through], &output, &[("alpha", Attribute::Float(SLOPE))]);
        Ok(output)
    }

    /// Adds a weight whose shape fits what has been computed so far.
    fn weight(&mut self, name: String, fits: impl Fn(&[usize], usize) -> bool) -> Result<String, String> {
        let tensor = self.weights.get(&name).ok_or_else(|| format!("weight {name} is missing"))?;
        if !fits(&tensor.shape, self.channels) {
            let (shape, channels) = (&tensor.shape, self.channels);
            return Err(format!("weight {name} has the shape {shape:?}, which does not fit {channels} channels"));
        }
        let shape: Vec<i64> = tensor.shape.iter().map(|length| *length as i64).collect();
        self.graph.weights(&name, &shape, &tensor.values);
        self.used += 1;
        Ok(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// One level of two features.
    fn weights() -> BTreeMap<String, Tensor> {
        let shapes: [(&str, usize, usize); 6] = [
            ("encoder.0.0", 2, 1),
            ("encoder.0.1", 2, 2),
            ("decoder.0.0", 3, 2),
            ("decoder.0.1", 3, 3),
            ("remaining.0", 2, 5),
            ("remaining.1", 1, 2),
        ];
        let tensor = |shape: &[usize]| Tensor { shape: shape.to_vec(), values: vec![0.5; shape.iter().product()] };
        shapes
            .iter()
            .flat_map(|(name, to, from)| {
                [
                    (format!("{name}.conv.weight"), tensor(&[*to, *from, 3, 3, 3])),
                    (format!("{name}.conv.bias"), tensor(&[*to])),
                ]
            })
            .collect()
    }

    #[test]
    fn levels_and_widths_follow_from_the_weights() {
        let network = build(&weights()).unwrap();
        assert_eq!((network.reduction, network.parameters), (2, weights().values().map(|t| t.values.len()).sum()));
    }

    #[test]
    fn weights_that_do_not_belong_together_are_named() {
        let refused = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
            let mut changed = weights();
            change(&mut changed);
            build(&changed).unwrap_err()
        };
        let without = |name: &'static str| move |all: &mut BTreeMap<String, Tensor>| drop(all.remove(name));
        assert!(refused(&without("encoder.0.0.conv.weight")).contains("encoder.0.0.conv.weight"));
        assert!(refused(&without("decoder.0.0.conv.bias")).contains("decoder.0.0.conv.bias"));
        assert!(refused(&without("remaining.1.conv.weight")).contains("2 outputs"));
        let renamed = |all: &mut BTreeMap<String, Tensor>| {
            let tensor = all["encoder.0.0.conv.bias"].clone();
            all.insert("norm.bias".to_owned(), tensor);
        };
        assert!(refused(&renamed).contains("1 of its 13 weights"));
        let empty = |all: &mut BTreeMap<String, Tensor>| {
            all.insert("encoder.0.0.conv.weight".to_owned(), Tensor { shape: vec![0, 1, 3, 3, 3], values: Vec::new() });
        };
        assert!(refused(&empty).contains("0 channels"));
        let deeper = |all: &mut BTreeMap<String, Tensor>| {
            for level in 1..9 {
                for part in ["0", "1"] {
                    for kind in ["weight", "bias"] {
                        let tensor = all[&format!("encoder.0.1.conv.{kind}")].clone();
                        all.insert(format!("encoder.{level}.{part}.conv.{kind}"), tensor);
                    }
                }
            }
        };
        assert!(!refused(&deeper).is_empty());
        let flat = |all: &mut BTreeMap<String, Tensor>| {
            let tensor = Tensor { shape: vec![3, 2, 3, 3], values: vec![0.0; 54] };
            all.insert("decoder.0.0.conv.weight".to_owned(), tensor);
        };
        assert!(refused(&flat).contains("decoder.0.0.conv.weight has the shape [3, 2, 3, 3]"));
    }
}
