//! nnU-Net's `plans.json` (the format with `configurations`), as far as inference follows it.
//!
//! Fields that only training reads are passed over. A value that asks for arithmetic which is not implemented is an
//! error, never a silent difference.

use std::collections::BTreeMap;

use serde::Deserialize;
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
    /// Size of a tile, voxels.
    pub patch_size: [usize; 3],
    /// Spacing that the network sees, mm.
    pub spacing: [f64; 3],
    /// Normalisation of each channel.
    pub normalisation: Vec<Scheme>,
    /// Interpolation of images.
    pub order: Order,
    /// `force_separate_z` for images.
    pub force_separate_z: Option<bool>,
    /// `force_separate_z` for logits.
    pub force_separate_z_logits: Option<bool>,
}

#[derive(Deserialize)]
struct File {
    transpose_forward: [usize; 3],
    transpose_backward: [usize; 3],
    configurations: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
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
    normalization_schemes: Vec<String>,
    use_mask_for_norm: Vec<bool>,
    resampling_fn_data: String,
    resampling_fn_data_kwargs: Resampling,
    resampling_fn_probabilities: String,
    resampling_fn_probabilities_kwargs: Resampling,
}

#[derive(Deserialize)]
struct Resampling {
    order: u32,
    order_z: u32,
    force_separate_z: Option<bool>,
}

impl Plans {
    /// Reads one configuration of a plans file, for a network with this many channels.
    pub fn parse(bytes: &[u8], configuration: &str, channels: usize) -> Result<Self, PlansError> {
        let file: File = serde_json::from_slice(bytes)?;
        let Some(chosen) = file.configurations.get(configuration) else {
            let found = file.configurations.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(PlansError::Configuration { wanted: configuration.to_owned(), found });
        };
        let chosen: Configuration = Configuration::deserialize(chosen)?;
        let (forward, backward) = (file.transpose_forward, file.transpose_backward);
        let inverse = (0..3).all(|axis| forward.get(backward[axis]) == Some(&axis));
        refuse(!inverse, "transpose_backward", &backward, "it must be the inverse of transpose_forward")?;
        let patch_size = three(&chosen.patch_size, "patch_size")?;
        let voxels = patch_size.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        let sane = voxels.is_some_and(|voxels| (1..=LARGEST_PATCH).contains(&voxels));
        refuse(!sane, "patch_size", &patch_size, "use 1 to 2^26 voxels in all")?;
        let spacing = three(&chosen.spacing, "spacing")?;
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
        let (images, logits) = (&chosen.resampling_fn_data_kwargs, &chosen.resampling_fn_probabilities_kwargs);
        for (field, name) in [
            ("resampling_fn_data", &chosen.resampling_fn_data),
            ("resampling_fn_probabilities", &chosen.resampling_fn_probabilities),
        ] {
            refuse(
                name != "resample_data_or_seg_to_shape",
                field,
                name,
                "only resample_data_or_seg_to_shape is known",
            )?;
        }
        refuse(images.order_z != 0 || logits.order_z != 0, "order_z", &images.order_z, "only 0 is known")?;
        refuse(logits.order != 1, "resampling_fn_probabilities_kwargs.order", &logits.order, "only 1 is known")?;
        let order = match images.order {
            1 => Order::Linear,
            3 => Order::Cubic,
            other => return Err(value("resampling_fn_data_kwargs.order", &other, "use 1 or 3")),
        };
        Ok(Plans {
            transpose_forward: forward,
            transpose_backward: backward,
            patch_size,
            spacing,
            normalisation,
            order,
            force_separate_z: images.force_separate_z,
            force_separate_z_logits: logits.force_separate_z,
        })
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

fn three<T: Copy + std::fmt::Debug>(list: &Vec<T>, field: &str) -> Result<[T; 3], PlansError> {
    <[T; 3]>::try_from(list.as_slice()).map_err(|_| value(field, list, "only 3D configurations are supported"))
}

fn value(field: &str, value: &dyn std::fmt::Debug, hint: &'static str) -> PlansError {
    PlansError::Value { field: field.to_owned(), value: format!("{value:?}"), hint }
}

fn refuse(wrong: bool, field: &str, found: &dyn std::fmt::Debug, hint: &'static str) -> Result<(), PlansError> {
    if wrong { Err(value(field, found, hint)) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLANS: &str = r#"{
        "dataset_name": "Dataset001_CL", "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0],
        "foreground_intensity_properties_per_channel":
            {"0": {"max": 9, "mean": 1.5, "median": 1, "min": 0, "percentile_00_5": 0.5, "percentile_99_5": 8, "std": 2}},
        "configurations": {"3d_fullres": {
            "batch_size": 2, "patch_size": [96, 128, 112], "spacing": [0.7, 0.7, 0.8],
            "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [false],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": false, "order": 3, "order_z": 0, "force_separate_z": null},
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": {"is_seg": false, "order": 1, "order_z": 0, "force_separate_z": null}
        }}}"#;

    #[test]
    fn plans_as_nnunet_writes_them_are_read() {
        let plans = Plans::parse(PLANS.as_bytes(), "3d_fullres", 1).unwrap();
        assert_eq!((plans.patch_size, plans.spacing), ([96, 128, 112], [0.7, 0.7, 0.8]));
        let ct = Scheme::Ct { percentile_00_5: 0.5, percentile_99_5: 8.0, mean: 1.5, std: 2.0 };
        assert_eq!((plans.normalisation, plans.order, plans.force_separate_z), (vec![ct], Order::Cubic, None));
    }

    #[test]
    fn what_is_not_implemented_is_refused() {
        for (from, to, says) in [
            ("[96, 128, 112]", "[128, 112]", "patch_size"),
            ("[96, 128, 112]", "[0, 128, 112]", "patch_size"),
            ("[0.7, 0.7, 0.8]", "[0.0, 0.7, 0.8]", "spacing"),
            ("\"order\": 3", "\"order\": 5", "order"),
            ("\"order\": 1", "\"order\": 3", "probabilities"),
            ("\"order_z\": 0", "\"order_z\": 1", "order_z"),
            ("\"CTNormalization\"", "\"MyNormalization\"", "MyNormalization"),
            ("[1, 2, 0]", "[1, 2, 9]", "transpose_backward"),
            ("resample_data_or_seg_to_shape", "resample_torch_fornnunet", "resample_torch_fornnunet"),
        ] {
            let changed = PLANS.replacen(from, to, 1);
            assert_ne!(changed, PLANS);
            let message = Plans::parse(changed.as_bytes(), "3d_fullres", 1).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
        assert!(Plans::parse(PLANS.as_bytes(), "3d_fullres", 2).is_err());
        assert!(Plans::parse(PLANS.as_bytes(), "2d", 1).unwrap_err().to_string().contains("3d_fullres"));
    }

    proptest! {
        #[test]
        fn mutated_plans_never_panic(at in 0..PLANS.len(), byte in any::<u8>()) {
            let mut bytes = PLANS.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = Plans::parse(&bytes, "3d_fullres", 1);
            let _ = Plans::parse(&bytes[..at], "3d_fullres", 1);
        }
    }
}
