"""A scanner that reports performed procedure steps beside what it sends.

Usage: scanner_steps.py PORT SENT MADE ENDS

Begins a step (N-CREATE), sends every file of the folder SENT over an association of its own, and ends the step (N-SET) in
the state ENDS with every file of the folder MADE as what it made; no end where ENDS is "none". Prints one JSON line: the
statuses of the beginning, of beginning the same again, of the end, of the same end again, and of another end.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import ModalityPerformedProcedureStep, MRImageStorage

port, sent, made, ends = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]


def item(**values):
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return one


def files(folder):
    return [dcmread(path) for path in sorted(folder.iterdir())]


def begins(study):
    scheduled = item(
        StudyInstanceUID=study,
        ReferencedStudySequence=[],
        AccessionNumber="",
        RequestedProcedureID="1",
        ScheduledProcedureStepID="1",
        ScheduledProcedureStepDescription="MS follow-up",
    )
    return item(
        ScheduledStepAttributesSequence=[scheduled],
        PatientName="Muster^Eva",
        PatientID="1",
        PerformedProcedureStepID="1",
        PerformedStationAETitle="SCANNER",
        PerformedProcedureStepStartDate="20240102",
        PerformedProcedureStepStartTime="101500",
        PerformedProcedureStepStatus="IN PROGRESS",
        Modality="MR",
        PerformedSeriesSequence=[],
    )


def ended(state, instances):
    series = defaultdict(list)
    for instance in instances:
        reference = item(ReferencedSOPClassUID=MRImageStorage, ReferencedSOPInstanceUID=instance.SOPInstanceUID)
        series[instance.SeriesInstanceUID].append(reference)
    performed = [
        item(
            SeriesInstanceUID=uid,
            SeriesDescription="t1_mprage",
            ProtocolName="t1_mprage",
            PerformingPhysicianName="",
            OperatorsName="",
            RetrieveAETitle="",
            ReferencedImageSequence=images,
            ReferencedNonImageCompositeSOPInstanceSequence=[],
        )
        for uid, images in series.items()
    ]
    return item(
        PerformedProcedureStepStatus=state,
        PerformedProcedureStepEndDate="20240102",
        PerformedProcedureStepEndTime="103000",
        PerformedSeriesSequence=performed,
    )


def associate(*context):
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(*context)
    association = ae.associate("127.0.0.1", port, ae_title="SULCUS")
    assert association.is_established
    return association


made, sent = files(made), files(sent)
step = generate_uid()
told = {}
steps = associate(ModalityPerformedProcedureStep)


def create():
    return steps.send_n_create(begins(made[0].StudyInstanceUID), ModalityPerformedProcedureStep, step)[0].Status


def end(state, instances):
    return steps.send_n_set(ended(state, instances), ModalityPerformedProcedureStep, step)[0].Status


told["begun"] = create()
told["begun_again"] = create()
images = associate(MRImageStorage, sent[0].file_meta.TransferSyntaxUID)
for file in sent:
    assert images.send_c_store(file).Status == 0x0000
images.release()
if ends != "none":
    told["ended"] = end(ends, made)
    told["ended_again"] = end(ends, made)
    told["ended_otherwise"] = end(ends, made[:-1])
unknown = steps.send_n_set(ended("COMPLETED", made), ModalityPerformedProcedureStep, generate_uid())[0].Status
told["never_begun"] = unknown
steps.release()
print(json.dumps(told))
