"""Reads DICOM Segmentations with pydicom, highdicom and dcmqi and compares each with what it must hold.

usage: read_segmentations.py LIST
LIST is JSON: of each segmentation `name`, the file `segmentation`, whether it is `fractional`, `held` (a file of
unsigned 16-bit little-endian values by slice, row, column: segment numbers, 0 for none, or steps of 255), `sources`
(for each slice the file, SOPInstanceUID and frame, or null, that it came from), `tracking_uids`.
Positions are taken from the source files, never from our side. Prints what each of them holds.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import highdicom
import nibabel
import numpy
import pydicom

headers = {}


def source_planes(sources):
    """Position, row and column steps in LPS mm of each slice, as the source's own header has them."""
    planes = []
    for source in sources:
        if source["file"] not in headers:
            headers[source["file"]] = pydicom.dcmread(source["file"], stop_before_pixels=True)
        header = headers[source["file"]]
        groups = [header]
        if source["frame"] is not None:
            own = header.PerFrameFunctionalGroupsSequence[source["frame"] - 1]
            groups = [own, header.SharedFunctionalGroupsSequence[0]]

        def value(sequence, keyword):
            for group in groups:
                if keyword in group:
                    return group[keyword].value
                if sequence in group:
                    return group[sequence][0][keyword].value
            raise KeyError(keyword)

        orientation = numpy.array(value("PlaneOrientationSequence", "ImageOrientationPatient"), float)
        spacing = numpy.array(value("PixelMeasuresSequence", "PixelSpacing"), float)
        position = numpy.array(value("PlanePositionSequence", "ImagePositionPatient"), float)
        planes.append((position, orientation[:3] * spacing[1], orientation[3:] * spacing[0]))
    return planes


def farthest(held, planes, array, affine):
    """Millimetres between where voxels of `held` are by the sources and where `array` has the same values; 1e9 where it
    has other values there, or more of them."""
    slices, rows, columns = numpy.nonzero(held)
    origins, across, down = (numpy.array(part) for part in zip(*planes))
    points = origins[slices] + columns[:, None] * across[slices] + rows[:, None] * down[slices]
    if not len(points):
        return 1e9 if array.any() else 0.0
    place = numpy.linalg.solve(affine, numpy.c_[points, numpy.ones(len(points))].T)[:3].T
    voxels = numpy.rint(place).astype(int)
    inside = ((voxels >= 0) & (voxels < array.shape)).all()
    if not inside or (array[tuple(voxels.T)] != held[slices, rows, columns]).any():
        return 1e9
    if numpy.count_nonzero(array) != len(points):
        return 1e9
    found = voxels @ affine[:3, :3].T + affine[:3, 3]
    return float(numpy.linalg.norm(found - points, axis=1).max())


def by_highdicom(case, held, planes):
    """How many voxels differ, by the segmentation's own references, and how far its voxels lie from their sources."""
    segmentation = highdicom.seg.segread(case["segmentation"])
    sources = case["sources"]
    asked = {"assert_missing_frames_are_empty": True}
    if case["fractional"]:
        asked["rescale_fractional"] = False
    else:
        asked["combine_segments"] = True
    if sources[0]["frame"] is None:
        uids = [source["uid"] for source in sources]
        read = segmentation.get_pixels_by_source_instance(source_sop_instance_uids=uids, **asked)
    else:
        frames = [source["frame"] for source in sources]
        read = segmentation.get_pixels_by_source_frame(
            source_sop_instance_uid=sources[0]["uid"], source_frame_numbers=frames, **asked
        )
    if case["fractional"]:
        assert read.shape[-1] == 1
        read = read[..., 0]
    asked.pop("assert_missing_frames_are_empty")
    volume = segmentation.get_volume(allow_missing_positions=True, **asked)
    array = volume.array[..., 0] if case["fractional"] else volume.array
    return int((read != held).sum()), farthest(held, planes, array, volume.affine), len(segmentation.segment_numbers)


def by_dcmqi(case, held, planes):
    """The same of `segimage2itkimage`: how far its voxels lie from the sources; 1e9 where they are others."""
    with tempfile.TemporaryDirectory() as folder:
        command = [pathlib.Path(sys.executable).with_name("segimage2itkimage"), "--inputDICOM", case["segmentation"]]
        command += ["--outputDirectory", folder, "--outputType", "nii", "--mergeSegments"]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        images = sorted(pathlib.Path(folder).glob("*.nii.gz"))
        if said.returncode or len(images) != 1:
            raise RuntimeError(f"{case['name']}: dcmqi gave {len(images)} images\n{said.stdout}\n{said.stderr}")
        image = nibabel.load(images[0])
        array = numpy.asarray(image.dataobj)
    lps = numpy.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    return farthest(held, planes, array, lps)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    answers = {}
    for case in cases:
        plain = pydicom.dcmread(case["segmentation"])
        held = numpy.fromfile(case["held"], "<u2").reshape(len(case["sources"]), plain.Rows, plain.Columns)
        planes = source_planes(case["sources"])
        differing, highdicom_mm, segments = by_highdicom(case, held, planes)
        tracking = [str(item.TrackingUID) for item in plain.SegmentSequence if "TrackingUID" in item]
        answers[case["name"]] = {
            "segments": segments,
            "frames": int(plain.NumberOfFrames),
            "pixels": int(numpy.count_nonzero(plain.pixel_array)),
            "held": int(numpy.count_nonzero(held)),
            "differing": differing,
            "highdicom_mm": highdicom_mm,
            "dcmqi_mm": by_dcmqi(case, held, planes),
            "tracking": tracking == case["tracking_uids"],
        }
    print(json.dumps(answers))


main()
