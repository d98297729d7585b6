"""Builds a BINARY segmentation with highdicom and writes it, for the bench of outputs.

usage: write_segmentation.py KIND LABELS SOURCES OUTPUT
KIND is `one` (all labels as one segment, every frame) or `each` (one segment a label, without empty frames). LABELS
holds unsigned 16-bit little-endian labels by slice, row, column; SOURCES is a folder of one MR Image file a slice.
Prints the seconds from the arrays and headers in memory to the file on disk, the frames that were written, and the
most bytes that the process held.
"""

import json
import pathlib
import sys
import time

import highdicom
import numpy
import pydicom
from pydicom.sr.codedict import codes


def description(number, algorithm):
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"Lesion {number}",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=highdicom.UID(),
        tracking_id=f"Lesion {number}",
    )


def main():
    kind, labels_path, sources, output = sys.argv[1:]
    files = sorted(pathlib.Path(sources).glob("*.dcm"))
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    labels = numpy.fromfile(labels_path, "<u2").reshape(len(headers), headers[0].Rows, headers[0].Columns)
    algorithm = highdicom.AlgorithmIdentificationSequence("blob-filter", codes.DCM.ArtificialIntelligence, "1")
    start = time.perf_counter()
    if kind == "one":
        pixels, segments = (labels > 0).astype(numpy.uint8), 1
    else:
        pixels, segments = labels, int(labels.max())
    segmentation = highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=[description(number, algorithm) for number in range(1, segments + 1)],
        series_instance_uid=highdicom.UID(),
        series_number=9001,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="Peer",
        manufacturer_model_name="highdicom",
        software_versions=highdicom.__version__,
        device_serial_number="1",
        omit_empty_frames=kind == "each",
    )
    segmentation.save_as(output)
    seconds = time.perf_counter() - start
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8").split()
    peak = int(status[status.index("VmHWM:") + 1]) * 1024
    print(json.dumps({"seconds": seconds, "frames": int(segmentation.NumberOfFrames), "peak": peak}))


main()
