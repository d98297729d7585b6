"""Reads a structured report or a rejection note with pydicom and highdicom and prints what they find in it.

usage: read_report.py FILE [groups]
"""

import json
import sys

import highdicom
import pydicom


def code(item, sequence="ConceptNameCodeSequence"):
    entry = item[sequence].value[0]
    return [entry.CodeValue, entry.CodingSchemeDesignator, entry.CodeMeaning]


def plain(item):
    """One content item and all below it: name, value, relation, children."""
    value = {
        "TEXT": lambda: item.TextValue,
        "CODE": lambda: code(item, "ConceptCodeSequence"),
        "NUM": lambda: float(item.MeasuredValueSequence[0].NumericValue),
        "UIDREF": lambda: item.UID,
        "PNAME": lambda: str(item.PersonName),
        "SCOORD3D": lambda: [float(mm) for mm in item.GraphicData],
        "IMAGE": lambda: item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
        "COMPOSITE": lambda: item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
    }.get(item.ValueType, lambda: None)()
    return {
        "type": item.ValueType,
        "relation": item.get("RelationshipType"),
        "name": code(item) if "ConceptNameCodeSequence" in item else None,
        "value": value,
        "items": [plain(child) for child in item.get("ContentSequence", [])],
    }


def instances(sequence):
    return sorted(
        object.ReferencedSOPInstanceUID
        for study in sequence
        for series in study.ReferencedSeriesSequence
        for object in series.ReferencedSOPSequence
    )


def group(found):
    """What highdicom's own content helpers give of one measurement group."""
    measured = {}
    for measurement in found.get_measurements():
        name = measurement.name.meaning
        if measurement.derivation is not None:
            name = f"{measurement.derivation.meaning} {name}"
        measured[name] = [float(measurement.value), measurement.unit.value]
    segment = found.referenced_segment
    series = segment.source_series_for_segmentation
    evaluations = found.get_qualitative_evaluations()
    return {
        "tracking_identifier": found.tracking_identifier,
        "tracking_uid": found.tracking_uid,
        "finding": found.finding_type.meaning,
        "sites": [site.value.meaning for site in found.finding_sites],
        "segmentation": segment.referenced_sop_instance_uid,
        "segment": segment.referenced_segment_numbers,
        "source_series": None if series is None else series.value,
        "measurements": measured,
        "evaluations": [[evaluation.name.value, evaluation.value.value] for evaluation in evaluations],
    }


def main():
    plainly = pydicom.dcmread(sys.argv[1])
    count, groups, resolved = 0, [], []
    if plainly.Modality == "KO":
        read = highdicom.ko.KeyObjectSelectionDocument.from_dataset(plainly)
        resolved = [list(read.resolve_reference(uid)) for uid in instances(plainly.CurrentRequestedProcedureEvidenceSequence)]
    else:
        read = highdicom.sr.srread(sys.argv[1])
        if "groups" in sys.argv[2:]:
            found = read.content.get_volumetric_roi_measurement_groups()
            count = len(found)
            # highdicom takes a tenth of a second for each group's measurements: about fifty of them are asked for.
            groups = [[place, group(found[place])] for place in range(0, count, 1 + count // 50)]
    print(
        json.dumps(
            {
                "class": type(read).__name__,
                "patient_name": str(plainly.PatientName),
                "patient_id": plainly.PatientID,
                "evidence": instances(plainly.get("CurrentRequestedProcedureEvidenceSequence", [])),
                "predecessors": instances(plainly.get("PredecessorDocumentsSequence", [])),
                "title": code(plainly),
                "items": [plain(item) for item in plainly.ContentSequence],
                "group_count": count,
                "groups": groups,
                "resolved": resolved,
            }
        )
    )


main()
