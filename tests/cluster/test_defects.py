# SPDX-License-Identifier: Apache-2.0
"""What nvidia-mig-manager is known to get wrong, each with the right behaviour of migd."""
import pathlib
import shutil

from cluster_case import HERE, until
from migd_case import MigdCase

BALANCED = [["1g.6gb", "1g.6gb", "2g.12gb"]]
DEPLOY = "nvidia.com/gpu.deploy."


class Defects(MigdCase):
    def setUp(self):
        super().setUp()
        self.config = self.cluster.layout.path("nodes", self.node, "configs.yaml")
        shutil.copy(HERE / "configs.yaml", self.config)
        self.config.chmod(0o644)

    def begin(self, *options):
        self.start("--config-file", str(self.config), *options)
        self.apply("balanced")

    def test_success_is_not_said_when_nothing_was_made(self):
        """The peer clears the GPU, makes nothing, and says success."""
        self.begin()
        self.apply("of-another-gpu", "failed")
        self.assertEqual(self.geometry(), BALANCED)

    def test_what_cannot_fit_destroys_nothing(self):
        """The peer tries all orders, and leaves the GPU empty."""
        self.begin()
        self.wish("impossible")
        self.wait_state("failed", "cannot fit")
        self.assertEqual(self.geometry(), BALANCED)
        self.assertEqual(self.paused(), [])

    def test_a_failure_is_tried_again(self):
        """The peer waits for another label for ever."""
        self.begin()
        self.cluster.migemu(self.node, "fault add", "*Create* -> INSUFFICIENT_RESOURCES")
        self.wish("two-2g")
        self.assertIn("Insufficient Resources", self.wait_state("failed", "'two-2g': "))
        self.cluster.migemu(self.node, "fault clear")
        self.wait_state("success", "'two-2g'", 90)
        self.assertEqual(self.geometry(), [["2g.12gb", "2g.12gb"]])

    def test_an_edited_config_is_a_change(self):
        """The peer looks at names only."""
        self.begin()
        text = pathlib.Path(self.config).read_text(encoding="utf-8")
        new = text.replace('        "1g.6gb": 2\n        "2g.12gb": 1\n', '        "1g.6gb": 4\n', 1)
        self.assertNotEqual(text, new)
        self.config.write_text(new, encoding="utf-8")
        until(lambda: self.geometry() == [["1g.6gb"] * 4], self.log)
        self.wait_state("success")

    def test_there_and_back_while_it_runs(self):
        """The peer loses the last of the three."""
        self.cluster.migemu(self.node, "set", "gi-create-ms=150", "gi-destroy-ms=150")
        self.begin()
        for name in ("two-2g", "balanced", "without-2g", "balanced"):
            self.wish(name)
        self.wait_state("success", "'balanced'")
        until(lambda: self.geometry() == BALANCED and self.state() == "success", self.log)

    def test_pauses_of_others_stay(self):
        """The peer turns every value but false into true, and makes labels that were not there."""
        self.start("--config-file", str(self.config))
        self.apply("all-disabled")
        labels = {f"{DEPLOY}device-plugin": "true", f"{DEPLOY}dcgm": "false",
                  f"{DEPLOY}dcgm-exporter": "paused-for-driver-upgrade"}
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}", {"metadata": {"labels": labels}})
        self.apply("balanced")
        found = {name: value for name, value in self.metadata()["labels"].items()
                 if name.startswith(DEPLOY)}
        self.assertEqual(found, labels)

    def test_clients_come_back_after_a_failure_that_follows_a_success(self):
        """The peer leaves them paused: it brings them back once in its life."""
        self.begin()
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}", {"metadata": {"labels": {
            f"{DEPLOY}device-plugin": "true"}}})
        self.cluster.migemu(self.node, "fault add", "DeviceSetMigMode -> UNKNOWN")
        self.wish("all-disabled")
        self.wait_state("failed", "could not switch MIG mode")
        until(lambda: self.metadata()["labels"][f"{DEPLOY}device-plugin"] == "true", self.log)
        self.assertEqual(self.paused(), [])

    def test_a_label_that_is_taken_away_changes_nothing(self):
        """The peer runs with an empty name, and fails."""
        self.begin()
        self.wish(None)
        self.wish("balanced")
        self.wait_state("success", "'balanced'")
        self.assertEqual(self.geometry(), BALANCED)
