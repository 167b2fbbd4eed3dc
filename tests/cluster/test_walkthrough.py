# SPDX-License-Identifier: Apache-2.0
"""The MIG walk-through of the documents, with the commands as an OpenShift user types them."""
import itertools
import shlex

from cluster_case import until
from migd_case import MESSAGE, STATE, MigdCase

BALANCED = ["1g.6gb", "1g.6gb", "2g.12gb"]


class WalkThrough(MigdCase):
    def shell(self, line, **variables):
        """A line of the document, where oc is a command."""
        words = shlex.split(line.replace("$NODE", variables.get("NODE", "")))
        self.assertEqual(words[0], "oc")
        return self.cluster.output(*words[1:])

    def mig_labels(self):
        """oc describe node | grep nvidia.com/mig, as a dictionary."""
        lines = self.shell("oc describe node $NODE", NODE=self.node).splitlines()
        found = [line.split()[-1] for line in lines if "nvidia.com/mig." in line]
        return dict(word.split("=", 1) for word in found if "=" in word)

    def label(self, name):
        self.shell(f"oc label node $NODE nvidia.com/mig.config={name} --overwrite", NODE=self.node)

    def follow(self, name):
        """Labels the node; returns the states that it went through until it is over."""
        before = self.metadata()["resourceVersion"]
        self.label(name)

        def over():
            metadata = self.metadata()
            return (metadata["labels"].get(STATE) in ("success", "failed") and
                    f"'{name}'" in metadata.get("annotations", {}).get(MESSAGE, ""))
        until(over, self.log)
        states = [node["metadata"]["labels"].get(STATE)
                  for node in self.cluster.api.history("/api/v1/nodes", self.node, before)]
        return [state for state, _ in itertools.groupby(states)]

    def test_one_a30(self):
        self.start()
        self.label("all-disabled")
        self.wait_state("success", "all-disabled")
        labels = self.mig_labels()
        self.assertEqual(labels["nvidia.com/mig.config"], "all-disabled")
        self.assertEqual(labels["nvidia.com/mig.config.state"], "success")
        self.shell("""oc patch clusterpolicy/gpu-cluster-policy --type=json -p """
                   """'[{"op": "replace", "path": "/spec/mig/strategy", "value": mixed}]'""")
        self.assertEqual(self.shell("oc get clusterpolicy/gpu-cluster-policy -o "
                                    "jsonpath={.spec.mig.strategy}"), "mixed")
        self.assertEqual(self.follow("all-balanced")[-1], "success")
        self.assertEqual(self.geometry(), [BALANCED])
        self.assertEqual(self.follow("all-disabled")[-1], "success")
        self.assertEqual(self.geometry(), [[]])
        mode = self.cluster.on(self.node, "nvidia-smi", "--query-gpu=mig.mode.current",
                               "--format=csv,noheader").stdout.strip()
        self.assertEqual(mode, "Disabled")

    def test_state_goes_pending_then_success(self):
        """With the times of a real A30, so that there is something to see."""
        self.cluster.migemu(self.node, "set", "latency=a30")
        self.start()
        self.apply("all-disabled")
        self.assertEqual(self.follow("all-balanced")[-2:], ["pending", "success"])
        self.assertEqual(self.geometry(), [BALANCED])
        self.assertEqual(self.paused(), [])

    def test_two_nodes_do_not_disturb_each_other(self):
        self.start()
        first = self.migd
        self.node = "node2"
        self.addCleanup(self.cleanup)
        self.addCleanup(first.kill)
        self.start()
        self.apply("all-balanced")
        self.assertEqual(self.geometry("node2"), [BALANCED])
        self.assertEqual(self.geometry("node1"), [[]])
        self.node = "node1"
        self.apply("all-balanced")
        self.assertEqual(self.geometry("node1"), [BALANCED])
        first.kill()


class EightGpus(MigdCase):
    node = "node3"

    def test_all_3g_then_all_balanced(self):
        self.start()
        self.apply("all-3g.20gb")
        self.assertEqual(self.geometry(), [["3g.20gb", "3g.20gb"]] * 8)
        self.apply("all-balanced")
        self.assertEqual(self.geometry(), [["1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb"]] * 8)
        self.apply("all-disabled")
        self.assertEqual(self.geometry(), [[]] * 8)
