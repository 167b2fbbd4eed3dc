# SPDX-License-Identifier: Apache-2.0
"""Fault presets of the emulated driver, met by a change of geometry: the state that migd writes is true, no
client stays paused, and when the fault is gone, the wish is carried out without anybody's help.

All of them take some five minutes, most of it pauses before migd tries again: MIGD_PRESETS=all, or some by
name; otherwise two that MIGD_SEED picks.
"""
import os
import random
import subprocess

from cluster_case import MIGEMU, until
from migd_case import FINAL, LABEL, STATE, MigdCase

WISH = "all-1g.6gb"
GEOMETRY = [["1g.6gb"] * 4]


def presets():
    told = subprocess.run([MIGEMU, "fault", "presets"], capture_output=True, text=True, check=True)
    known = [line.split()[0] for line in told.stdout.splitlines() if line and line[0].islower()]
    wanted = os.environ.get("MIGD_PRESETS", "")
    if not wanted:
        return random.Random(os.environ.get("MIGD_SEED", "1")).sample(known, 2)
    return known if wanted == "all" else wanted.split()


class Presets(MigdCase):
    def change(self, name):
        """Asks for a config with the old answer taken away; returns the new answer."""
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}",
                               {"metadata": {"labels": {LABEL: name, STATE: None}}})
        until(lambda: self.state() in FINAL, lambda: f"{self.state()}: {self.log()}", 90)
        return self.state()

    def first_state(self):
        self.cluster.migemu(self.node, "fault clear")
        self.cluster.migemu(self.node, "restore",
                            self.cluster.layout.path("nodes", self.node, "first"))

    def test_each(self):
        self.start("--repair-drift")
        for name in presets():
            with self.subTest(preset=name):
                self.first_state()
                until(lambda: self.change("all-balanced") == "success", self.log, 60, 1)
                self.cluster.migemu(self.node, "fault add", "--preset", name)
                state = self.change(WISH)
                if state == "success" and name not in ("driver-gone", "driver-mismatch"):
                    self.cluster.migemu(self.node, "fault clear")
                    self.assertEqual(self.geometry(), GEOMETRY)
                if state == "failed":
                    self.assertGreater(len(self.message()), 20)
                self.assertEqual(self.paused(), [])
                self.assertTrue(self.migd.is_running())
                self.first_state()
                until(lambda: self.state() == "success" and self.geometry() == GEOMETRY,
                      lambda name=name: f"after {name}: {self.state()}: {self.message()}\n"
                                        f"{self.log()}", 90, 0.2)
