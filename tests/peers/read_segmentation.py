"""Reads a DICOM Segmentation with pydicom and highdicom and compares it with a label map.

usage: read_segmentation.py SEG LABELS SOURCES
LABELS holds unsigned 16-bit little-endian labels by slice, row, column. SOURCES is JSON: for each slice the file,
SOPInstanceUID and frame (or null) that it came from. Positions are taken from the source files, never from our side.
"""

import json
import sys

import highdicom
import numpy
import pydicom


def source_planes(sources):
    """Position, row and column steps in LPS mm of each slice, as the source's own header has them."""
    files = {}
    planes = []
    for source in sources:
        if source["file"] not in files:
            files[source["file"]] = pydicom.dcmread(source["file"], stop_before_pixels=True)
        header = files[source["file"]]
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


def main():
    path, labels_path, sources_path = sys.argv[1:]
    with open(sources_path, encoding="utf-8") as file:
        sources = json.load(file)
    plain = pydicom.dcmread(path)
    segmentation = highdicom.seg.segread(path)
    labels = numpy.fromfile(labels_path, "<u2").reshape(len(sources), plain.Rows, plain.Columns)
    numbers = list(segmentation.segment_numbers)

    asked = {"segment_numbers": numbers, "combine_segments": False, "assert_missing_frames_are_empty": True}
    if sources[0]["frame"] is None:
        uids = [source["uid"] for source in sources]
        masks = segmentation.get_pixels_by_source_instance(source_sop_instance_uids=uids, **asked)
    else:
        frames = [source["frame"] for source in sources]
        masks = segmentation.get_pixels_by_source_frame(
            source_sop_instance_uid=sources[0]["uid"], source_frame_numbers=frames, **asked
        )
    expected = numpy.stack([labels == number for number in numbers], axis=-1)
    differing = int((masks.astype(bool) != expected).sum())

    # Where the voxels lie: highdicom's own volume against the sources' headers.
    volume = segmentation.get_volume(segment_numbers=numbers, combine_segments=False, allow_missing_positions=True)
    planes = source_planes(sources)
    farthest = 0.0
    for index in range(len(numbers)):
        slices, rows, columns = numpy.nonzero(expected[..., index])
        points = numpy.array(
            [planes[s][0] + c * planes[s][1] + r * planes[s][2] for s, r, c in zip(slices, rows, columns)]
        ).reshape(-1, 3)
        # Each labelled point must be a set voxel there, and no other voxel may be set.
        place = numpy.linalg.solve(volume.affine, numpy.c_[points, numpy.ones(len(points))].T)[:3].T
        voxels = numpy.rint(place).astype(int)
        inside = ((voxels >= 0) & (voxels < volume.array.shape[:3])).all()
        mask = volume.array[..., index].astype(bool)
        if not inside or mask.sum() != len(points) or not mask[tuple(voxels.T)].all():
            farthest = 1e9
        elif len(points):
            found = voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]
            farthest = max(farthest, float(numpy.linalg.norm(found - points, axis=1).max()))

    print(
        json.dumps(
            {
                "segments": len(numbers),
                "frames": int(plain.NumberOfFrames),
                "voxels": int(plain.pixel_array.astype(bool).sum()),
                "differing": differing,
                "farthest_mm": farthest,
                "tracking_uids": [str(item.get("TrackingUID", "")) for item in plain.SegmentSequence],
                "patient_name": str(plain.PatientName),
            }
        )
    )


main()
