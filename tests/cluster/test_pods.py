# SPDX-License-Identifier: Apache-2.0
"""Pods on slices: who is not touched, who is named, waited for, evicted, protected.

The pods get their slices from NVIDIA's device plugin and the real kubelet; they never open them, so that
only the kubelet knows who holds what.
"""
import unittest

import peers
from cluster_case import HERE, pod, until
from migd_case import MigdCase

PLUGIN = "nvidia.com/gpu.deploy.device-plugin"
CONFIGS = str(HERE / "configs.yaml")


@unittest.skipUnless(peers.has("device-plugin"), "no device plugin: tests/clients/fetch-peers")
class Pods(MigdCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.oc, "delete", "pdb", "--all", "-n", "default")

    def prepare(self, *options):
        """migd with 2g + 1g + 1g in place, a pod on the 2g and one on a 1g; the other 1g is idle."""
        until(lambda: self.allocatable("mig-2g.12gb") == "0", "an old device plugin is still there")
        self.cluster.apply(peers.namespace(), peers.device_plugin())
        self.start("--config-file", CONFIGS, *options)
        self.apply("balanced")
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}",
                               {"metadata": {"labels": {PLUGIN: "true"}}})
        until(lambda: self.allocatable("mig-2g.12gb") == "1", "the device plugin has no slices")
        script = ["sh", "-c", "nvidia-smi -L; trap exit TERM; while :; do sleep 1; done"]
        self.cluster.apply(pod("large", self.node, {"nvidia.com/mig-2g.12gb": "1"}, script,
                               labels={"app": "large"}),
                           pod("small", self.node, {"nvidia.com/mig-1g.6gb": "1"}, script,
                               labels={"app": "small"}))
        self.held = {}
        for name in ("large", "small"):
            self.cluster.wait_phase(name, "Running")
            text = until(lambda name=name: self.cluster.output("logs", name), "no log")
            self.held[name] = text.split("UUID: ")[-1].split(")")[0]
        self.assertLessEqual(set(self.held.values()), set(self.devices()))

    def allocatable(self, resource):
        status = self.cluster.api.get(f"/api/v1/nodes/{self.node}")["status"]
        return status["allocatable"].get(f"nvidia.com/{resource}", "0")

    def assert_undisturbed(self, *names):
        """Runs since it was made, on the slice that it was given."""
        devices = self.devices()
        for name in names:
            one = self.cluster.api.get(f"/api/v1/namespaces/default/pods/{name}")
            self.assertEqual(one["status"]["phase"], "Running")
            self.assertNotIn("deletionTimestamp", one["metadata"])
            self.assertEqual(one["status"]["containerStatuses"][0]["restartCount"], 0)
            self.assertIn(self.held[name], devices)

    def budget(self, app):
        self.cluster.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                            "metadata": {"name": "stay", "namespace": "default"},
                            "spec": {"minAvailable": 1,
                                     "selector": {"matchLabels": {"app": app}}}})
        path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/stay"
        until(lambda: "status" in self.cluster.api.get(path) and
              self.cluster.api.get(path)["status"].get("currentHealthy") == 1, "no budget")

    def test_a_change_that_keeps_their_slices_does_not_touch_them(self):
        self.prepare()
        self.apply("without-one-1g")
        self.assertEqual(self.geometry(), [["1g.6gb", "2g.12gb"]])
        self.assert_undisturbed("large", "small")
        self.assertEqual(self.paused(), [])

    def test_keep_fails_with_the_names(self):
        self.prepare("--on-busy", "keep")
        message = self.apply("two-2g", "failed")
        self.assertIn("default/small", message)
        self.assertNotIn("default/large", message)
        self.assert_undisturbed("large", "small")
        self.assertEqual(self.geometry(), [["1g.6gb", "1g.6gb", "2g.12gb"]])
        self.assertEqual(self.paused(), [])

    def test_wait_goes_on_when_they_have_ended(self):
        self.prepare("--on-busy", "wait")
        self.wish("two-2g")
        self.wait_state("pending", "small")
        self.assert_undisturbed("large", "small")
        self.cluster.output("delete", "pod", "small", "--now")
        self.wait_state("success", "two-2g")
        self.assertEqual(self.geometry(), [["2g.12gb", "2g.12gb"]])
        self.assert_undisturbed("large")

    def test_wait_ends_with_its_time(self):
        self.prepare("--on-busy", "wait", "--on-busy-timeout", "3s")
        self.assertIn("default/small", self.apply("two-2g", "failed"))
        self.assert_undisturbed("large", "small")

    def test_evict_takes_only_who_is_in_the_way(self):
        self.prepare("--on-busy", "evict")
        self.apply("two-2g", limit_s=60)
        self.assertEqual(self.geometry(), [["2g.12gb", "2g.12gb"]])
        self.assertEqual(self.cluster.phase("small"), "absent")
        self.assert_undisturbed("large")

    def test_a_disruption_budget_is_respected_and_named(self):
        self.prepare("--on-busy", "evict", "--on-busy-timeout", "60s")
        self.budget("small")
        self.wish("two-2g")
        message = until(lambda: self.message() if "stay" in self.message() else None,
                        lambda: self.message() + self.log())
        self.assertIn("small", message)
        self.assert_undisturbed("large", "small")
        self.cluster.output("delete", "pdb", "stay")
        self.wait_state("success", "two-2g", 60)
        self.assertEqual(self.cluster.phase("small"), "absent")
        self.assert_undisturbed("large")
