"""Counts the samples in which a PNG and a file of raw RGB samples differ."""

import json
import sys

import numpy
from PIL import Image

image = numpy.asarray(Image.open(sys.argv[1]).convert("RGB"))
raw = numpy.fromfile(sys.argv[2], dtype=numpy.uint8)
differing = int((image.reshape(-1) != raw).sum()) if raw.size == image.size else raw.size
print(json.dumps({"size": [image.shape[1], image.shape[0]], "differing": differing}))
