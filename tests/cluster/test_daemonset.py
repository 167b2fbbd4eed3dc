# SPDX-License-Identifier: Apache-2.0
"""migd from its own image, installed as a user does it: kubectl apply -k, a label, and it goes."""
from cluster_case import until
from migd_case import DEPLOY, NAMESPACE, STATE, DaemonSetCase, deploy


class DaemonSet(DaemonSetCase):
    def setUp(self):
        deploy(self.cluster)
        self.addCleanup(self.uninstall)

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

    def test_a_taint_takes_it_off_a_node_for_a_reset_by_hand(self):
        self.install()
        self.wait("node1", "all-balanced")
        taint = ("taint", "node", "node1", "migd.dev/maintenance=reset:NoExecute")
        self.cluster.output(*taint)
        self.addCleanup(self.cluster.oc, *taint[:-1], taint[-1] + "-")
        until(lambda: {one["spec"]["nodeName"] for one in self.pods()} == {"node2"}, self.log)
        self.succeeds(self.cluster.on("node1", "nvidia-smi", "--gpu-reset", "-i", "0"))
        self.assertEqual(self.devices("node1"), [])
        self.cluster.output(*taint[:-1], taint[-1] + "-")
        until(lambda: self.devices("node1") == ["1g.6gb", "1g.6gb", "2g.12gb"], self.log)
        until(lambda: set(self.ready()) == {"node1", "node2"}, self.log)
        self.wait("node1", "all-disabled")

    def test_it_is_taken_away_by_the_same_files(self):
        done = self.cluster.oc("delete", "-k", str(DEPLOY), "--dry-run=server")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("migd", done.stdout)
