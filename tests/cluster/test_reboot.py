# SPDX-License-Identifier: Apache-2.0
"""A node that boots: nothing runs any more, instances are gone, its disk is as before."""
import pathlib

from cluster_case import pod, until
from layout import PROXY_URL
from migd_case import MigdCase

SMALL = "nvidia.com/mig-1g.6gb"
BALANCED, OFF = [["1g.6gb", "1g.6gb", "2g.12gb"]], [[]]
TAINT = {"key": "migd.dev/mig-not-ready", "effect": "NoSchedule"}
# what the host's `reboot` comes to in a node: its first process ends, and with it all others
REBOOT = "#!/bin/sh\nkill -TERM 1\n"


class Reboot(MigdCase):
    node = "node2"
    server = PROXY_URL

    def setUp(self):
        super().setUp()
        self.cluster.start_proxy()
        self.addCleanup(self.cluster.start_proxy)
        self.addCleanup(until, self.is_ready, f"{self.node} is not ready")

    def is_ready(self):
        node = self.cluster.api.get(f"/api/v1/nodes/{self.node}")
        return any(one["type"] == "Ready" and one["status"] == "True"
                   for one in node["status"]["conditions"])

    def taint(self, *taints):
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}", {"spec": {"taints": list(taints)}})

    def tainted(self):
        spec = self.cluster.api.get(f"/api/v1/nodes/{self.node}")["spec"]
        return TAINT["key"] in [one["key"] for one in spec.get("taints", [])]

    def boot_id(self):
        return self.cluster.on(self.node, "cat", "/proc/sys/kernel/random/boot_id").stdout

    def serve(self):
        """migd as a service of the host: it is there before the kubelet has the node's pods."""
        self.start("--roles", "manager,device-plugin", "--mig-strategy", "mixed")

    def test_geometry_is_back_before_pods_are(self):
        """The API server is away when the node comes up; pods land on confirmed slices."""
        self.addCleanup(self.taint)
        self.serve()
        self.apply("all-balanced")
        booted = self.boot_id()
        self.cluster.tell("stop faultproxy")
        self.cluster.power_cycle(self.node)
        self.taint(TAINT)
        self.assertNotEqual(self.boot_id(), booted)
        self.assertEqual(self.geometry(), OFF)
        self.cluster.apply(pod("waits", self.node, {SMALL: "1"}, ["sleep", "1000"]))
        self.serve()
        until(lambda: self.geometry() == BALANCED, self.log, 30)
        self.assertTrue(self.tainted())
        self.assertEqual(self.cluster.phase("waits"), "Pending")
        self.cluster.start_proxy()
        until(lambda: not self.tainted(), self.log, 40)
        self.assertEqual(self.said()[0], "success")
        self.cluster.wait_phase("waits", "Running")
        self.assertEqual(self.geometry(), BALANCED)

    def test_mode_that_needs_a_reboot(self):
        """WITH_REBOOT: said, done once, and afterwards the config is in place."""
        program = self.cluster.layout.driver_root(self.cluster.layout.worker(self.node))
        program = pathlib.Path(program) / "usr/bin/reboot"
        program.write_text(REBOOT, encoding="utf-8")
        program.chmod(0o755)
        self.addCleanup(program.unlink)
        self.start(WITH_REBOOT="true")
        self.apply("all-disabled")
        self.cluster.migemu(self.node, "fault add", "--preset", "mode-stuck")
        self.wish("all-balanced")
        until(lambda: not self.cluster.is_up(self.node), self.log)
        state, message = self.said()
        self.assertEqual(state, "rebooting")
        self.assertIn("'all-balanced' needs a reboot of the host", message)
        self.cluster.power_on(self.node)
        self.start(WITH_REBOOT="true")
        self.wait_state("success", "'all-balanced'", 60)
        self.assertEqual(self.geometry(), BALANCED)
        self.assertEqual(self.paused(), [])
        self.assertTrue(self.cluster.is_up(self.node))
