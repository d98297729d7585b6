//! Promises of the plans: what nnU-Net writes is read, and what is not known is refused by name.

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
fn a_configuration_takes_what_it_does_not_say_from_the_one_it_inherits_from() {
    let small = r#""configurations": {"small": {"inherits_from": "3d_fullres", "patch_size": [32, 32, 32]}, "#;
    let text = PLANS.replace("\"configurations\": {", small);
    let plans = Plans::parse(text.as_bytes(), "small", 1).unwrap();
    assert_eq!((plans.patch_size, plans.spacing), ([32; 3], [0.7, 0.7, 0.8]));
}

#[test]
fn what_is_not_said_of_thick_slices_is_as_in_nnunet() {
    let separate = |text: &str| Plans::parse(text.as_bytes(), "3d_fullres", 1).unwrap().force_separate_z;
    let unsaid = PLANS.replace(", \"force_separate_z\": null", "");
    assert_eq!((separate(PLANS), separate(&unsaid)), (None, Some(false)));
    let torch = unsaid.replace("resample_data_or_seg_to_shape", "resample_torch_fornnunet");
    assert_eq!(separate(&torch), None);
}

#[test]
fn an_argument_of_resampling_that_is_not_known_is_refused_by_name() {
    let text = PLANS.replacen("\"order\": 3", "\"order\": 3, \"order_of_the_day\": 7", 1);
    let message = Plans::parse(text.as_bytes(), "3d_fullres", 1).unwrap_err().to_string();
    assert!(message.contains("resampling_fn_data_kwargs.order_of_the_day") && message.contains('7'), "{message}");
}

#[test]
fn resampling_with_torch_is_linear() {
    let text = PLANS.replace("resample_data_or_seg_to_shape", "resample_torch_fornnunet");
    let torch = |from: &str, to: &str| Plans::parse(text.replacen(from, to, 1).as_bytes(), "3d_fullres", 1);
    let plans = torch("\"order\": 3, ", "").unwrap();
    assert_eq!((plans.order, plans.single_logits), (Order::Linear, true));
    for (argument, says) in [("\"mode\": \"area\"", "area"), ("\"aniso_axis_mode\": \"linear\"", "nearest-exact")] {
        let message = torch("\"order\": 3", argument).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_planar_network_keeps_the_spacing_between_slices() {
    let text = PLANS.replace("[96, 128, 112]", "[128, 112]").replace("[0.7, 0.7, 0.8]", "[0.7, 0.8]");
    let plans = Plans::parse(text.as_bytes(), "3d_fullres", 1).unwrap();
    assert!(plans.planar);
    assert_eq!((plans.patch_size, plans.target([3.0, 1.0, 1.0])), ([1, 128, 112], [3.0, 0.7, 0.8]));
    assert_eq!(plans.mirror_axes(&[0, 1]), [1, 2]);
}

#[test]
fn what_is_not_implemented_is_refused() {
    for (from, to, says) in [
        ("[96, 128, 112]", "[128, 112]", "spacing"),
        ("[96, 128, 112]", "[128]", "patch_size"),
        ("\"batch_size\": 2", "\"previous_stage\": \"3d_lowres\"", "previous_stage"),
        ("\"batch_size\": 2", "\"inherits_from\": \"3d_fullres\"", "circle"),
        ("[96, 128, 112]", "[0, 128, 112]", "patch_size"),
        ("[0.7, 0.7, 0.8]", "[0.0, 0.7, 0.8]", "spacing"),
        ("\"order\": 3", "\"order\": 5", "order"),
        ("\"order\": 1", "\"order\": 3", "probabilities"),
        ("\"order_z\": 0", "\"order_z\": 1", "order_z"),
        ("\"CTNormalization\"", "\"MyNormalization\"", "MyNormalization"),
        ("[1, 2, 0]", "[1, 2, 9]", "transpose_backward"),
        ("resample_data_or_seg_to_shape", "resample_by_hand", "resample_by_hand"),
        ("\"order\": 3", "\"separate_z_anisotropy_threshold\": 2", "threshold"),
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
