"""A scanner that sends a folder and asks for storage commitment of what it sent.

Usage: committing_scu.py PORT FOLDER [ALSO_UID ...]

Sends every file of FOLDER, then asks on the same association for commitment to all of them and to ALSO_UID, which it does
not send, and waits for the report. Prints one JSON line: the status of the request, Event Type ID, and the UIDs that the
report names as committed and as failed, with their reasons.
"""

import json
import sys
import threading
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    MRImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

port, folder, also = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
told, heard = {}, threading.Event()


def report(event):
    data = event.event_information
    told["event"] = event.event_type
    told["transaction"] = str(data.TransactionUID)
    told["committed"] = [str(item.ReferencedSOPInstanceUID) for item in data.get("ReferencedSOPSequence", [])]
    told["failed"] = [
        [str(item.ReferencedSOPInstanceUID), int(item.FailureReason)] for item in data.get("FailedSOPSequence", [])
    ]
    heard.set()
    return 0x0000, None


files = [dcmread(path) for path in sorted(folder.iterdir())]
ae = AE(ae_title="SCANNER")
ae.add_requested_context(StorageCommitmentPushModel)
for syntax in sorted({file.file_meta.TransferSyntaxUID for file in files}):
    ae.add_requested_context(MRImageStorage, syntax)
association = ae.associate("127.0.0.1", port, ae_title="SULCUS", evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)])
assert association.is_established
for file in files:
    assert association.send_c_store(file).Status == 0x0000
request = Dataset()
request.TransactionUID = generate_uid()
request.ReferencedSOPSequence = []
for uid in [str(file.SOPInstanceUID) for file in files] + also:
    item = Dataset()
    item.ReferencedSOPClassUID = MRImageStorage
    item.ReferencedSOPInstanceUID = uid
    request.ReferencedSOPSequence.append(item)
status, _ = association.send_n_action(request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
told["status"] = status.Status
assert heard.wait(20), "no report came"
assert told.pop("transaction") == str(request.TransactionUID)
association.release()
print(json.dumps(told))
