# SPDX-License-Identifier: Apache-2.0
"""The Grafana dashboard asks only for metrics and labels that migd has."""
import json
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

SOURCE = pathlib.Path(os.environ.get("MIG_SOURCE", "."))
NAME = re.compile(r"\b(?:DCGM_FI|migd|process)_[A-Za-z0-9_]+")


def metrics():
    """{name: kind} of what the exporter can write, from its tables."""
    text = "".join((SOURCE / "src/exporter" / name).read_text(encoding="utf-8")
                   for name in ["meters.c", "metrics.c", "own.c"])
    found = {name: "" for name in re.findall(r'"((?:DCGM_FI|migd|process)_[A-Za-z0-9_]+)"', text)}
    for name in re.findall(r'\.name = "(\w+)",\s*\.help = "[^"]*",(?:\s*\.labels = [^\n]*,)?\s*SECONDS',
                           text):
        found.update({name + suffix: "histogram" for suffix in ["_bucket", "_sum", "_count"]})
    return found


class Dashboard(unittest.TestCase):
    def setUp(self):
        with open(SOURCE / "deploy/grafana/migd.json", encoding="utf-8") as file:
            self.board = json.load(file)
        self.queries = [target["expr"] for panel in self.board["panels"]
                        for target in panel.get("targets", [])]
        self.queries += [one["query"] for one in self.board["templating"]["list"]]

    def test_m7_metrics_exist(self):
        known = metrics()
        self.assertGreater(len(known), 50)
        used = {name for query in self.queries for name in NAME.findall(query)}
        self.assertGreater(len(used), 25)
        self.assertEqual(sorted(used - set(known)), [])
        # a histogram has no series of its own name
        plain = {name[:-len("_bucket")] for name, kind in known.items()
                 if kind and name.endswith("_bucket")}
        self.assertEqual(used & plain, set())

    def test_panels(self):
        panels = self.board["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        for panel in panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            if panel["type"] != "row":
                self.assertTrue(panel["targets"], panel["title"])
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(taken & cells, panel["title"])
            taken |= cells


if __name__ == "__main__":
    tap.main()
