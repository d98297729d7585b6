"""Writes the cases that the inference engine is compared with: small nnU-Net v2 models, an image for each, and what
nnU-Net itself makes of it on the CPU.

usage: make.py OUTPUT_FOLDER [--size small|large] [--only NAME]
Needs nnunetv2 2.8.1 with torch. It owns OUTPUT_FOLDER/NAME and replaces it:
  results/                  trained-model folder: plans.json, dataset.json, fold_K/checkpoint_final.pth
  images/case_000C.nii.gz   one file per channel
  oracle/prepared.npy       float32 (c, z, y, x), after preprocessing, in transposed axes
  oracle/tile.npy           float32 (c, patch), one input of the network
  oracle/tile_logits.npy    float32 (outputs, patch), what fold 0 answers to it, not mirrored
  oracle/logits.npy         float16 (outputs, z, y, x), resampled to the crop's grid, in transposed axes
  oracle/segmentation.npy   uint8 (z, y, x), as nnU-Net writes it
  case.json                 name, mirror, folds, labels (values that may occur, background included), note
The networks are not trained. Their weights are random, and the last layer is set so that every label occurs.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import tempfile
import warnings

import numpy as np
import SimpleITK
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation import nnUNetTrainerNoMirroring as variants
from scipy.ndimage import gaussian_filter
from torch.nn.modules.instancenorm import _InstanceNorm

# `image` and `patch` multiply the shapes of a case; `blocks` are those of a residual encoder.
Size = collections.namedtuple("Size", "image patch features most_features stages blocks")
SIZES = {"small": Size(1, 1, 4, 8, 3, [1, 2, 2]), "large": Size(4.5, 4, 8, 64, 4, [1, 3, 4, 6])}
CHECKPOINT = "checkpoint_final.pth"


@dataclasses.dataclass(frozen=True)
class Case:
    """`shape` and `spacing` are z, y, x as stored; `planned` (the plans' spacing) and `patch` in transposed axes."""

    name: str
    note: str
    shape: tuple[int, ...] = (18, 20, 24)
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    planned: tuple[float, ...] = (1.0, 1.0, 1.0)
    patch: tuple[int, ...] = (8, 12, 16)
    # Name, which decides the normalisation, and whether this keeps to the nonzero mask.
    channels: tuple[tuple[str, bool], ...] = (("T1", True),)
    labels: tuple[tuple[str, int | list[int]], ...] = (("background", 0), ("wall", 1), ("core", 2))
    regions_order: tuple[int, ...] = ()
    residual: bool = False
    flat_stages: int = 0
    transpose: tuple[int, ...] = (0, 1, 2)
    folds: int = 1
    mirror: bool = False
    trainer: type[nnUNetTrainer] = nnUNetTrainer
    old_plans: bool = False
    empty: bool = False
    pixels: str = "float32"
    reader: str = "SimpleITKIO"
    # Columns: where x, y and z grow (LPS).
    stored: tuple[int, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)
    torch_resampling: bool = False


PLANAR = {"shape": (11, 22, 26), "planned": (1.0, 1.0), "patch": (12, 16)}
RESCALED = (("rescale_to_0_1", False), ("noNorm", False), ("rgb_to_0_1", False))
REGIONS = (("background", 0), ("whole", [1, 2, 3]), ("core", [2, 3]), ("active", 3))
# x grows downwards, y to the right, z to the front: SRA.
TURNED = (0, -1, 0, 0, 0, -1, 1, 0, 0)
IGNORE = (("background", 0), ("wall", 1), ("core", 2), ("ignore", 3))
CASES = [
    Case("iso", "spacing as planned: nothing is resampled"),
    Case("resampled", "cubic resampling along all axes", spacing=(1.25, 0.9, 1.1), pixels="int16"),
    Case("anisotropic", "thick slices resampled on their own, flat kernels first", shape=(14, 20, 24),
         spacing=(5.0, 1.2, 0.9), planned=(4.0, 1.0, 1.0), flat_stages=1),
    Case("planar", "2d, slices resampled one by one", spacing=(5.0, 1.1, 0.9), **PLANAR),
    Case("channels", "one with a mask and one without", channels=(("T1", True), ("T2", False)), shape=(14, 18, 22)),
    Case("regions", "three regions, painted as 1, 3, 2", labels=REGIONS, regions_order=(1, 3, 2)),
    Case("smaller", "odd-sized and smaller than the patch", shape=(9, 11, 13), patch=(12, 16, 16)),
    Case("ct", "CT normalisation of int16", channels=(("CT", False),), pixels="int16"),
    Case("rescale", "three channels: rescaled, as they are, as RGB", channels=RESCALED, shape=(12, 16, 20)),
    Case("mirrored", "mirrored along all axes", mirror=True),
    Case("partly_mirrored", "only axes 0 and 1 allowed", mirror=True, trainer=variants.nnUNetTrainer_onlyMirror01),
    Case("unmirrored", "wanted, but no axis allowed", mirror=True, trainer=variants.nnUNetTrainerNoMirroring),
    Case("five", "2d, mean of five folds", folds=5, **PLANAR),
    Case("residual", "residual encoder", residual=True),
    Case("residual_planar", "2d residual encoder, mirrored; all axes resampled though z keeps its size", mirror=True,
         spacing=(2.0, 1.1, 0.9), residual=True, **PLANAR),
    Case("old", "plans in the old format", channels=(("CT", False),), old_plans=True, flat_stages=1),
    Case("transposed", "thick sagittal slices, put first; separate z from the planned spacing only", shape=(20, 24, 16),
         spacing=(1.1, 0.9, 2.5), planned=(4.0, 1.0, 1.0), transpose=(2, 0, 1), flat_stages=1),
    Case("ignored", "an ignore label, which gets no output", labels=IGNORE),
    Case("torch", "resampled by torch along all axes", spacing=(1.25, 0.9, 1.1), torch_resampling=True),
    Case("torch_separate", "thick slices resampled by torch on their own", shape=(14, 20, 24), spacing=(5.0, 1.2, 0.9),
         planned=(4.0, 1.0, 1.0), torch_resampling=True),
    Case("turned", "stored as SRA and turned to RAS by SimpleITK", reader="SimpleITKIOWithReorient", stored=TURNED,
         spacing=(1.25, 0.9, 1.1)),
    Case("turned_nibabel", "stored as SRA and turned to RAS by nibabel", reader="NibabelIOWithReorient", stored=TURNED,
         spacing=(1.25, 0.9, 1.1)),
    Case("zero", "an image of zeros: the crop is the whole image", empty=True, shape=(13, 14, 17)),
]


def draw_channel(case: Case, name: str, generator: np.random.Generator) -> np.ndarray:
    """A lumpy body beside the centre on a background of zeros, with a hole of zeros inside."""

    def smooth() -> np.ndarray:
        noise = gaussian_filter(generator.standard_normal(case.shape), [n / 10 for n in case.shape])
        return (noise - noise.mean()) / noise.std()

    centre = generator.uniform(-0.15, 0.15, 3)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) - at for n, at in zip(case.shape, centre)], indexing="ij"))
    body = np.linalg.norm(grid, axis=0) + 0.06 * smooth() < 0.78
    hole = np.linalg.norm(grid - 0.2, axis=0) < 0.25
    values = 40 * smooth() + 4 * generator.standard_normal(case.shape)
    values += {"CT": 30, "rgb_to_0_1": 127}.get(name, 200)
    values = (values.clip(1, 255) if name == "rgb_to_0_1" else values).round(1).astype(case.pixels)
    values[values == 0] = 1
    return np.where(body & ~hole & (not case.empty), values, values.dtype.type(0))


def write_images(case: Case, folder: pathlib.Path) -> list[np.ndarray]:
    """Writes one file per channel and returns the channels."""
    generator = np.random.default_rng(list(case.name.encode()))
    folder.mkdir(parents=True)
    channels = [draw_channel(case, name, generator) for name, _ in case.channels]
    for index, pixels in enumerate(channels):
        image = SimpleITK.GetImageFromArray(pixels)
        image.SetSpacing(case.spacing[::-1])
        image.SetOrigin((-31.5, 12.25, 7.0))
        image.SetDirection([float(part) for part in case.stored])
        SimpleITK.WriteImage(image, str(folder / f"case_{index:04}.nii.gz"), True)
    return channels


def intensities(pixels: np.ndarray) -> dict[str, float]:
    """What the planner records of a channel's foreground."""
    values = pixels[pixels != 0] if pixels.any() else pixels
    low, high = np.percentile(values, [0.5, 99.5])
    known = {"max": values.max(), "mean": values.mean(), "median": np.median(values), "min": values.min()}
    known |= {"percentile_00_5": low, "percentile_99_5": high, "std": values.std()}
    return {name: float(value) for name, value in known.items()}


def architecture(case: Case, size: Size) -> dict:
    """The part of a configuration that describes the network, in the new format or in the old one."""
    axes = len(case.patch)
    flat = [stage < case.flat_stages for stage in range(size.stages)]
    kernels = [[1 if first else 3] + [3] * (axes - 1) for first in flat]
    strides = [[1] * axes] + [[1 if first else 2] + [2] * (axes - 1) for first in flat[:-1]]
    network = "ResidualEncoderUNet" if case.residual else "PlainConvUNet"
    encoder = size.blocks if case.residual else [2] * size.stages
    decoder = [1 if case.residual else 2] * (size.stages - 1)
    if case.old_plans:
        pools = [sum(stride[axis] == 2 for stride in strides) for axis in range(axes)]
        return {
            "UNet_class_name": network, "UNet_base_num_features": size.features,
            "n_conv_per_stage_encoder": encoder, "n_conv_per_stage_decoder": decoder, "num_pool_per_axis": pools,
            "pool_op_kernel_sizes": strides, "conv_kernel_sizes": kernels, "unet_max_num_features": size.most_features,
        }
    features = [min(size.features * 2**stage, size.most_features) for stage in range(size.stages)]
    arguments = {
        "n_stages": size.stages, "features_per_stage": features, "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": kernels, "strides": strides,
        "n_blocks_per_stage" if case.residual else "n_conv_per_stage": encoder, "n_conv_per_stage_decoder": decoder,
        "conv_bias": True, "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }
    name = f"dynamic_network_architectures.architectures.unet.{network}"
    imported = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    return {"architecture": {"network_class_name": name, "arch_kwargs": arguments, "_kw_requires_import": imported}}


def make_plans(case: Case, size: Size, channels: list[np.ndarray]) -> dict:
    """plans.json as the default planner writes it."""
    name = "nnUNetResEncUNetMPlans" if case.residual else "nnUNetPlans"
    kind = "2d" if len(case.patch) == 2 else "3d_fullres"
    shape = [case.shape[axis] for axis in case.transpose]
    configuration = {
        "data_identifier": f"{name}_{kind}", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": list(case.patch), "median_image_size_in_voxels": [float(n) for n in shape[-len(case.patch) :]],
        "normalization_schemes": [get_normalization_scheme(name).__name__ for name, _ in case.channels],
        "use_mask_for_norm": [masked for _, masked in case.channels], "spacing": list(case.planned),
    }
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        arguments = {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        if case.torch_resampling:
            arguments = {"is_seg": what == "seg", "force_separate_z": None, "memefficient_seg_resampling": False}
        function = "resample_torch_fornnunet" if case.torch_resampling else "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{what}"] = function
        configuration[f"resampling_fn_{what}_kwargs"] = arguments
    configuration |= architecture(case, size) | {"batch_dice": kind == "2d"}
    # The older of the two names is still accepted.
    properties = "foreground_intensity_properties_" + ("by_modality" if case.old_plans else "per_channel")
    return {
        "dataset_name": f"Dataset700_{case.name}", "plans_name": name,
        "original_median_spacing_after_transp": [case.spacing[axis] for axis in case.transpose],
        "original_median_shape_after_transp": shape, "image_reader_writer": case.reader,
        "transpose_forward": list(case.transpose), "transpose_backward": [case.transpose.index(n) for n in range(3)],
        "configurations": {kind: configuration}, "label_manager": "LabelManager",
        "experiment_planner_used": "nnUNetPlannerResEncM" if case.residual else "ExperimentPlanner",
        properties: {str(index): intensities(pixels) for index, pixels in enumerate(channels)},
    }


def make_trainer(case: Case, fold: int, plans: dict, dataset: dict, results: pathlib.Path) -> nnUNetTrainer:
    """nnU-Net's own trainer with a random network, which it has written to its checkpoint."""
    [(kind, configuration)] = plans["configurations"].items()
    # Without a preprocessed file the trainer does not know of which kind these are.
    identifier = configuration["data_identifier"]
    preprocessed = pathlib.Path(os.environ["nnUNet_preprocessed"], plans["dataset_name"], identifier, "case.b2nd")
    preprocessed.parent.mkdir(parents=True, exist_ok=True)
    preprocessed.touch()
    torch.manual_seed(sum(case.name.encode()) * 10 + fold)
    # The trainer takes `continue_training` out of the plans again, so they are a copy.
    trainer = case.trainer(plans | {"continue_training": False}, kind, fold, dataset, torch.device("cpu"))
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    for module in trainer.network.modules():
        # They start as 1 and 0, which would hide a mix-up.
        if isinstance(module, _InstanceNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    # One epoch in the log, since a real checkpoint holds numpy scalars from there.
    scores = list(np.linspace(0.5, 0.75, trainer.label_manager.num_segmentation_heads))
    epoch = {"train_losses": np.mean([0.25, -0.5]), "val_losses": np.mean([0.5, -0.5]), "lrs": trainer.initial_lr}
    epoch |= {"epoch_start_timestamps": 1.7e9, "epoch_end_timestamps": 1.7e9 + 60}
    epoch |= {"mean_fg_dice": np.nanmean(scores), "dice_per_class_or_region": scores}
    for key, value in epoch.items():
        trainer.logger.log(key, value, 0)
    trainer._best_ema = trainer.logger.get_value("ema_fg_dice", step=-1)
    (results / f"fold_{fold}").mkdir()
    trainer.save_checkpoint(str(results / f"fold_{fold}" / CHECKPOINT))
    return trainer


def predict(results: pathlib.Path, folds: list[int], mirror: bool, files: list[str]) -> tuple:
    """Predicts in nnU-Net's steps: the predictor, the prepared image, the crop's logits and what the export takes."""
    predictor = nnUNetPredictor(0.5, True, use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(results), folds, CHECKPOINT)
    plans, manager, dataset = predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    data, _, properties = manager.preprocessor_class(verbose=False).run_case(files, None, plans, manager, dataset)
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    spacing = [properties["spacing"][axis] for axis in plans.transpose_forward]
    planned = [*spacing[: 3 - len(manager.spacing)], *manager.spacing]
    shape = properties["shape_after_cropping_and_before_resampling"]
    resampled = manager.resampling_fn_probabilities(logits, shape, planned, spacing)
    return predictor, data, np.asarray(resampled), (logits, properties, manager, plans, dataset)


@torch.no_grad()
def set_last_layers(case: Case, trainers: list[nnUNetTrainer], results: pathlib.Path, files: list[str]) -> None:
    """Sets every fold's last layer so that each label wins equally often, or each region is a third of the crop.

    The layer is 1x1 and all that follows only averages, so its gain and bias act on the final logits as they are.
    Mirroring is left out: it takes long and leaves the shares well within bounds.
    """
    flat = []
    for trainer in trainers:
        _, _, logits, _ = predict(results, [trainer.fold], False, files)
        flat.append(logits.reshape(len(logits), -1).astype(float))
    # A deviation of 3 for the logits, beside which float16 steps are small.
    gains = [3 / logits.std(1) for logits in flat]
    biases = [-logits.mean(1) * gain for logits, gain in zip(flat, gains)]
    mean = sum(logits * gain[:, None] + bias[:, None] for logits, gain, bias in zip(flat, gains, biases)) / len(flat)
    added = -np.quantile(mean, 2 / 3, axis=1) if case.regions_order else np.zeros(len(mean))
    for step in () if case.regions_order else np.geomspace(4, 0.02, 100):
        covered = np.bincount((mean + added[:, None]).argmax(0), minlength=len(mean)) / mean.shape[1]
        added += step * (1 / len(mean) - covered)
    for trainer, gain, bias in zip(trainers, gains, biases):
        layer = trainer.network.decoder.seg_layers[-1]
        gain, bias = torch.from_numpy(gain).float(), torch.from_numpy(bias + added).float()
        layer.weight.mul_(gain.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.mul_(gain).add_(bias)
        trainer.save_checkpoint(str(results / f"fold_{trainer.fold}" / CHECKPOINT))


def middle_tile(data: np.ndarray, patch: tuple[int, ...]) -> np.ndarray:
    """The tile in the middle of the prepared image, or of its middle slice, padded where that is smaller."""
    data = data[:, data.shape[1] // 2] if len(patch) == 2 else data
    padded = pad_nd_image(data, patch, "constant", {"constant_values": 0})
    starts = [(have - need) // 2 for have, need in zip(padded.shape[1:], patch)]
    return np.ascontiguousarray(padded[(slice(None), *[slice(at, at + n) for at, n in zip(starts, patch)])])


def write_oracle(case: Case, folder: pathlib.Path, files: list[str]) -> dict[str, float]:
    """Writes what nnU-Net makes of the images and returns the part of the crop that each label and region covers."""
    predictor, data, logits, exported = predict(folder / "results", list(range(case.folds)), case.mirror, files)
    with tempfile.TemporaryDirectory() as written:
        export_prediction_from_logits(*exported, f"{written}/case")
        segmentation = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(f"{written}/case.nii.gz")).astype(np.uint8)
    predictor.network.load_state_dict(predictor.list_of_parameters[0])
    tile = middle_tile(data, case.patch)
    answer = predictor.network(torch.from_numpy(tile)[None])[0].detach().numpy()
    (folder / "oracle").mkdir()
    arrays = {"prepared": data, "tile": tile, "tile_logits": answer, "logits": logits, "segmentation": segmentation}
    for name, array in arrays.items():
        np.save(folder / "oracle" / f"{name}.npy", array)
    cropped = np.asarray(predictor.label_manager.convert_logits_to_segmentation(logits))
    if (np.bincount(cropped.ravel())[1:] != np.bincount(segmentation.ravel())[1:]).any():
        raise ValueError(f"{case.name}: the logits are not those of the segmentation")
    covered = {str(value): float((cropped == value).mean()) for value in predictor.label_manager.all_labels}
    regions = enumerate(logits) if case.regions_order else ()
    return covered | {f"region {index}": float((output > 0).mean()) for index, output in regions}


def write_case(case: Case, size: Size, output: pathlib.Path) -> dict[str, float]:
    """Writes one case and returns the part of the crop that each label and region covers."""
    shape = tuple(round(n * size.image) for n in case.shape)
    case = dataclasses.replace(case, shape=shape, patch=tuple(n * size.patch for n in case.patch))
    folder = output / case.name
    shutil.rmtree(folder, ignore_errors=True)
    channels = write_images(case, folder / "images")
    files = [str(path) for path in sorted((folder / "images").iterdir())]
    results = folder / "results"
    results.mkdir()
    plans = make_plans(case, size, channels)
    names = {str(index): name for index, (name, _) in enumerate(case.channels)}
    dataset = {"channel_names": names, "labels": dict(case.labels), "numTraining": 20, "file_ending": ".nii.gz"}
    dataset |= {"regions_class_order": list(case.regions_order)} if case.regions_order else {}
    labels = len([name for name, _ in case.labels if name != "ignore"])
    facts = {"name": case.name, "mirror": case.mirror, "folds": list(range(case.folds)), "labels": labels}
    described = {"plans": plans, "dataset": dataset, "../case": facts | {"note": case.note}}
    for name, content in described.items():
        (results / f"{name}.json").write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    trainers = [make_trainer(case, fold, plans, dataset, results) for fold in range(case.folds)]
    if not case.empty:
        set_last_layers(case, trainers, results, files)
    covered = write_oracle(case, folder, files)
    if not case.empty and not 0.01 <= min(covered.values()) <= max(covered.values()) <= 0.9:
        raise ValueError(f"{case.name}: a label covers too little or too much: {covered}")
    return covered


def main() -> None:
    parser = argparse.ArgumentParser(usage="make.py OUTPUT_FOLDER [--size small|large] [--only NAME]")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--only", choices=[case.name for case in CASES])
    asked = parser.parse_args()
    # One thread, so that sums come out in the same order each time.
    torch.set_num_threads(1)
    # nnU-Net talks a lot, and warns of old plans and of means over nothing, which are meant.
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {f"nnUNet_{name}": f"{scratch}/{name}" for name in ("raw", "preprocessed", "results")}
        for case in CASES:
            if asked.only in (None, case.name):
                with contextlib.redirect_stdout(io.StringIO()):
                    covered = write_case(case, SIZES[asked.size], asked.output)
                print(case.name, {value: round(part, 3) for value, part in covered.items()}, flush=True)


if __name__ == "__main__":
    main()
