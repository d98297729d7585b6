//! From an architecture and its weights to an ONNX graph.
//!
//! Layers, their order and the names of their weights are those of `dynamic_network_architectures`
//! (`PlainConvEncoder`, `ResidualEncoder`, `UNetDecoder`). The graph has a fixed patch and a free batch; beside the
//! logits it gives the mean of each feature at the bottleneck.

use std::collections::{BTreeMap, BTreeSet};

use super::architecture::{Architecture, Encoder};
use super::checkpoint::Tensor;
use crate::onnx::{Attribute, FLOAT, FLOAT16, FREE, Graph};

/// Name of the graph's input: (batch, channel, z, y, x), or without z in 2D.
pub const INPUT: &str = "image";
/// Name of the output with the logits: (batch, class, z, y, x).
pub const LOGITS: &str = "logits";
/// Name of the output with the means of the bottleneck's features: (batch, feature).
pub const FEATURES: &str = "features";

/// What a network reads and writes.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Input channels.
    pub channels: usize,
    /// Output classes.
    pub classes: usize,
    /// Side lengths of a tile, (z, y, x) or (y, x).
    pub patch: Vec<usize>,
}

/// Whether a weight of a checkpoint is one that the network reads; the others are second names of the same tensors.
pub fn is_weight(name: &str) -> bool {
    !name.contains(".all_modules.") && !name.starts_with("decoder.encoder.")
}

/// Writes the network as an ONNX model, with weights in fp16 where `half`.
///
/// # Errors
/// What does not fit, by the weight's name: weights and plans then belong to different networks.
pub fn build(
    network: &Architecture,
    weights: &BTreeMap<String, Tensor>,
    ports: &Ports,
    half: bool,
) -> Result<Vec<u8>, String> {
    let uneven = ports.patch.iter().zip(network.reduction()).find(|(side, factor)| *side % factor != 0);
    if ports.patch.len() != network.axes || uneven.is_some() {
        let (patch, factors) = (&ports.patch, network.reduction());
        return Err(format!(
            "patch_size {patch:?} is not made of multiples of {factors:?}, the product of all strides"
        ));
    }
    let sides: Vec<i64> = ports.patch.iter().map(|side| *side as i64).collect();
    let shape = |channels: usize| [&[FREE, channels as i64], sides.as_slice()].concat();
    let graph = Graph::new("nnU-Net", INPUT, &shape(ports.channels));
    let graph = if half { graph.in_half_precision() } else { graph };
    let mut net = Net { network, weights, graph, half, used: BTreeSet::new() };

    let image = net.cast(INPUT, FLOAT16, "image_half");
    let (skips, mut below) = net.encoder(&image, ports.channels)?;
    let pooled = net.op("GlobalAveragePool", &[&below], "bottleneck_mean", &[]);
    let deepest = network.features.len() - 1;
    for (at, (skip, stage)) in skips.iter().rev().zip((0..deepest).rev()).enumerate() {
        below = net.up(&below, skip, at, stage)?;
    }
    let head = format!("decoder.seg_layers.{}", deepest - 1);
    let wide = net.conv(&below, &head, &Conv::point(network, network.features[0], ports.classes, true))?;
    let features = net.op("Flatten", &[&pooled], "bottleneck", &[("axis", Attribute::Int(1))]);
    net.out(&wide, LOGITS);
    net.out(&features, FEATURES);

    let deep_supervision = |name: &str| name.starts_with("decoder.seg_layers.");
    let left = weights.keys().find(|name| !net.used.contains(*name) && !deep_supervision(name));
    if let Some(name) = left {
        return Err(format!("weight {name} has no place in the network of the plans"));
    }
    let bottleneck = [FREE, network.features[deepest] as i64];
    let outputs: [(&str, &[i64]); 2] = [(LOGITS, &shape(ports.classes)), (FEATURES, &bottleneck)];
    Ok(net.graph.finish(&outputs, "written from nnU-Net's plans and weights"))
}

struct Net<'w> {
    network: &'w Architecture,
    weights: &'w BTreeMap<String, Tensor>,
    graph: Graph,
    half: bool,
    used: BTreeSet<String>,
}

/// The shape of a convolution.
struct Conv {
    from: usize,
    to: usize,
    kernel: Vec<usize>,
    stride: Vec<usize>,
    bias: bool,
}

impl Conv {
    fn point(network: &Architecture, from: usize, to: usize, bias: bool) -> Self {
        Conv { from, to, kernel: vec![1; network.axes], stride: vec![1; network.axes], bias }
    }
}

type Built = Result<String, String>;

impl Net<'_> {
    fn op(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute)]) -> String {
        self.graph.node(operator, inputs, output, attributes);
        output.to_owned()
    }

    fn cast(&mut self, input: &str, to: i64, output: &str) -> String {
        if !self.half {
            return input.to_owned();
        }
        self.op("Cast", &[input], output, &[("to", Attribute::Int(to))])
    }

    fn out(&mut self, input: &str, output: &str) {
        match self.half {
            true => drop(self.op("Cast", &[input], output, &[("to", Attribute::Int(FLOAT))])),
            false => drop(self.op("Identity", &[input], output, &[])),
        }
    }

    /// Adds a weight to the graph, once it has the shape that the plans give it.
    fn weight(&mut self, name: &str, shape: &[usize]) -> Built {
        let tensor = self.weights.get(name).ok_or_else(|| format!("weight {name} is missing"))?;
        if tensor.shape != shape {
            return Err(format!("weight {name} has the shape {:?} where the plans say {shape:?}", tensor.shape));
        }
        self.used.insert(name.to_owned());
        let shape: Vec<i64> = shape.iter().map(|length| *length as i64).collect();
        self.graph.weights(name, &shape, &tensor.values);
        Ok(name.to_owned())
    }

    /// Weight and, where there is one, bias.
    fn weights(&mut self, prefix: &str, shape: &[usize], bias: Option<usize>) -> Result<Vec<String>, String> {
        let mut names = vec![self.weight(&format!("{prefix}.weight"), shape)?];
        if let Some(length) = bias {
            names.push(self.weight(&format!("{prefix}.bias"), &[length])?);
        }
        Ok(names)
    }

    /// A convolution whose padding keeps the size at stride 1.
    fn conv(&mut self, input: &str, prefix: &str, conv: &Conv) -> Built {
        let shape = [&[conv.to, conv.from], conv.kernel.as_slice()].concat();
        let weights = self.weights(prefix, &shape, conv.bias.then_some(conv.to))?;
        let half: Vec<usize> = conv.kernel.iter().map(|length| (length - 1) / 2).collect();
        let attributes = [
            ("kernel_shape", ints(&conv.kernel)),
            ("strides", ints(&conv.stride)),
            ("pads", ints(&[half.as_slice(), &half].concat())),
        ];
        let inputs: Vec<&str> = std::iter::once(input).chain(weights.iter().map(String::as_str)).collect();
        Ok(self.op("Conv", &inputs, &format!("{prefix}.out"), &attributes))
    }

    /// `ConvDropoutNormReLU`, the last part of it only where `rectified`.
    fn block(&mut self, input: &str, prefix: &str, conv: &Conv, rectified: bool) -> Built {
        let through = self.conv(input, &format!("{prefix}.conv"), conv)?;
        let norm = self.weights(&format!("{prefix}.norm"), &[conv.to], Some(conv.to))?;
        let inputs: Vec<&str> = std::iter::once(through.as_str()).chain(norm.iter().map(String::as_str)).collect();
        let epsilon = [("epsilon", Attribute::Float(self.network.epsilon))];
        let normalised = self.op("InstanceNormalization", &inputs, &format!("{prefix}.norm.out"), &epsilon);
        Ok(if rectified { self.rectify(&normalised, &format!("{prefix}.rectified")) } else { normalised })
    }

    fn rectify(&mut self, input: &str, output: &str) -> String {
        self.op("LeakyRelu", &[input], output, &[("alpha", Attribute::Float(self.network.slope))])
    }

    /// Convolutions in a row (`StackedConvBlocks`), the stride in the first.
    fn stack(&mut self, input: &str, prefix: &str, from: usize, stage: usize, count: usize, stride: &[usize]) -> Built {
        let (to, kernel) = (self.network.features[stage], &self.network.kernels[stage]);
        (0..count).try_fold(input.to_owned(), |input, at| {
            let conv = Conv {
                from: if at == 0 { from } else { to },
                to,
                kernel: kernel.clone(),
                stride: if at == 0 { stride.to_vec() } else { vec![1; self.network.axes] },
                bias: self.network.bias,
            };
            self.block(&input, &format!("{prefix}.convs.{at}"), &conv, true)
        })
    }

    /// Gives the outputs of all stages but the last, and that of the last.
    fn encoder(&mut self, image: &str, channels: usize) -> Result<(Vec<String>, String), String> {
        let network = self.network;
        let (mut input, mut from) = (image.to_owned(), channels);
        if network.encoder == Encoder::Residual {
            let stride = vec![1; network.axes];
            input = self.stack(&input, "encoder.stem", from, 0, 1, &stride)?;
            from = network.features[0];
        }
        let mut skips = Vec::new();
        for stage in 0..network.features.len() {
            let (count, stride) = (network.blocks[stage], &network.strides[stage]);
            let prefix = format!("encoder.stages.{stage}");
            input = match network.encoder {
                Encoder::Plain => self.stack(&input, &format!("{prefix}.0"), from, stage, count, stride)?,
                Encoder::Residual => (0..count).try_fold(input, |input, block| {
                    let (from, stride) = if block == 0 {
                        (from, stride.clone())
                    } else {
                        (network.features[stage], vec![1; network.axes])
                    };
                    self.residual(&input, &format!("{prefix}.blocks.{block}"), from, stage, &stride)
                })?,
            };
            from = network.features[stage];
            skips.push(input.clone());
        }
        skips.pop();
        Ok((skips, input))
    }

    /// `BasicBlockD`: two convolutions beside a skip that averages where it strides and projects where it widens.
    fn residual(&mut self, input: &str, prefix: &str, from: usize, stage: usize, stride: &[usize]) -> Built {
        let (network, to) = (self.network, self.network.features[stage]);
        let kernel = &network.kernels[stage];
        let first = Conv { from, to, kernel: kernel.clone(), stride: stride.to_vec(), bias: network.bias };
        let second = Conv { from: to, to, kernel: kernel.clone(), stride: vec![1; network.axes], bias: network.bias };
        let through = self.block(input, &format!("{prefix}.conv1"), &first, true)?;
        let through = self.block(&through, &format!("{prefix}.conv2"), &second, false)?;
        let strides = stride.iter().any(|step| *step != 1);
        let mut skip = input.to_owned();
        if strides {
            let attributes = [("kernel_shape", ints(stride)), ("strides", ints(stride))];
            skip = self.op("AveragePool", &[&skip], &format!("{prefix}.skip.pooled"), &attributes);
        }
        if from != to {
            let place = usize::from(strides);
            skip =
                self.block(&skip, &format!("{prefix}.skip.{place}"), &Conv::point(network, from, to, false), false)?;
        }
        let sum = self.op("Add", &[&through, &skip], &format!("{prefix}.sum"), &[]);
        Ok(self.rectify(&sum, &format!("{prefix}.rectified")))
    }

    /// One stage of the decoder: up from below, beside the skip, through convolutions.
    fn up(&mut self, below: &str, skip: &str, at: usize, stage: usize) -> Built {
        let network = self.network;
        let (from, to, stride) = (network.features[stage + 1], network.features[stage], &network.strides[stage + 1]);
        let prefix = format!("decoder.transpconvs.{at}");
        let shape = [&[from, to], stride.as_slice()].concat();
        let weights = self.weights(&prefix, &shape, network.bias.then_some(to))?;
        let inputs: Vec<&str> = std::iter::once(below).chain(weights.iter().map(String::as_str)).collect();
        let attributes = [("kernel_shape", ints(stride)), ("strides", ints(stride))];
        let up = self.op("ConvTranspose", &inputs, &format!("{prefix}.out"), &attributes);
        let both = self.op("Concat", &[&up, skip], &format!("{prefix}.both"), &[("axis", Attribute::Int(1))]);
        let stride = vec![1; network.axes];
        self.stack(&both, &format!("decoder.stages.{at}"), 2 * to, stage, network.decoder_blocks[at], &stride)
    }
}

fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|value| *value as i64).collect())
}

/// What a network costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Weights.
    pub parameters: u64,
    /// Floating point operations of one tile: two for each product in a convolution.
    pub operations: u64,
    /// Bytes of the outputs of all convolutions of one tile in f32: more than what is held at any time.
    pub activations: u64,
    /// Bytes that one tile holds at once at the least, in f32: what the finest convolution after a joint reads, both halves
    /// of the joint, and what it writes.
    pub held: u64,
}

/// Counts a network's cost for a tile.
pub fn cost(network: &Architecture, ports: &Ports) -> Cost {
    let mut cost = Cost::default();
    let product = |list: &[usize]| list.iter().map(|length| *length as u64).product::<u64>();
    // `steps`: how often the kernel is applied; `voxels`: how many come out.
    let mut conv = |from: usize, to: usize, kernel: &[usize], [steps, voxels]: [u64; 2], bias: bool, norm: bool| {
        let weights = from as u64 * to as u64 * product(kernel);
        cost.parameters += weights + to as u64 * (u64::from(bias) + 2 * u64::from(norm));
        cost.operations += 2 * weights * steps;
        cost.activations += 4 * to as u64 * voxels;
    };
    let mut sizes = Vec::new();
    let mut size = ports.patch.clone();
    let point = vec![1; network.axes];
    let mut from = ports.channels;
    if network.encoder == Encoder::Residual {
        conv(from, network.features[0], &network.kernels[0], [product(&size); 2], network.bias, true);
        from = network.features[0];
    }
    for stage in 0..network.features.len() {
        let (to, kernel, stride) = (network.features[stage], &network.kernels[stage], &network.strides[stage]);
        size.iter_mut().zip(stride).for_each(|(side, stride)| *side /= stride);
        let voxels = [product(&size); 2];
        for block in 0..network.blocks[stage] {
            let from = if block == 0 { from } else { to };
            conv(from, to, kernel, voxels, network.bias, true);
            if network.encoder == Encoder::Residual {
                conv(to, to, kernel, voxels, network.bias, true);
                if from != to {
                    conv(from, to, &point, voxels, false, true);
                }
            }
        }
        from = to;
        sizes.push(voxels);
    }
    for stage in (0..network.features.len() - 1).rev() {
        let (from, to) = (network.features[stage + 1], network.features[stage]);
        let (at, voxels) = (network.features.len() - 2 - stage, sizes[stage]);
        let up = [sizes[stage + 1][0], voxels[0]];
        conv(from, to, &network.strides[stage + 1], up, network.bias, false);
        for block in 0..network.decoder_blocks[at] {
            conv(if block == 0 { 2 * to } else { to }, to, &network.kernels[stage], voxels, network.bias, true);
        }
    }
    conv(network.features[0], ports.classes, &point, sizes[0], true, false);
    cost.held = 4 * 3 * network.features[0] as u64 * sizes[0][0];
    cost
}
