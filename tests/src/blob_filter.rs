//! `blob-filter`: a package for tests that is quick and whose answers follow from constants. A fixed filter, not a trained
//! model; it finds the lesions of drawn heads, brain extracted, and little else.
//!
//! Owns the network's design and the three files made of it. Every weight follows from the named constants below.
//!
//! The image is T1-weighted, brain only, z-scored over the brain: white matter is bright, grey matter in between,
//! cerebrospinal fluid (CSF) dark; cortical lesions are darker than grey matter and brighter than CSF. Steps:
//!
//! 1. `inside`: away from the border of the extracted brain, where resampling mixes its voxels with the zeros outside.
//! 2. `grey`, the local level of grey matter: a Gaussian mean of the voxels near the expected level, refined twice by
//!    the voxels near the last estimate. It follows coil and transmit bias. `below` = grey - image.
//! 3. Three memberships of `below`: `band`, the depth of lesions; `fluid`, that of CSF; `dark`, all below grey matter.
//! 4. `density`, the mean of `band` over a small ball. Partial volume at the pial surface crosses the band in a sheet
//!    one voxel thin and fills little of the ball; a lesion fills it.
//! 5. `score` = density - 0.5 fluid nearby - 0.3 dark around - 0.5 band around: sheets of partial volume have CSF next
//!    to them and go on around the ball, lesions end.
//! 6. The lesion's logit grows with the score above a threshold, where the voxel itself is in the band. The
//!    background's logit is 0.
//!
//! The constants were set by hand and by a coarse search on phantoms of seeds 101 to 103.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sulcus_operators::digest::Digest;

use sulcus_models::onnx::{Attribute, Graph};
use sulcus_models::package::{FORMAT, MANIFEST, MODEL, Manifest, PLANS};

/// Side of a tile, voxels.
pub(crate) const PATCH: i64 = 96;
/// Spacing that the filter sees, mm.
const SPACING: f32 = 1.0;
/// Where grey matter is looked for first, in standard deviations from the mean: rises, full from, full to, falls.
const GREY: [f32; 4] = [-1.3, -1.0, -0.05, 0.2];
/// Half width of the window of a refinement: full within the first, none beyond the second.
const NEAR: [f32; 2] = [0.125, 0.375];
/// Refinements of the grey matter's level.
const REFINEMENTS: usize = 2;
/// Standard deviation of the local means, mm.
const LOCAL: f32 = 7.0;
/// How much coarser the grid of the local means is; divides `PATCH`.
const COARSE: i64 = 4;
/// Mean size of voxels below which a neighbourhood of 3 x 3 x 3 is outside the brain.
const EMPTY: f32 = 0.1;
/// How far voxels below grey matter lie in lesions: rises, full from, full to, falls.
const BAND: [f32; 4] = [0.25, 0.4, 0.75, 0.95];
/// How far below grey matter CSF begins, and is complete.
const FLUID: [f32; 2] = [0.75, 0.95];
/// How far below grey matter darkness begins, and is complete.
const DARK: [f32; 2] = [0.15, 0.45];
/// Radius of the ball, mm.
const BALL: f32 = 1.7;
/// Standard deviation of what is nearby, mm, and the weight of CSF there.
const NEARBY: f32 = 2.0;
const FLUID_NEARBY: f32 = 0.5;
/// Standard deviation of what is around, mm, and the weights of darkness and band there.
const AROUND: f32 = 3.0;
const DARK_AROUND: f32 = 0.3;
const BAND_AROUND: f32 = 0.5;
/// Score at which a voxel is as likely lesion as not.
const SCORE: f32 = 0.4;
/// Steepness of the logit.
const STEEPNESS: f32 = 20.0;
/// Least band membership of a lesion's voxel.
const MEMBER: f32 = 0.3;

/// The three files of the package, by name.
pub fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let model = model();
    let plans = plans(1).into_bytes();
    let manifest = manifest(&model, &plans);
    // Strings, numbers and lists always have a TOML form.
    let manifest = toml::to_string(&manifest).unwrap_or_default();
    let note = "# Written by `cargo run --release -p sulcus-tests --example write_blob_filter`.\n\n";
    [(MANIFEST, format!("{note}{manifest}").into_bytes()), (PLANS, plans), (MODEL, model)].into()
}

/// What the package says of itself.
pub(crate) fn manifest(model: &[u8], plans: &[u8]) -> Manifest {
    Manifest {
        format: FORMAT,
        name: "blob-filter".to_owned(),
        version: "1".to_owned(),
        description:
            "Marks blobs darker than grey matter and brighter than cerebrospinal fluid in T1-weighted images of \
                      the brain (MPRAGE, MP2RAGE UNI), brain extracted."
                .to_owned(),
        provenance: "A fixed filter, not a trained model: every weight follows from constants that are documented in \
                     tests/src/blob_filter.rs. They were set on simulated heads; no patient's image was used."
            .to_owned(),
        research_use: "Research use only. Not for diagnosis.".to_owned(),
        orientation: "LPS".to_owned(),
        configuration: "3d_fullres".to_owned(),
        channels: vec!["T1w".to_owned()],
        labels: vec!["background".to_owned(), "CL".to_owned()],
        regions_class_order: Vec::new(),
        lesion_label: 1,
        mirror_axes: Vec::new(),
        files: [(PLANS.to_owned(), Digest::of(plans)), (MODEL.to_owned(), Digest::of(model))].into(),
    }
}

/// Writes the package into an existing folder.
pub fn write(folder: &Path) -> std::io::Result<()> {
    files().into_iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes))
}

/// The plans of a package that reads so many channels.
pub(crate) fn plans(channels: usize) -> String {
    let resampling =
        |order: u32| serde_json::json!({"is_seg": false, "order": order, "order_z": 0, "force_separate_z": null});
    let plans = serde_json::json!({
        "dataset_name": "blob-filter",
        "plans_name": "fixed filter, not trained",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": {
            "patch_size": [PATCH, PATCH, PATCH],
            "spacing": [SPACING, SPACING, SPACING],
            "normalization_schemes": vec!["ZScoreNormalization"; channels],
            "use_mask_for_norm": vec![true; channels],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": resampling(3),
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": resampling(1)
        }}
    });
    format!("{plans:#}\n")
}

/// The network in the making: names of intermediate images are their meaning.
pub(crate) struct Net {
    pub(crate) graph: Graph,
    constants: BTreeSet<String>,
}

impl Net {
    pub(crate) fn new(name: &str, input: &str, channels: i64) -> Net {
        let shape = [1, channels, PATCH, PATCH, PATCH];
        Net { graph: Graph::new(name, input, &shape), constants: BTreeSet::new() }
    }

    /// The name of a constant, added when first used.
    fn constant(&mut self, value: f32) -> String {
        let name = format!("c{value}");
        if self.constants.insert(name.clone()) {
            self.graph.weights(&name, &[], &[value]);
        }
        name
    }

    pub(crate) fn op(&mut self, operator: &str, inputs: &[&str], output: &str) -> String {
        self.graph.node(operator, inputs, output, &[]);
        output.to_owned()
    }

    /// `factor * input + offset`.
    pub(crate) fn affine(&mut self, input: &str, factor: f32, offset: f32, output: &str) -> String {
        let (factor, offset) = (self.constant(factor), self.constant(offset));
        let scaled = self.op("Mul", &[input, &factor], &format!("{output}_scaled"));
        self.op("Add", &[&scaled, &offset], output)
    }

    pub(crate) fn clip(&mut self, input: &str, low: f32, high: f32, output: &str) -> String {
        let (low, high) = (self.constant(low), self.constant(high));
        self.op("Clip", &[input, &low, &high], output)
    }

    /// 0 up to `a`, 1 from `b` to `c`, 0 from `d`, straight in between.
    fn trapezoid(&mut self, input: &str, [a, b, c, d]: [f32; 4], output: &str) -> String {
        let rise = self.affine(input, 1.0 / (b - a), -a / (b - a), &format!("{output}_rise"));
        let fall = self.affine(input, -1.0 / (d - c), d / (d - c), &format!("{output}_fall"));
        let lower = self.op("Min", &[&rise, &fall], &format!("{output}_lower"));
        self.clip(&lower, 0.0, 1.0, output)
    }

    /// A convolution of one channel that keeps the shape; zeros beyond the tile.
    fn convolve(&mut self, input: &str, weights: &str, shape: [i64; 3], output: &str) -> String {
        let half = shape.map(|length| length / 2);
        let attributes =
            [("kernel_shape", Attribute::Ints(shape.to_vec())), ("pads", Attribute::Ints([half, half].concat()))];
        self.graph.node("Conv", &[input, weights], output, &attributes);
        output.to_owned()
    }

    /// A Gaussian mean, by three convolutions along one axis each; sigma in voxels.
    fn smooth(&mut self, input: &str, sigma: f32, output: &str) -> String {
        let bell = gaussian(sigma);
        let length = bell.len() as i64;
        (0..3).fold(input.to_owned(), |input, axis| {
            let mut shape = [1; 3];
            shape[axis] = length;
            let weights = format!("gaussian_{sigma}_{}", ["z", "y", "x"][axis]);
            if self.constants.insert(weights.clone()) {
                self.graph.weights(&weights, &[1, 1, shape[0], shape[1], shape[2]], &bell);
            }
            self.convolve(&input, &weights, shape, &format!("{output}_{axis}"))
        })
    }

    /// A wide Gaussian mean of `values` weighted by `weights`, worked out on a grid `COARSE` times coarser.
    fn local_mean(&mut self, values: &str, weights: &str, output: &str) -> String {
        let weighted = self.op("Mul", &[values, weights], &format!("{output}_weighted"));
        let [sum, weight] = [(weighted.as_str(), "sum"), (weights, "weight")].map(|(input, what)| {
            let name = format!("{output}_{what}");
            let coarse = self.pool("AveragePool", input, COARSE, COARSE, &format!("{name}_coarse"));
            self.smooth(&coarse, LOCAL / SPACING / COARSE as f32, &name)
        });
        let floor = self.constant(1e-4);
        let total = self.op("Add", &[&weight, &floor], &format!("{output}_total"));
        let mean = self.op("Div", &[&sum, &total], &format!("{output}_mean"));
        let scale = COARSE as f32;
        if self.constants.insert("finer".to_owned()) {
            self.graph.weights("finer", &[5], &[1.0, 1.0, scale, scale, scale]);
        }
        self.graph.node("Resize", &[&mean, "", "finer"], output, &[("mode", Attribute::Text("linear".to_owned()))]);
        output.to_owned()
    }

    /// Mean or maximum over cubes: one around each voxel (odd side, step 1), or side by side (step = side).
    fn pool(&mut self, operator: &str, input: &str, side: i64, step: i64, output: &str) -> String {
        let attributes = [
            ("kernel_shape", Attribute::Ints(vec![side; 3])),
            ("pads", Attribute::Ints(vec![if step == 1 { side / 2 } else { 0 }; 6])),
            ("strides", Attribute::Ints(vec![step; 3])),
        ];
        self.graph.node(operator, &[input], output, &attributes);
        output.to_owned()
    }

    /// 0 up to `a`, 1 from `b` on, within the brain.
    fn ramp(&mut self, input: &str, [a, b]: [f32; 2], output: &str) -> String {
        let rise = self.affine(input, 1.0 / (b - a), -a / (b - a), &format!("{output}_rise"));
        let all = self.clip(&rise, 0.0, 1.0, &format!("{output}_all"));
        self.op("Mul", &[&all, "inside"], output)
    }
}

fn model() -> Vec<u8> {
    let mut net = Net::new("blob-filter", "image", 1);
    let lesion = filter(&mut net);
    finish(net, &lesion)
}

/// The filter, from `image` to a lesion's logit, whose name it gives.
pub(crate) fn filter(net: &mut Net) -> String {
    let (ball, side) = ball(BALL / SPACING);
    net.graph.weights("ball", &[1, 1, side, side, side], &ball);

    // Outside the brain the image is 0 in every voxel of a neighbourhood, which nothing inside is.
    let size = net.op("Abs", &["image"], "size");
    let size = net.pool("AveragePool", &size, 3, 1, "size_nearby");
    let empty = net.affine(&size, -1e6, 1e6 * EMPTY, "emptiness");
    let empty = net.clip(&empty, 0.0, 1.0, "empty");
    let outside = net.pool("MaxPool", &empty, 5, 1, "outside");
    let inside = net.affine(&outside, -1.0, 1.0, "inside");

    let about = net.trapezoid("image", GREY, "about_grey");
    let mut members = net.op("Mul", &[&about, &inside], "grey_members");
    let mut grey = net.local_mean("image", &members, "grey");
    for round in 1..=REFINEMENTS {
        let name = |what: &str| format!("{what}_{round}");
        let off = net.op("Sub", &["image", &grey], &name("off_grey"));
        let near = net.trapezoid(&off, [-NEAR[1], -NEAR[0], NEAR[0], NEAR[1]], &name("near_grey"));
        members = net.op("Mul", &[&near, &inside], &name("grey_members"));
        grey = net.local_mean("image", &members, &name("grey"));
    }

    let below = net.op("Sub", &[&grey, "image"], "below_grey");
    let band = net.trapezoid(&below, BAND, "band_all");
    let band = net.op("Mul", &[&band, &inside], "band");
    let fluid = net.ramp(&below, FLUID, "fluid");
    let dark = net.ramp(&below, DARK, "dark");

    let density = net.convolve(&band, "ball", [side; 3], "density");
    let fluid = net.affine(&fluid, FLUID_NEARBY, 0.0, "fluid_weighted");
    let nearby = net.smooth(&fluid, NEARBY / SPACING, "nearby");
    let dark = net.affine(&dark, DARK_AROUND, 0.0, "dark_weighted");
    let band_weighted = net.affine(&band, BAND_AROUND, 0.0, "band_weighted");
    let around = net.op("Add", &[&dark, &band_weighted], "around_weighted");
    let around = net.smooth(&around, AROUND / SPACING, "around");
    let score = net.op("Sub", &[&density, &nearby], "density_without_fluid");
    let score = net.op("Sub", &[&score, &around], "score");

    let crowded = net.affine(&score, STEEPNESS, -STEEPNESS * SCORE, "crowded");
    let member = net.affine(&band, STEEPNESS, -STEEPNESS * MEMBER, "member");
    net.op("Min", &[&crowded, &member], "lesion")
}

/// The network's bytes, once it has a lesion's logit.
pub(crate) fn finish(mut net: Net, lesion: &str) -> Vec<u8> {
    let zero = net.constant(0.0);
    let background = net.op("Mul", &[lesion, &zero], "background");
    net.graph.node("Concat", &[&background, lesion], "logits", &[("axis", Attribute::Int(1))]);
    let doc = "blob-filter: a fixed filter, not a trained model. Research use only. Not for diagnosis.";
    net.graph.finish(&[("logits", &[1, 2, PATCH, PATCH, PATCH])], doc)
}

/// A Gaussian over three standard deviations on each side, summing to 1.
fn gaussian(sigma: f32) -> Vec<f32> {
    let reach = (3.0 * sigma).round() as i32;
    let bell: Vec<f32> = (-reach..=reach).map(|x| (-0.5 * (x as f32 / sigma).powi(2)).exp()).collect();
    let sum: f32 = bell.iter().sum();
    bell.into_iter().map(|value| value / sum).collect()
}

/// A ball that fades over one voxel at its edge, summing to 1, and its side.
fn ball(radius: f32) -> (Vec<f32>, i64) {
    let reach = radius.ceil() as i32;
    let side = 2 * reach + 1;
    let weight = |at: i32| {
        let [z, y, x] = [at / (side * side), at / side % side, at % side].map(|i| (i - reach) as f32);
        (radius + 0.5 - (x * x + y * y + z * z).sqrt()).clamp(0.0, 1.0)
    };
    let ball: Vec<f32> = (0..side * side * side).map(weight).collect();
    let sum: f32 = ball.iter().sum();
    (ball.into_iter().map(|value| value / sum).collect(), i64::from(side))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sulcus_models::package::Package;

    fn shipped() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("blob-filter")
    }

    #[test]
    fn the_shipped_package_is_what_this_file_writes() {
        for (name, bytes) in files() {
            let found = std::fs::read(shipped().join(name)).unwrap();
            assert!(found == bytes, "tests/blob-filter/{name} differs: run the example write_blob_filter");
        }
    }

    #[test]
    fn the_shipped_package_says_what_it_is() {
        let package = Package::open(&shipped()).unwrap();
        assert!(package.manifest().provenance.contains("not a trained model"));
        assert!(package.manifest().research_use.contains("Not for diagnosis"));
        assert!(package.networks()[0].len() < 100_000);
    }
}
