"""Reads BIDS derivatives with nibabel and compares them with the maps that they were made of.

usage: read_derivatives.py ROOT LABELS PROBABILITIES AFFINE
LABELS holds unsigned 16-bit little-endian labels, PROBABILITIES bytes in 255ths, both by slice, row, column; AFFINE is
JSON, four rows that take (column, row, slice, 1) to LPS mm.
"""

import csv
import json
import pathlib
import sys

import nibabel
import numpy


def one(root, suffix):
    (path,) = root.rglob(f"*{suffix}")
    return path


def main():
    root, labels, probabilities, affine = sys.argv[1:]
    root = pathlib.Path(root)
    with open(affine, encoding="utf-8") as file:
        ras = numpy.diag([-1, -1, 1, 1]) @ numpy.array(json.load(file))
    dseg = nibabel.load(one(root, "_dseg.nii.gz"))
    probseg = nibabel.load(one(root, "_probseg.nii.gz"))
    shape = dseg.shape[::-1]
    labels = numpy.fromfile(labels, "<u2").reshape(shape).T
    probabilities = numpy.fromfile(probabilities, "u1").reshape(shape).T
    with open(one(root, "_dseg.tsv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    voxels = numpy.asanyarray(dseg.dataobj)
    counted = {int(row["index"]): int(row["voxels"]) for row in rows}
    present, counts = numpy.unique(voxels[voxels > 0], return_counts=True)
    print(
        json.dumps(
            {
                "type": str(voxels.dtype),
                "differing": int((voxels != labels).sum()),
                "voxels": int(voxels.size),
                "table_agrees": counted == dict(zip(present.tolist(), counts.tolist())),
                "probability_error": float(numpy.abs(probseg.get_fdata() - probabilities / 255).max()),
                "farthest_mm": float(max(numpy.abs(image.affine - ras).max() for image in (dseg, probseg))),
                "qform_mm": float(numpy.abs(dseg.get_qform() - ras).max()),
                "files": sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()),
            }
        )
    )


main()
