//! The network that plans describe: nnU-Net's `PlainConvUNet` and `ResidualEncoderUNet`, 2D or 3D.
//!
//! Both forms of plans are read: `architecture` with its keyword arguments, and the older `UNet_class_name` with its
//! lists, which nnU-Net's `plans_handler.py` translates. What asks for another network is refused by name.

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// Most stages, and most features of a stage, that are sensible.
const MOST_STAGES: usize = 12;
const MOST_FEATURES: usize = 4096;

/// Why plans describe no network that can be built.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {reason}")]
pub struct ArchitectureError {
    /// The field of the plans.
    pub field: String,
    /// What is wrong, then what to do.
    pub reason: String,
}

/// How a stage of the encoder is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// Convolutions in a row (`PlainConvEncoder`).
    Plain,
    /// A stem, then residual blocks of two convolutions (`ResidualEncoder` with `BasicBlockD`).
    Residual,
}

/// A U-Net. Lists have one entry a stage, the finest first; axes of kernels and strides are (z, y, x) or (y, x).
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The encoder.
    pub encoder: Encoder,
    /// Spatial axes: 2 or 3.
    pub axes: usize,
    /// Features of each stage.
    pub features: Vec<usize>,
    /// Kernel of each stage.
    pub kernels: Vec<Vec<usize>>,
    /// Stride into each stage.
    pub strides: Vec<Vec<usize>>,
    /// Convolutions (or residual blocks) of each stage of the encoder.
    pub blocks: Vec<usize>,
    /// Convolutions of each stage of the decoder, one fewer than stages.
    pub decoder_blocks: Vec<usize>,
    /// Whether convolutions have a bias.
    pub bias: bool,
    /// `eps` of the instance normalisation.
    pub epsilon: f32,
    /// Slope of the leaky rectifier below zero.
    pub slope: f32,
}

/// A number that is given once for all, or for each axis or stage.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    Same(usize),
    Each(Vec<usize>),
}

impl Numbers {
    fn each(self, count: usize) -> Vec<usize> {
        match self {
            Numbers::Same(number) => vec![number; count],
            Numbers::Each(numbers) => numbers,
        }
    }
}

#[derive(Deserialize)]
struct New {
    network_class_name: String,
    arch_kwargs: Arguments,
}

#[derive(Deserialize)]
struct Arguments {
    n_stages: usize,
    features_per_stage: Numbers,
    conv_op: String,
    kernel_sizes: Vec<Numbers>,
    strides: Vec<Numbers>,
    #[serde(alias = "n_blocks_per_stage")]
    n_conv_per_stage: Numbers,
    n_conv_per_stage_decoder: Numbers,
    #[serde(default)]
    conv_bias: bool,
    norm_op: Option<String>,
    #[serde(default)]
    norm_op_kwargs: Norm,
    dropout_op: Option<Value>,
    nonlin: Option<String>,
    #[serde(default)]
    nonlin_kwargs: Option<Rectifier>,
    #[serde(default)]
    nonlin_first: bool,
}

#[derive(Deserialize)]
struct Norm {
    #[serde(default = "epsilon")]
    eps: f32,
    #[serde(default)]
    affine: bool,
}

impl Default for Norm {
    fn default() -> Self {
        Norm { eps: epsilon(), affine: false }
    }
}

fn epsilon() -> f32 {
    1e-5
}

#[derive(Deserialize)]
struct Rectifier {
    negative_slope: Option<f32>,
}

#[derive(Deserialize)]
struct Old {
    #[serde(rename = "UNet_class_name")]
    class: String,
    #[serde(rename = "UNet_base_num_features")]
    base: usize,
    unet_max_num_features: usize,
    n_conv_per_stage_encoder: Vec<usize>,
    n_conv_per_stage_decoder: Vec<usize>,
    conv_kernel_sizes: Vec<Vec<usize>>,
    pool_op_kernel_sizes: Vec<Vec<usize>>,
    patch_size: Vec<usize>,
}

fn wrong<T>(field: &str, reason: impl Into<String>) -> Result<T, ArchitectureError> {
    Err(ArchitectureError { field: field.to_owned(), reason: reason.into() })
}

impl Architecture {
    /// Reads the network of one configuration of the plans (with what it inherits filled in).
    pub fn parse(configuration: &Value) -> Result<Self, ArchitectureError> {
        let network = match (configuration.get("architecture"), configuration.get("UNet_class_name")) {
            (Some(architecture), _) => Self::of_new(architecture)?,
            (None, Some(_)) => Self::of_old(configuration)?,
            (None, None) => {
                return wrong(
                    "architecture",
                    "it is missing, and so is UNet_class_name; nnU-Net v2 writes one of them",
                );
            }
        };
        network.check()?;
        Ok(network)
    }

    fn of_new(architecture: &Value) -> Result<Self, ArchitectureError> {
        let unreadable = |error: serde_json::Error| ArchitectureError {
            field: "architecture".to_owned(),
            reason: error.to_string(),
        };
        let New { network_class_name, arch_kwargs: kwargs } = New::deserialize(architecture).map_err(unreadable)?;
        let encoder = encoder(&network_class_name, "architecture.network_class_name")?;
        let axes = match kwargs.conv_op.as_str() {
            "torch.nn.modules.conv.Conv3d" => 3,
            "torch.nn.modules.conv.Conv2d" => 2,
            other => {
                return wrong(
                    "architecture.arch_kwargs.conv_op",
                    format!("{other} is not known; Conv2d and Conv3d are"),
                );
            }
        };
        let norm = kwargs.norm_op.as_deref().unwrap_or("none");
        if !norm.contains("InstanceNorm") || !kwargs.norm_op_kwargs.affine {
            return wrong("architecture.arch_kwargs.norm_op", format!("{norm} is not known; affine InstanceNorm is"));
        }
        let nonlin = kwargs.nonlin.as_deref().unwrap_or("none");
        let slope = match nonlin.rsplit('.').next() {
            Some("LeakyReLU") => kwargs.nonlin_kwargs.and_then(|kwargs| kwargs.negative_slope).unwrap_or(0.01),
            Some("ReLU") => 0.0,
            _ => {
                return wrong(
                    "architecture.arch_kwargs.nonlin",
                    format!("{nonlin} is not known; LeakyReLU and ReLU are"),
                );
            }
        };
        if kwargs.nonlin_first {
            return wrong(
                "architecture.arch_kwargs.nonlin_first",
                "true is not supported; nnU-Net's own plans say false",
            );
        }
        if kwargs.dropout_op.is_some_and(|op| !op.is_null()) {
            tracing::debug!("dropout does nothing at inference");
        }
        let stages = kwargs.n_stages.min(MOST_STAGES + 1);
        if kwargs.kernel_sizes.len() != stages {
            let kernels = kwargs.kernel_sizes.len();
            return wrong(
                "architecture.arch_kwargs.n_stages",
                format!("{stages} stages, and kernel_sizes of {kernels}"),
            );
        }
        Ok(Architecture {
            encoder,
            axes,
            features: kwargs.features_per_stage.each(stages),
            kernels: kwargs.kernel_sizes.into_iter().map(|kernel| kernel.each(axes)).collect(),
            strides: kwargs.strides.into_iter().map(|stride| stride.each(axes)).collect(),
            blocks: kwargs.n_conv_per_stage.each(stages),
            decoder_blocks: kwargs.n_conv_per_stage_decoder.each(stages.saturating_sub(1)),
            bias: kwargs.conv_bias,
            epsilon: kwargs.norm_op_kwargs.eps,
            slope,
        })
    }

    /// As `plans_handler.py` translates the older form.
    fn of_old(configuration: &Value) -> Result<Self, ArchitectureError> {
        let old = Old::deserialize(configuration)
            .map_err(|error| ArchitectureError { field: "configuration".to_owned(), reason: error.to_string() })?;
        let features = |stage: usize| {
            let doubled = u32::try_from(stage).ok().and_then(|stage| 1usize.checked_shl(stage));
            doubled.and_then(|factor| old.base.checked_mul(factor)).unwrap_or(usize::MAX).min(old.unet_max_num_features)
        };
        Ok(Architecture {
            encoder: encoder(&old.class, "UNet_class_name")?,
            axes: old.patch_size.len(),
            features: (0..old.n_conv_per_stage_encoder.len()).map(features).collect(),
            kernels: old.conv_kernel_sizes,
            strides: old.pool_op_kernel_sizes,
            blocks: old.n_conv_per_stage_encoder,
            decoder_blocks: old.n_conv_per_stage_decoder,
            bias: true,
            epsilon: epsilon(),
            slope: 0.01,
        })
    }

    fn check(&self) -> Result<(), ArchitectureError> {
        let stages = self.features.len();
        if !(2..=MOST_STAGES).contains(&stages) {
            return wrong("n_stages", format!("{stages} is not 2 to {MOST_STAGES}"));
        }
        if !matches!(self.axes, 2 | 3) {
            return wrong("patch_size", format!("it has {} axes; 2 and 3 are supported", self.axes));
        }
        if self.features.iter().any(|features| !(1..=MOST_FEATURES).contains(features)) {
            return wrong("features_per_stage", format!("{:?} are not 1 to {MOST_FEATURES}", self.features));
        }
        for (field, lists) in [("kernel_sizes", &self.kernels), ("strides", &self.strides)] {
            let sane =
                |list: &Vec<usize>| list.len() == self.axes && list.iter().all(|length| (1..=9).contains(length));
            if lists.len() != stages || !lists.iter().all(sane) {
                return wrong(field, format!("{lists:?} is not one list of {} lengths a stage", self.axes));
            }
        }
        if let Some(kernel) = self.kernels.iter().find(|kernel| kernel.iter().any(|length| length % 2 == 0)) {
            return wrong("kernel_sizes", format!("{kernel:?} is even; nnU-Net's kernels are odd"));
        }
        let sane = |counts: &[usize]| counts.iter().all(|count| (1..=64).contains(count));
        if self.blocks.len() != stages || !sane(&self.blocks) {
            return wrong("n_conv_per_stage", format!("{:?} is not one count a stage", self.blocks));
        }
        if self.decoder_blocks.len() + 1 != stages || !sane(&self.decoder_blocks) {
            return wrong(
                "n_conv_per_stage_decoder",
                format!("{:?} is not one count a stage but the last", self.decoder_blocks),
            );
        }
        Ok(())
    }

    /// By how much the deepest stage is coarser than the input: what every side of a patch is a multiple of.
    pub fn reduction(&self) -> Vec<usize> {
        (0..self.axes).map(|axis| self.strides.iter().map(|stride| stride[axis]).product()).collect()
    }
}

fn encoder(class: &str, field: &str) -> Result<Encoder, ArchitectureError> {
    match class.rsplit('.').next() {
        Some("PlainConvUNet") => Ok(Encoder::Plain),
        Some("ResidualEncoderUNet") => Ok(Encoder::Residual),
        _ => wrong(field, format!("{class} is not known; PlainConvUNet and ResidualEncoderUNet are")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn new_form() -> Value {
        json!({"architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 3, "features_per_stage": [32, 64, 80], "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
                "n_conv_per_stage": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2], "conv_bias": true,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": true}, "dropout_op": null, "dropout_op_kwargs": null,
                "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": true}},
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}})
    }

    #[test]
    fn both_forms_of_plans_give_the_same_network() {
        let old = json!({
            "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 32, "unet_max_num_features": 80,
            "n_conv_per_stage_encoder": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2],
            "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
            "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "patch_size": [16, 32, 32]});
        let network = Architecture::parse(&new_form()).unwrap();
        assert_eq!(network, Architecture::parse(&old).unwrap());
        assert_eq!(network.reduction(), [2, 4, 4]);
        assert_eq!(network.slope, 0.01);
    }

    #[test]
    fn what_cannot_be_built_is_named() {
        for (pointer, value, says) in [
            ("/architecture/network_class_name", json!("my.Transformer"), "my.Transformer"),
            ("/architecture/arch_kwargs/conv_op", json!("Conv1d"), "Conv1d"),
            ("/architecture/arch_kwargs/norm_op", json!("torch.nn.BatchNorm3d"), "BatchNorm3d"),
            ("/architecture/arch_kwargs/nonlin", json!("torch.nn.GELU"), "GELU"),
            ("/architecture/arch_kwargs/n_stages", json!(-1), "architecture"),
            ("/architecture/arch_kwargs/strides", json!([[1, 1, 1]]), "strides"),
            ("/architecture/arch_kwargs/kernel_sizes/1", json!([2, 2, 2]), "kernel_sizes"),
            ("/architecture/arch_kwargs/features_per_stage", json!([0, 1, 2]), "features_per_stage"),
            ("/architecture/arch_kwargs/n_conv_per_stage_decoder", json!([2, 2, 2]), "n_conv_per_stage_decoder"),
        ] {
            let mut plans = new_form();
            *plans.pointer_mut(pointer).unwrap() = value;
            let message = Architecture::parse(&plans).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
        assert!(Architecture::parse(&json!({})).unwrap_err().to_string().contains("UNet_class_name"));
    }
}
