"""An archive that is asked for storage commitment, and reports as it is told to.

Usage: commitment_scp.py PORT BEHAVIOUR LOG

BEHAVIOUR: same (reports over the association of the request), failures (the first two requests of each object are
answered by failures, later ones by success), silent (never reports), unknown (reports a transaction that nobody began),
twice (reports twice), refuses (answers the request with a failure). LOG gets one JSON line for what was stored, asked
and answered.
"""

import json
import sys
import threading
import time

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

port, behaviour, log = int(sys.argv[1]), sys.argv[2], sys.argv[3]
asked = {}
lock = threading.Lock()


def write(**row):
    with lock, open(log, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")


def store(event):
    write(stored=str(event.request.AffectedSOPInstanceUID))
    return 0x0000


def report(association, transaction, items, failed):
    data = Dataset()
    data.TransactionUID = transaction
    rows = []
    for item in items:
        row = Dataset()
        row.ReferencedSOPClassUID = item.ReferencedSOPClassUID
        row.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
        if failed:
            row.FailureReason = 0x0112
        rows.append(row)
    if failed:
        data.FailedSOPSequence = rows
    else:
        data.ReferencedSOPSequence = rows
    status, _ = association.send_n_event_report(
        data,
        2 if failed else 1,
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )
    write(transaction=transaction, failed=failed, answered=int(status.Status) if "Status" in status else None)


def later(association, transaction, items, number):
    time.sleep(0.2)
    if behaviour == "same":
        report(association, transaction, items, False)
    elif behaviour == "failures":
        report(association, transaction, items, number <= 2)
    elif behaviour == "unknown":
        report(association, "2.25.4711", items, False)
    elif behaviour == "twice":
        report(association, transaction, items, False)
        report(association, transaction, items, False)


def action(event):
    request = event.action_information
    transaction = str(request.TransactionUID)
    items = list(request.ReferencedSOPSequence)
    uid = str(items[0].ReferencedSOPInstanceUID)
    with lock:
        asked[uid] = asked.get(uid, 0) + 1
    write(asked=uid, transaction=transaction)
    if behaviour == "refuses":
        return 0x0213, None
    if behaviour != "silent":
        threading.Thread(target=later, args=(event.assoc, transaction, items, asked[uid]), daemon=True).start()
    return 0x0000, None


archive = AE(ae_title="ARCHIVE")
archive.add_supported_context(Verification)
for context in AllStoragePresentationContexts:
    archive.add_supported_context(context.abstract_syntax, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
archive.add_supported_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
archive.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, action)])
