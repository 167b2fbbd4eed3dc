# SPDX-License-Identifier: Apache-2.0
"""migd from its own image, installed as a user does it: kubectl apply -k, a label, and it goes."""
import unittest

from cluster_case import MIGD_ARCHIVE, ClusterCase, until
from migd_case import DEPLOY, LABEL, NAMESPACE, STATE, deploy

PRESENT = "nvidia.com/gpu.present"


@unittest.skipUnless(MIGD_ARCHIVE.exists(), f"no {MIGD_ARCHIVE}: make image")
class DaemonSet(ClusterCase):
    def setUp(self):
        deploy(self.cluster)
        self.addCleanup(self.cleanup)

    def cleanup(self):
        for node in ("node1", "node2"):
            self.cluster.forget(node)
            self.cluster.on(node, "rm", "-rf", "/var/lib/migd")
        until(lambda: not self.pods(), "migd's pods stay")

    def pods(self):
        return self.cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]

    def ready(self):
        """{node: pod} of those that are ready."""
        return {one["spec"]["nodeName"]: one["metadata"]["name"] for one in self.pods()
                if any(condition["type"] == "Ready" and condition["status"] == "True"
                       for condition in one["status"].get("conditions", []))}

    def log(self):
        return "\n".join(self.cluster.oc("logs", "-n", NAMESPACE, one["metadata"]["name"]).stdout
                         for one in self.pods())

    def install(self):
        for node in ("node1", "node2"):
            self.cluster.output("label", "node", node, f"{PRESENT}=true")
        until(lambda: set(self.ready()) == {"node1", "node2"}, self.log)

    def wait(self, node, config):
        self.cluster.output("label", "node", node, f"{LABEL}={config}", "--overwrite")
        until(lambda: f"'{config}'" in self.annotation(node) and
              self.cluster.labels(node).get(STATE) == "success", self.log)

    def annotation(self, node):
        node = self.cluster.api.get(f"/api/v1/nodes/{node}")
        return node["metadata"].get("annotations", {}).get("migd.dev/mig-config-message", "")

    def devices(self, node):
        listed = self.succeeds(self.cluster.on(node, "nvidia-smi", "-L")).splitlines()
        return sorted(line.split()[1] for line in listed if "MIG" in line)

    def test_walk_through(self):
        self.install()
        until(lambda: self.cluster.labels("node1").get(STATE) == "success", self.log)
        labels = self.cluster.labels("node1")
        self.assertEqual(labels["nvidia.com/mig.capable"], "true")
        self.assertEqual(labels["nvidia.com/mig.strategy"], "single")
        self.wait("node1", "all-balanced")
        self.assertEqual(self.devices("node1"), ["1g.6gb", "1g.6gb", "2g.12gb"])
        self.assertEqual(self.devices("node2"), [])
        self.wait("node1", "all-disabled")
        self.assertEqual(self.devices("node1"), [])

    def test_a_killed_pod_comes_back(self):
        self.install()
        self.wait("node1", "all-balanced")
        self.cluster.output("delete", "pod", "-n", NAMESPACE, self.ready()["node1"], "--now")
        until(lambda: set(self.ready()) == {"node1", "node2"}, self.log)
        self.assertEqual(self.devices("node1"), ["1g.6gb", "1g.6gb", "2g.12gb"])
        self.wait("node1", "all-disabled")

    def test_it_is_taken_away_by_the_same_files(self):
        done = self.cluster.oc("delete", "-k", str(DEPLOY), "--dry-run=server")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("migd", done.stdout)
