# SPDX-License-Identifier: Apache-2.0
"""From a label to slices in pods: migd from its image with all of its roles, real kubelets."""
import json
import re
import time

from cluster_case import pod, until
from layout import HERE
from migd_case import NAMESPACE, DaemonSetCase

SMALL, LARGE, GPU = "nvidia.com/mig-1g.6gb", "nvidia.com/mig-2g.12gb", "nvidia.com/gpu"
POLICY = "clusterpolicy/gpu-cluster-policy"
LIST = ["sh", "-c", "nvidia-smi -L; trap exit TERM; while :; do sleep 1; done"]
MAP = "slices"
MAP_TEXT = """\
version: v1
mig-configs:
  all-disabled:
    - {devices: all, mig-enabled: false}
  two-small:
    - {devices: all, mig-enabled: true, mig-devices: {"1g.6gb": 2, "2g.12gb": 1}}
  one-small:
    - {devices: all, mig-enabled: true, mig-devices: {"1g.6gb": 1, "2g.12gb": 1}}
  one-half:
    - {devices: [0], mig-enabled: true, mig-devices: {"3g.20gb": 1}}
    - {devices: [1, 2, 3, 4, 5, 6, 7], mig-enabled: true, mig-devices: {"1g.5gb": 7}}
  beside-it:
    - {devices: [0], mig-enabled: true, mig-devices: {"3g.20gb": 1, "1g.5gb": 2}}
    - {devices: [1, 2, 3, 4, 5, 6, 7], mig-enabled: true, mig-devices: {"2g.10gb": 3}}
"""


class Slices(DaemonSetCase):
    nodes = ("node1", "node2", "node3")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(cls.uninstall)
        cls.install()
        cls.addClassCleanup(cls.cluster.oc, "delete", "configmap", MAP, "-n", NAMESPACE)
        cls.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap",
                           "metadata": {"name": MAP, "namespace": NAMESPACE},
                           "data": {"config.yaml": MAP_TEXT}})

    def setUp(self):
        self.used = set()
        self.addCleanup(self.cleanup)

    def cleanup(self):
        self.cluster.output("delete", "pods", "--all", "--now", "--wait=true")
        for node in self.used:
            self.label(node, "all-disabled")
        self.policy("single")

    # ---- what the user does ----

    def policy(self, strategy, config_map=""):
        self.cluster.output("patch", POLICY, "--type=merge", "-p", json.dumps(
            {"spec": {"mig": {"strategy": strategy},
                      "migManager": {"config": {"name": config_map}}}}))

    def label(self, node, config):
        self.used.add(node)
        self.wait(node, config)

    def run_pods(self, *names, node=None, resources=None):
        for name in names:
            self.cluster.apply(pod(name, node, resources or {SMALL: "1"}, LIST))
        for name in names:
            self.cluster.wait_phase(name, "Running")

    # ---- what the user sees ----

    def allocatable(self, node):
        """What `oc get node` shows of NVIDIA's resources."""
        shown = json.loads(self.cluster.output("get", "node", node, "-o",
                                               "jsonpath-as-json={.status.allocatable}"))[0]
        return {name: int(count) for name, count in shown.items() if name.startswith("nvidia.com/")}

    def described(self, node):
        """What `oc describe node` shows below Allocatable of NVIDIA's resources."""
        text = self.cluster.output("describe", "node", node)
        part = re.search(r"^Allocatable:\n((?: .*\n)+)", text, re.M).group(1)
        return {name: int(count) for name, count in re.findall(r"(nvidia\.com/\S+): +(\d+)", part)}

    def readme_is_true(self):
        """The README's console blocks of a cluster show what their commands print now."""
        text = (HERE.parents[1] / "README.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```console cluster\n(.*?)^```$", text, re.M | re.S)
        self.assertTrue(blocks)
        for block in blocks:
            command, *lines = block.splitlines()
            printed = self.cluster.output(*command.removeprefix("$ oc ").split())
            printed = [line.split() for line in printed.splitlines()]
            for line in lines:
                if line != "...":
                    self.assertIn(line.split(), printed, command)

    def wait_allocatable(self, node, wanted, see=None):
        """Waits until all named resources have these counts, and every other one is 0."""
        see = see or self.allocatable

        def check():
            shown = see(node)
            return all(shown.get(name, 0) == wanted.get(name, 0) for name in {*shown, *wanted})
        until(check, lambda: f"{wanted}, but {see(node)}\n{self.log()[-6000:]}", 30)
        print(f"# {node}: {see(node)}", flush=True)

    def slices_of(self, name):
        """(node, UUID) of the MIG devices in the log of a pod that lists them."""
        text = until(lambda: self.cluster.output("logs", name), f"{name} has no log")
        node = self.cluster.api.get(f"/api/v1/namespaces/default/pods/{name}")["spec"]["nodeName"]
        return [(node, uuid) for uuid in re.findall(r"MIG-[0-9a-f-]{36}", text)]

    def lifetime(self, name):
        """What changes when a pod is made again, or its container is started again."""
        one = self.cluster.api.get(f"/api/v1/namespaces/default/pods/{name}")
        container = one["status"]["containerStatuses"][0]
        return (one["metadata"]["uid"], one["status"]["phase"], container["restartCount"],
                container["containerID"], "deletionTimestamp" in one["metadata"])

    def inside(self, name):
        """The MIG devices that a running pod sees now."""
        return re.findall(r"MIG-[0-9a-f-]{36}",
                          self.cluster.output("exec", name, "--", "nvidia-smi", "-L"))

    # ---- the scenarios ----

    def test_eight_a100_single_then_mixed(self):
        self.policy("single")
        self.label("node3", "all-3g.20gb")
        self.wait_allocatable("node3", {GPU: 16})
        # the strategy changes under the same slices, then the slices under the strategy
        self.policy("mixed")
        self.wait_allocatable("node3", {"nvidia.com/mig-3g.20gb": 16})
        self.label("node3", "all-balanced")
        self.wait_allocatable("node3", {"nvidia.com/mig-1g.5gb": 16, "nvidia.com/mig-2g.10gb": 8,
                                        "nvidia.com/mig-3g.20gb": 8})

    def test_a30_is_described_and_taken_away(self):
        self.policy("mixed")
        for node in ("node1", "node2"):
            self.label(node, "all-balanced")
            self.wait_allocatable(node, {SMALL: 2, LARGE: 1}, self.described)
            self.assertEqual(self.described(node).get(GPU, 0), 0)
        self.readme_is_true()
        until(lambda: self.cluster.labels("node1").get("nvidia.com/mig-1g.6gb.count") == "2",
              lambda: self.cluster.labels("node1"), 10)
        labels = self.cluster.labels("node1")
        self.assertEqual(labels["nvidia.com/mig.capable"], "true")
        self.assertEqual(labels["nvidia.com/mig.strategy"], "mixed")
        self.label("node1", "all-disabled")
        self.wait_allocatable("node1", {GPU: 1}, self.described)

    def test_a_pod_sees_what_it_asks_for(self):
        self.policy("mixed")
        self.label("node1", "all-balanced")
        self.wait_allocatable("node1", {SMALL: 2, LARGE: 1})
        both = ["sh", "-c", "nvidia-smi && nvidia-smi -L"]
        self.cluster.apply(pod("one", "node1", {SMALL: "1"}, both))
        self.cluster.wait_phase("one", "Succeeded")
        log = self.cluster.output("logs", "one")
        self.assertEqual(len(re.findall(r"MIG 1g\.6gb +Device", log)), 1, log)
        self.assertEqual(len(re.findall("MIG-[0-9a-f-]{36}", log)), 1, log)
        table = log[log.index("MIG devices:"):log.index("Processes:")]
        self.assertEqual(len(re.findall(r"^\| +0 +\d+ +\d+ +\d+ +\|", table, re.M)), 1, log)

    def test_a_pod_sees_all_that_the_node_has(self):
        # of two resources' variables the kubelet keeps one in a container; CDI names add up
        self.policy("mixed")
        self.label("node1", "all-balanced")
        self.wait_allocatable("node1", {SMALL: 2, LARGE: 1})
        self.run_pods("all", node="node1", resources={SMALL: "2", LARGE: "1"})
        self.assertEqual(len(set(self.slices_of("all"))), 3)
        self.assertEqual(len(set(self.inside("all"))), 3)

    def test_three_and_one_pods_then_a_fourth(self):
        self.policy("mixed", MAP)
        self.label("node1", "two-small")
        self.label("node2", "one-small")
        self.wait_allocatable("node1", {SMALL: 2, LARGE: 1})
        self.wait_allocatable("node2", {SMALL: 1, LARGE: 1})
        self.run_pods("a", "b", "c")
        self.run_pods("large", resources={LARGE: "1"})
        seen = [self.slices_of(name) for name in ("a", "b", "c", "large")]
        self.assertEqual([len(one) for one in seen], [1, 1, 1, 1])
        self.assertEqual(len({one[0] for one in seen}), 4)
        self.cluster.apply(pod("d", None, {SMALL: "1"}, LIST))
        until(lambda: "Insufficient nvidia.com/mig-1g.6gb" in
              self.cluster.output("describe", "pod", "d"), "the scheduler says nothing")
        time.sleep(1)
        self.assertEqual(self.cluster.phase("d"), "Pending")
        self.cluster.output("delete", "pod", "b", "--now", "--wait=false")
        start = time.monotonic()
        self.cluster.wait_phase("d", "Running", 20)
        print(f"# runs {time.monotonic() - start:.1f} s after another was told to end",
              flush=True)
        self.assertEqual(self.slices_of("d"), seen[1])

    def test_the_idle_part_changes_beside_running_pods(self):
        self.policy("mixed", MAP)
        self.label("node3", "one-half")
        self.wait_allocatable("node3", {"nvidia.com/mig-3g.20gb": 1, "nvidia.com/mig-1g.5gb": 49})
        self.run_pods("busy", node="node3", resources={"nvidia.com/mig-3g.20gb": "1"})
        held, before = self.slices_of("busy"), self.lifetime("busy")
        self.label("node3", "beside-it")
        self.wait_allocatable("node3", {"nvidia.com/mig-3g.20gb": 1, "nvidia.com/mig-1g.5gb": 2,
                                        "nvidia.com/mig-2g.10gb": 21})
        self.assertEqual(self.lifetime("busy"), before)
        self.assertEqual(self.inside("busy"), [uuid for _, uuid in held])
        # a slice beside it, on the same GPU, goes to the next pod
        self.run_pods("next", node="node3", resources={"nvidia.com/mig-1g.5gb": "1"})
        self.assertNotIn(held[0], self.slices_of("next"))
