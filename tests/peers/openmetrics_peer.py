"""Reads `/metrics` as monitoring does, with the strict parser of the package `prometheus-client`.

`URL` names the place. It prints each family, with its type and unit and how many samples it has, as JSON.
"""

import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

with urllib.request.urlopen(sys.argv[1], timeout=30) as answer:
    kind = answer.headers["Content-Type"]
    text = answer.read().decode()
families = {
    family.name: {"type": family.type, "unit": family.unit, "samples": len(family.samples)}
    for family in text_string_to_metric_families(text)
}
print(json.dumps({"content_type": kind, "families": families}))
