"""Prints which versions of the Python peers are installed, as JSON."""

import importlib.metadata
import json

NAMES = ["dcm2niix", "dcmqi", "highdicom", "nibabel", "numpy", "pydicom", "pynetdicom"]

print(json.dumps({name: importlib.metadata.version(name) for name in NAMES}))
