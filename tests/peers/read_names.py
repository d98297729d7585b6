"""Reads patient names with pydicom: the stored bytes, and the decoded component groups.

usage: read_names.py FILE...
Prints a list: of each file `raw` (hexadecimal, without padding) and `groups`, and the same of the StudyDescription.
"""

import json
import sys

import pydicom

answers = []
for path in sys.argv[1:]:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    raw = {
        name: bytes(header.get_item(name).value).rstrip(b" ").hex() for name in ("PatientName", "StudyDescription")
    }
    name = header.PatientName
    answers.append(
        {
            "raw": raw["PatientName"],
            "groups": [group for group in (name.alphabetic, name.ideographic, name.phonetic) if group],
            "description_raw": raw["StudyDescription"],
            "description": str(header.StudyDescription),
        }
    )
print(json.dumps(answers))
