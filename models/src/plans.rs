//! nnU-Net's `plans.json`, as far as inference follows it; what its network is, is in `import::architecture`.
//!
//! Fields that only training reads are passed over. A value that asks for arithmetic which is not implemented is an
//! error, never a silent difference.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use sulcus_operators::nnunet::normalise::Scheme;
use sulcus_operators::nnunet::resample::Order;
use thiserror::Error;

/// Most voxels of a patch.
const LARGEST_PATCH: usize = 1 << 26;

/// Why plans cannot be followed.
#[derive(Debug, Error)]
pub enum PlansError {
    /// Not JSON, or without a field that is needed.
    #[error("{0}; nnU-Net v2 writes this file beside its folds")]
    Json(#[from] serde_json::Error),
    /// The configuration is not there.
    #[error("there is no configuration {wanted}; the plans have {found}")]
    Configuration {
        /// What the manifest names.
        wanted: String,
        /// What the plans have.
        found: String,
    },
    /// A value that is not implemented or not sensible.
    #[error("{field} is {value}; {hint}")]
    Value {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What is supported.
        hint: &'static str,
    },
}

/// How images are prepared and logits brought back. Axes are those after `transpose_forward`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plans {
    /// Axis `i` of the network is axis `transpose_forward[i]` of (z, y, x).
    pub transpose_forward: [usize; 3],
    /// The inverse of `transpose_forward`.
    pub transpose_backward: [usize; 3],
    /// Whether the network is 2D and sees one slice across the first axis at a time.
    pub planar: bool,
    /// Size of a tile, voxels; 1 on the first axis where planar.
    pub patch_size: [usize; 3],
    /// Spacing that the network sees, mm; where planar, the first axis keeps its own (see [`Plans::target`]).
    pub spacing: [f64; 3],
    /// What nnU-Net reads images with, e.g. `SimpleITKIO`; it says whether orientation counts.
    pub reader: String,
    /// Normalisation of each channel.
    pub normalisation: Vec<Scheme>,
    /// Interpolation of images.
    pub order: Order,
    /// `force_separate_z` for images.
    pub force_separate_z: Option<bool>,
    /// `force_separate_z` for logits.
    pub force_separate_z_logits: Option<bool>,
    /// Whether nnU-Net keeps resampled logits in f32, as it does where torch resamples them, and else in fp16.
    pub single_logits: bool,
}

#[derive(Deserialize)]
struct File {
    transpose_forward: [usize; 3],
    transpose_backward: [usize; 3],
    #[serde(default)]
    image_reader_writer: String,
    configurations: BTreeMap<String, Map<String, Value>>,
    #[serde(default, alias = "foreground_intensity_properties_by_modality")]
    foreground_intensity_properties_per_channel: BTreeMap<String, Intensities>,
}

#[derive(Clone, Copy, Deserialize)]
struct Intensities {
    mean: f32,
    std: f32,
    percentile_00_5: f32,
    percentile_99_5: f32,
}

#[derive(Deserialize)]
struct Configuration {
    patch_size: Vec<usize>,
    spacing: Vec<f64>,
    #[serde(alias = "previous_stage_name")]
    previous_stage: Option<String>,
    normalization_schemes: Vec<String>,
    use_mask_for_norm: Vec<bool>,
    resampling_fn_data: String,
    resampling_fn_data_kwargs: Resampling,
    resampling_fn_probabilities: String,
    resampling_fn_probabilities_kwargs: Resampling,
}

/// Arguments of nnU-Net's two ways to resample.
#[derive(Deserialize)]
struct Resampling {
    order: Option<u32>,
    order_z: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    force_separate_z: Option<Option<bool>>,
    mode: Option<String>,
    aniso_axis_mode: Option<String>,
    separate_z_anisotropy_threshold: Option<f64>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Arguments that change nothing here: whether labels are resampled, and how torch shares the work.
const WITHOUT_EFFECT: [&str; 4] = ["is_seg", "num_threads", "device", "memefficient_seg_resampling"];

/// What stands there, `null` included, as told from what does not.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<bool>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// The way to resample that a field names, and what it is given.
struct Resampler<'p> {
    field: &'static str,
    name: &'p str,
    arguments: &'p Resampling,
}

impl Resampler<'_> {
    fn with_torch(&self) -> bool {
        self.name == "resample_torch_fornnunet"
    }

    /// `force_separate_z`; where nothing is said, the two functions differ.
    fn separate(&self) -> Option<bool> {
        let unsaid = if self.with_torch() { None } else { Some(false) };
        self.arguments.force_separate_z.unwrap_or(unsaid)
    }

    /// Its interpolation: scipy's spline of an order (`default_resampling.py`), or torch's linear one
    /// (`resample_torch.py`), which takes the nearest across an axis that is resampled on its own, as the other does.
    fn order(&self) -> Result<Order, PlansError> {
        let Resampling { order, order_z, mode, aniso_axis_mode, separate_z_anisotropy_threshold, .. } = self.arguments;
        let argument = |name: &str| format!("{}_kwargs.{name}", self.field);
        if let Some((name, given)) =
            self.arguments.others.iter().find(|(name, _)| !WITHOUT_EFFECT.contains(&name.as_str()))
        {
            return Err(value(
                &argument(name),
                given,
                "it is not known what it does; import a model planned without it",
            ));
        }
        let threshold = separate_z_anisotropy_threshold.unwrap_or(3.0);
        let name = argument("separate_z_anisotropy_threshold");
        refuse(threshold.to_bits() != 3f64.to_bits(), &name, &threshold, "only 3 is known")?;
        if self.with_torch() {
            let linear = mode.as_deref().unwrap_or("linear");
            refuse(linear != "linear", &argument("mode"), &linear, "only linear is known")?;
            let nearest = aniso_axis_mode.as_deref().unwrap_or("nearest-exact");
            refuse(nearest != "nearest-exact", &argument("aniso_axis_mode"), &nearest, "only nearest-exact is known")?;
            return Ok(Order::Linear);
        }
        let hint = "resample_data_or_seg_to_shape and resample_torch_fornnunet are known";
        refuse(self.name != "resample_data_or_seg_to_shape", self.field, &self.name, hint)?;
        refuse(*order_z != Some(0), &argument("order_z"), order_z, "only 0 is known")?;
        match order {
            Some(1) => Ok(Order::Linear),
            Some(3) => Ok(Order::Cubic),
            other => Err(value(&argument("order"), other, "use 1 or 3")),
        }
    }
}

impl Plans {
    /// Reads one configuration of a plans file, for a network with this many channels.
    pub fn parse(bytes: &[u8], configuration: &str, channels: usize) -> Result<Self, PlansError> {
        let file: File = serde_json::from_slice(bytes)?;
        let chosen: Configuration = Configuration::deserialize(file.resolved(configuration)?)?;
        let cascade = "a cascade is not supported; import its 3d_fullres or 3d_lowres configuration";
        refuse(chosen.previous_stage.is_some(), "previous_stage", &chosen.previous_stage, cascade)?;
        let (forward, backward) = (file.transpose_forward, file.transpose_backward);
        let inverse = (0..3).all(|axis| forward.get(backward[axis]) == Some(&axis));
        refuse(!inverse, "transpose_backward", &backward, "it must be the inverse of transpose_forward")?;
        let planar = chosen.patch_size.len() == 2;
        let patch_size = three(planar, 1, &chosen.patch_size, "patch_size")?;
        let voxels = patch_size.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        let sane = voxels.is_some_and(|voxels| (1..=LARGEST_PATCH).contains(&voxels));
        refuse(!sane, "patch_size", &patch_size, "use 1 to 2^26 voxels in all")?;
        let spacing = three(planar, 1.0, &chosen.spacing, "spacing")?;
        let sane = spacing.iter().all(|mm| (0.05..=50.0).contains(mm));
        refuse(!sane, "spacing", &spacing, "use 0.05 to 50 mm")?;
        let schemes = &chosen.normalization_schemes;
        let counts = [schemes.len(), chosen.use_mask_for_norm.len()];
        refuse(counts != [channels; 2], "normalization_schemes", schemes, "give one, and one mask flag, a channel")?;
        let normalisation = (0..channels)
            .map(|channel| {
                let intensities = file.foreground_intensity_properties_per_channel.get(&channel.to_string());
                scheme(&schemes[channel], chosen.use_mask_for_norm[channel], intensities)
            })
            .collect::<Result<_, _>>()?;
        let images = Resampler {
            field: "resampling_fn_data",
            name: &chosen.resampling_fn_data,
            arguments: &chosen.resampling_fn_data_kwargs,
        };
        let logits = Resampler {
            field: "resampling_fn_probabilities",
            name: &chosen.resampling_fn_probabilities,
            arguments: &chosen.resampling_fn_probabilities_kwargs,
        };
        let order = images.order()?;
        let cubic = logits.order()? != Order::Linear;
        refuse(cubic, "resampling_fn_probabilities_kwargs.order", &logits.arguments.order, "only 1 is known")?;
        Ok(Plans {
            transpose_forward: forward,
            transpose_backward: backward,
            planar,
            patch_size,
            spacing,
            reader: file.image_reader_writer,
            normalisation,
            order,
            force_separate_z: images.separate(),
            force_separate_z_logits: logits.separate(),
            single_logits: logits.with_torch(),
        })
    }

    /// One configuration of a plans file as it is written, with what it inherits filled in.
    pub fn configuration(bytes: &[u8], name: &str) -> Result<Value, PlansError> {
        let file: File = serde_json::from_slice(bytes)?;
        file.resolved(name)
    }

    /// The spacing that an image of this spacing is brought to, mm.
    pub fn target(&self, current: [f64; 3]) -> [f64; 3] {
        if self.planar { [current[0], self.spacing[1], self.spacing[2]] } else { self.spacing }
    }

    /// The network's mirroring axes as axes of (z, y, x).
    pub fn mirror_axes(&self, axes: &[usize]) -> Vec<usize> {
        axes.iter().map(|axis| axis + usize::from(self.planar)).collect()
    }
}

impl File {
    fn resolved(&self, name: &str) -> Result<Value, PlansError> {
        let mut wanted = name.to_owned();
        let mut resolved = Map::new();
        // One link more than there are configurations goes round in a circle.
        for _ in 0..=self.configurations.len() {
            let Some(chosen) = self.configurations.get(&wanted) else {
                let found = self.configurations.keys().cloned().collect::<Vec<_>>().join(", ");
                return Err(PlansError::Configuration { wanted, found });
            };
            for (field, value) in chosen {
                resolved.entry(field).or_insert_with(|| value.clone());
            }
            match chosen.get("inherits_from").and_then(Value::as_str) {
                None => return Ok(Value::Object(resolved)),
                Some(parent) => wanted = parent.to_owned(),
            }
        }
        Err(value("inherits_from", &name, "the configurations inherit from each other in a circle"))
    }
}

fn scheme(name: &str, use_mask: bool, intensities: Option<&Intensities>) -> Result<Scheme, PlansError> {
    Ok(match name {
        "ZScoreNormalization" => Scheme::ZScore { use_mask },
        "RescaleTo01Normalization" => Scheme::RescaleTo01,
        "RGBTo01Normalization" => Scheme::RgbTo01,
        "NoNormalization" => Scheme::NoNorm,
        "CTNormalization" => {
            let hint = "the plans need foreground_intensity_properties_per_channel for this";
            let &Intensities { mean, std, percentile_00_5, percentile_99_5 } =
                intensities.ok_or_else(|| value("normalization_schemes", &name, hint))?;
            Scheme::Ct { percentile_00_5, percentile_99_5, mean, std }
        }
        _ => {
            return Err(value(
                "normalization_schemes",
                &name,
                "nnU-Net's own ZScore, CT, Rescale, RGB and No are known",
            ));
        }
    })
}

/// A list of three; where planar, of two behind `first`.
fn three<T: Copy + std::fmt::Debug>(planar: bool, first: T, list: &[T], field: &str) -> Result<[T; 3], PlansError> {
    match (planar, list) {
        (true, [y, x]) => Ok([first, *y, *x]),
        (false, [z, y, x]) => Ok([*z, *y, *x]),
        _ => Err(value(field, &list, "patch_size and spacing have three axes, or two in a 2d configuration")),
    }
}

fn value(field: &str, value: &dyn std::fmt::Debug, hint: &'static str) -> PlansError {
    PlansError::Value { field: field.to_owned(), value: format!("{value:?}"), hint }
}

fn refuse(wrong: bool, field: &str, found: &dyn std::fmt::Debug, hint: &'static str) -> Result<(), PlansError> {
    if wrong { Err(value(field, found, hint)) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "plans_tests.rs"]
mod tests;
