"""Validates a FHIR bundle by fhir.resources and says what is in it.

usage: read_fhir.py BUNDLE
The models are those of R4B, the nearest to R4 that fhir.resources 8 has; the resources that are used here are the same.
"""

import collections
import datetime
import json
import sys

from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.bundle import Bundle


def plain(resource):
    """The resource with its instant as a time, since the model writes it in another of R4's forms."""
    issued = resource.get("issued")
    return resource | ({"issued": datetime.datetime.fromisoformat(issued)} if issued else {})


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    Bundle.model_validate_json(text)
    resources = [entry["resource"] for entry in json.loads(text)["entry"]]
    for resource in resources:
        # A bundle's model takes any resource; each is asked for by its own type too.
        model = get_fhir_model_class(resource["resourceType"]).model_validate(resource)
        assert plain(json.loads(model.model_dump_json())) == plain(resource), resource["resourceType"]
    counts = collections.Counter(f"{r['resourceType']} {r['status']}" for r in resources)
    print(json.dumps({"resources": counts}))


main()
