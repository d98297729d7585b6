"""Lets nnU-Net read the probabilities that `sulcus predict --save_probabilities` wrote: an ensemble of two folders that
are the same must give the labels of either.

usage: read_back.py PREDICTED
PREDICTED holds what the command wrote: case.nii.gz, case.npz, case.pkl, plans.json and dataset.json.
"""

import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import SimpleITK


def main():
    predicted = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = f"{scratch}/{name}"
        from nnunetv2.ensembling.ensemble import ensemble_folders

        folders = [pathlib.Path(scratch, name) for name in ("one", "other")]
        for folder in folders:
            shutil.copytree(predicted, folder)
        together = pathlib.Path(scratch, "together")
        ensemble_folders([str(folder) for folder in folders], str(together), num_processes=1)
        labels = [
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "case.nii.gz")))
            for folder in (predicted, together)
        ]
    differing = int(np.count_nonzero(labels[0] != labels[1]))
    print(f"{predicted.name}: {differing} of {labels[0].size} voxels differ from nnU-Net's reading of the probabilities")
    # The mean of two equal probabilities in fp16 or f32 may round two close ones to the same.
    sys.exit(differing > labels[0].size * 1e-4)


if __name__ == "__main__":
    main()
