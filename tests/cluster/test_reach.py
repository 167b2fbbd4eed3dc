# SPDX-License-Identifier: Apache-2.0
"""What slices are to others than the scheduler: metrics with pods, node labels.

Names of tests carry the rows of docs/compatibility.md."""
import re
import threading
import time

from cluster_case import HERE, IMAGE, pod, until
from migd_case import NAMESPACE, MigdCase

CONFIGS = str(HERE / "configs.yaml")
SMALL, LARGE = "nvidia.com/mig-1g.6gb", "nvidia.com/mig-2g.12gb"
LIST = ["sh", "-c", "echo \"told: $NVIDIA_VISIBLE_DEVICES\"; nvidia-smi -L; exec sleep 3600"]
UUID = re.compile("MIG-[0-9a-f-]{36}")
SERIES = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.M)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class ReachCase(MigdCase):
    def begin(self, *options, plugin_config="", **environment):
        if plugin_config:
            path = self.cluster.layout.path("nodes", self.node, "plugin.yaml")
            path.write_text(plugin_config, encoding="utf-8")
            path.chmod(0o644)
            options += ("--plugin-config-file", str(path))
        self.start("--config-file", CONFIGS, "--roles", "manager,device-plugin,labels,metrics",
                   "--mig-strategy", "mixed", "--poll-interval", "200ms", "--listen",
                   "127.0.0.1:9400", "--driver-root-ctr-path", "/run/nvidia/driver", *options,
                   **environment)
        until(self.scrape, self.log)

    def scrape(self):
        done = self.cluster.on(self.node, "wget", "-qO-", "http://127.0.0.1:9400/metrics")
        return done.stdout if done.returncode == 0 else ""

    def series(self, name):
        """[labels] of the series of a name."""
        return [dict(LABEL.findall(labels)) for one, labels, _ in SERIES.findall(self.scrape())
                if one == name]

    def wait_slices(self, **wanted):
        """Waits for allocatable resources, `mig_1g__6gb=2`."""
        named = {"nvidia.com/" + name.replace("__", ".").replace("_", "-"): str(count)
                 for name, count in wanted.items()}

        def allocatable():
            status = self.cluster.api.get(f"/api/v1/nodes/{self.node}")["status"]
            return {name: count for name, count in status["allocatable"].items()
                    if name.startswith("nvidia.com/") and count != "0"}
        until(lambda: allocatable() == named, lambda: f"{named}, not {allocatable()}: {self.log()}")

    def run_pod(self, name, **resources):
        """Runs a pod on resources, `mig_1g__6gb=1`; returns its log once it has listed."""
        named = {"nvidia.com/" + one.replace("__", ".").replace("_", "-"): str(count)
                 for one, count in resources.items()}
        self.cluster.apply(pod(name, self.node, named, LIST))
        self.cluster.wait_phase(name, "Running")
        return until(lambda: text if "GPU 0" in (text := self.cluster.output("logs", name)) else "",
                     f"{name} lists nothing")

    def smi(self, *words):
        self.succeeds(self.cluster.on(self.node, "nvidia-smi", "mig", *words))


class Metrics(ReachCase):
    CONFIG = """
        version: v1
        resources:
          mig: [{pattern: "1g.6gb", name: mig-1g.6gb}, {pattern: "*", name: large}]
        sharing:
          timeSlicing:
            resources: [{name: mig-1g.6gb, replicas: 2, rename: small.shared}]
    """

    def test_M4_M5_M6_pods_of_slices_that_are_shared_and_renamed(self):
        self.begin(plugin_config=self.CONFIG)
        self.apply("balanced")
        self.wait_slices(small__shared=4, large=1)
        seen = {name: UUID.findall(self.run_pod(name, small__shared=1))
                for name in ("a", "b", "c", "d")}
        seen["large"] = UUID.findall(self.run_pod("large", large=1))
        self.assertEqual([len(one) for one in seen.values()], [1] * 5)
        self.assertEqual(len({one[0] for one in seen.values()}), 3)  # two pods on each 1g
        wanted = {(uuids[0], name, "default", "main") for name, uuids in seen.items()}

        def found():
            return {(one["MIG_UUID"], one.get("pod"), one.get("namespace"), one.get("container"))
                    for one in self.series("DCGM_FI_DEV_FB_USED") if "MIG_UUID" in one}
        until(lambda: found() == wanted, lambda: f"{found()}, not {wanted}", 30)
        # who is gone has no series, and the other one on his slice keeps its own
        self.cluster.output("delete", "pod", "a", "--now")
        wanted = {one for one in wanted if one[1] != "a"}
        until(lambda: found() == wanted, lambda: f"{found()}, not {wanted}", 30)

    def test_M4_of_two_containers_in_a_pod_each_has_its_own(self):
        self.begin()
        self.apply("balanced")
        self.wait_slices(mig_1g__6gb=2, mig_2g__12gb=1)
        one = pod("pair", self.node, {SMALL: "1"})
        one["spec"]["containers"].append({"name": "other", "image": IMAGE, "imagePullPolicy":
                                          "Never", "resources": {"limits": {LARGE: "1"}}})
        self.cluster.apply(one)
        self.cluster.wait_phase("pair", "Running")

        def found():
            return {(one["container"], one["GPU_I_PROFILE"], one["pod"], one["namespace"])
                    for one in self.series("DCGM_FI_DEV_FB_USED") if "container" in one}
        wanted = {("main", "1g.6gb", "pair", "default"), ("other", "2g.12gb", "pair", "default")}
        until(lambda: found() == wanted, lambda: f"{found()}, not {wanted}", 30)
        # an idle slice is there, without a pod
        self.assertEqual(len([one for one in self.series("DCGM_FI_DEV_FB_USED")
                              if "pod" not in one]), 1)


CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "nodefeatures.nfd.k8s-sigs.io", "annotations": {
        # a group of kubernetes wants this
        "api-approved.kubernetes.io": "https://github.com/kubernetes/enhancements/pull/1"}},
    "spec": {"group": "nfd.k8s-sigs.io", "scope": "Namespaced",
             "names": {"kind": "NodeFeature", "listKind": "NodeFeatureList",
                       "plural": "nodefeatures", "singular": "nodefeature"},
             "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": {
                 "openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                     "spec": {"type": "object", "properties": {
                         "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                         "features": {"type": "object",
                                      "x-kubernetes-preserve-unknown-fields": True}}}}}}}]}}


class LabelCase(ReachCase):
    PRODUCT, COUNT = "nvidia.com/gpu.product", "nvidia.com/mig-1g.6gb.count"

    def node_labels(self):
        return self.cluster.labels(self.node)

    def see_changes(self, labels):
        """Slices that somebody else makes and destroys are in the labels soon; how soon is said."""
        took = []
        for profile, count in (("14", "1"), ("14", "2"), (None, None)):
            if profile:
                self.smi("-cgi", profile, "-C")
            else:
                self.smi("-dci")
                self.smi("-dgi")
            begin = time.monotonic()
            until(lambda count=count: labels().get(self.COUNT) == count,
                  lambda: f"{labels()}\n{self.log()}", 20, 0.01)
            took.append(time.monotonic() - begin)
        print(f"# labels follow changes within {max(took):.2f} s", flush=True)

    def see_a_change_of_geometry(self, labels):
        """While migd changes the geometry, labels are the old ones or the new ones, never fewer."""
        self.apply("balanced")
        until(lambda: labels().get(self.COUNT) == "2", labels)
        seen, over = [], threading.Event()

        def look():
            while not over.is_set():
                now = labels()
                seen.append((now.get(self.PRODUCT), now.get(self.COUNT),
                             now.get("nvidia.com/mig-2g.12gb.count")))
        looking = threading.Thread(target=look)
        looking.start()
        try:
            self.apply("two-2g")
            until(lambda: seen and seen[-1][2] == "2", lambda: seen[-1:])
        finally:
            over.set()
            looking.join()
        product = seen[0][0]
        self.assertIn("A30", product)
        self.assertEqual(set(seen), {(product, "2", "1"), (product, None, "2")})


class Labels(LabelCase):
    def test_G9_G10_on_the_node(self):
        self.begin("--labels-to", "node")
        self.apply("empty")
        until(lambda: self.node_labels().get("nvidia.com/mig.strategy") == "mixed", self.log)
        self.see_changes(self.node_labels)
        # labels of others stay, and ours stay when migd ends
        self.cluster.output("label", "node", self.node, "nvidia.com/of.others=1")
        self.smi("-cgi", "14", "-C")
        until(lambda: self.node_labels().get(self.COUNT) == "1", self.log)
        self.stop()
        self.assertEqual(self.node_labels()["nvidia.com/of.others"], "1")
        self.assertEqual(self.node_labels()[self.COUNT], "1")

    def test_G11_on_the_node_while_it_changes(self):
        self.begin("--labels-to", "node")
        own = self.cluster.api
        # the thread has a connection of its own
        reader = type(own)(self.cluster.layout, own.connection.pid)
        self.see_a_change_of_geometry(
            lambda: reader.get(f"/api/v1/nodes/{self.node}")["metadata"]["labels"])


class NodeFeature(LabelCase):
    PATH = f"/apis/nfd.k8s-sigs.io/v1alpha1/namespaces/{NAMESPACE}/nodefeatures"
    OWNER = "owner-of-labels"

    def setUp(self):
        super().setUp()
        self.addCleanup(self.cluster.oc, "delete", "crd", CRD["metadata"]["name"])
        self.cluster.apply(CRD)
        self.cluster.output("wait", "--for=condition=Established", f"crd/{CRD['metadata']['name']}")
        self.addCleanup(self.cluster.oc, "delete", "daemonset", self.OWNER, "-n", NAMESPACE)
        labels = {"app": self.OWNER}
        self.cluster.apply({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": self.OWNER, "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": self.node},
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": IMAGE,
                                    "imagePullPolicy": "Never"}]}}}})
        self.owner = until(self.find_owner, "no pod of a DaemonSet")

    def find_owner(self):
        pods = self.cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        return next((one["metadata"] for one in pods
                     if one["metadata"].get("labels", {}).get("app") == self.OWNER), None)

    def feature(self):
        items = self.cluster.api.get(self.PATH)["items"]
        return next((one for one in items
                     if one["metadata"]["name"] == f"nvidia-features-for-{self.node}"), None)

    def feature_labels(self):
        feature = self.feature()
        return feature["spec"]["labels"] if feature else {}

    def test_G8_G10_with_its_owners(self):
        self.begin("--labels-to", "nodefeature", "--pod-name", self.owner["name"])
        self.apply("empty")
        until(lambda: self.feature_labels().get("nvidia.com/mig.strategy") == "mixed", self.log)
        metadata = self.feature()["metadata"]
        self.assertEqual(metadata["labels"]["nfd.node.kubernetes.io/node-name"], self.node)
        self.assertEqual({(one["kind"], one["name"], one["uid"] == self.owner["uid"])
                          for one in metadata["ownerReferences"]},
                         {("DaemonSet", self.OWNER, False), ("Pod", self.owner["name"], True)})
        self.see_changes(self.feature_labels)
        self.assertNotIn(self.COUNT, self.node_labels())

    def test_G11_while_it_changes(self):
        self.begin("--labels-to", "nodefeature")
        until(self.feature, self.log)
        own = self.cluster.api
        reader = type(own)(self.cluster.layout, own.connection.pid)
        path = f"{self.PATH}/nvidia-features-for-{self.node}"
        self.see_a_change_of_geometry(lambda: reader.get(path)["spec"]["labels"])
