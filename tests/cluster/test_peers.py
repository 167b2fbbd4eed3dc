# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's own device plugin and MIG manager on the test cluster: that it is a Kubernetes with GPUs to them."""
import shutil
import unittest

import peers
from cluster_case import ClusterCase, NodeProcess, pod, until

SLICES = ("nvidia-smi -mig 1 && nvidia-smi mig -cgi 14,14,5 -C")
PLUGIN = "nvidia.com/gpu.deploy.device-plugin"


@unittest.skipUnless(peers.has("device-plugin"), "no device plugin: tests/clients/fetch-peers")
class DevicePlugin(ClusterCase):
    def setUp(self):
        self.addCleanup(self.cluster.forget, "node1")
        until(lambda: self.allocatable("nvidia.com/mig-1g.6gb") == "0", "an old one is there")
        self.succeeds(self.cluster.on("node1", "sh", "-c", SLICES))
        self.cluster.output("label", "node", "node1", f"{PLUGIN}=true")
        self.cluster.apply(peers.namespace(), peers.device_plugin())

    def allocatable(self, resource):
        status = self.cluster.get("node", "node1")["status"]
        return status["allocatable"].get(resource, "0")

    def test_pods_get_slices_of_their_own(self):
        until(lambda: self.allocatable("nvidia.com/mig-1g.6gb") == "2", "no slices came")
        want = {"nvidia.com/mig-1g.6gb": "1"}
        script = ["sh", "-c", "nvidia-smi -L; exec sleep 3600"]
        for name in ("a", "b", "c"):
            self.cluster.apply(pod(name, "node1", want, script))
        phases = until(lambda: self.phases() if self.phases().count("Running") == 2 else None,
                       lambda: self.phases())
        self.assertEqual(sorted(phases), ["Pending", "Running", "Running"])
        names = [name for name in ("a", "b", "c") if self.cluster.phase(name) == "Running"]
        seen = [until(lambda name=name: self.cluster.output("logs", name), "no log").splitlines()
                for name in names]
        self.assertEqual([len(one) for one in seen], [2, 2])
        self.assertNotEqual(seen[0][1], seen[1][1])
        self.cluster.output("delete", "pod", names[0], "--now")
        waiting = ({"a", "b", "c"} - set(names)).pop()
        self.cluster.wait_phase(waiting, "Running")

    def phases(self):
        return [self.cluster.phase(name) for name in ("a", "b", "c")]


@unittest.skipUnless(peers.has("mig-manager") and peers.has("mig-parted"),
                     "no MIG manager: tests/clients/fetch-peers")
@unittest.skipUnless(shutil.which("dbus-daemon"), "dbus-daemon is not installed")
class MigManager(ClusterCase):
    def setUp(self):
        self.addCleanup(self.cluster.forget, "node1")

    def test_label_to_success(self):
        self.cluster.output("label", "node", "node1", "nvidia.com/mig.config=all-balanced")
        argv, environment = peers.manager_command(
            self.cluster, "node1", self.cluster.layout.path("pki", "admin.kubeconfig"))
        manager = NodeProcess(self.cluster, "node1", argv, environment)
        self.addCleanup(manager.kill)
        until(lambda: self.cluster.labels("node1").get("nvidia.com/mig.config.state") == "success",
              manager.output)
        listed = self.cluster.on("node1", "nvidia-smi", "-L").stdout.splitlines()
        self.assertEqual(sorted(line.split()[1] for line in listed[1:]),
                         ["1g.6gb", "1g.6gb", "2g.12gb"])
