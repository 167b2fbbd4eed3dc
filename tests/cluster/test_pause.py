# SPDX-License-Identifier: Apache-2.0
"""The GPU operator's pause labels on a node where migd runs as a DaemonSet: who is sent away, and who is not.

Beside migd stands a GPU client that the labels decide about, as the operator deploys its own.
"""
import threading

from cluster_case import IMAGE, pod, until
from layout import SOURCE
from migd_case import DEPLOY, NAMESPACE, DaemonSetCase

PLUGIN = "nvidia.com/gpu.deploy.device-plugin"
APP = "nvidia-device-plugin-daemonset"
PAUSED = "paused-for-mig-change"
HOME = "default"  # of the operator's pods, where nobody says otherwise


def client():
    """A DaemonSet that goes where the label is true."""
    template = pod("x", command=["sleep", "2147483647"])["spec"]
    template.update(nodeSelector={PLUGIN: "true"}, restartPolicy="Always")
    return {"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": APP, "namespace": HOME},
            "spec": {"selector": {"matchLabels": {"app": APP}},
                     "template": {"metadata": {"labels": {"app": APP}}, "spec": template}}}


class Pause(DaemonSetCase):
    nodes = ("node1",)

    def setUp(self):
        self.addCleanup(self.uninstall)
        self.addCleanup(self.cluster.oc, "delete", "daemonset", APP, "-n", HOME)
        self.addCleanup(self.cluster.oc, "label", "node", "node1", f"{PLUGIN}-")

    def labelled(self, value):
        self.cluster.output("label", "node", "node1", f"{PLUGIN}={value}", "--overwrite")

    def lifetime(self):
        """What would be another one if migd's pod had been sent away, or started again."""
        one, = [one for one in self.pods() if one["metadata"]["name"] == self.ready()["node1"]]
        return one["metadata"]["uid"], one["status"]["containerStatuses"][0]["restartCount"]

    def running(self, namespace):
        """Pods that mig-manager waits for, before the GPUs are changed."""
        pods = self.cluster.api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
        return [one["metadata"]["uid"] for one in pods
                if one["metadata"].get("labels", {}).get("app") == APP and
                one["status"]["phase"] == "Running" and
                "deletionTimestamp" not in one["metadata"]]

    def test_O4_migd_pauses_clients_and_not_itself(self):
        self.install()
        self.cluster.apply(client())
        self.labelled("true")
        before = until(lambda: self.running(HOME), "the client does not run")
        own = self.lifetime()
        seen, over = set(), threading.Event()
        reader = type(self.cluster.api)(self.cluster.layout, self.cluster.api.connection.pid)

        def look():
            while not over.is_set():
                labels = reader.get("/api/v1/nodes/node1")["metadata"]["labels"]
                seen.add(labels.get(PLUGIN))
        looking = threading.Thread(target=look)
        looking.start()
        try:
            self.wait("node1", "all-balanced")  # a change of MIG mode
        finally:
            over.set()
            looking.join()
        self.assertEqual(self.devices("node1"), ["1g.6gb", "1g.6gb", "2g.12gb"])
        self.assertIn(PAUSED, seen)
        self.assertEqual(self.cluster.labels("node1")[PLUGIN], "true")
        after = until(lambda: self.running(HOME), "the client does not come back")
        self.assertNotEqual(before, after)
        self.assertEqual(self.lifetime(), own)

    def test_O4_without_its_manager_it_lets_go_when_told(self):
        folder = self.cluster.layout.path("paused")
        folder.mkdir()
        self.addCleanup(self.cluster.output, "apply", "-k", str(DEPLOY))
        base = f"../{'../' * len(folder.parents)}".replace("../../", "../", 1)
        (folder / "kustomization.yaml").write_text(
            f"resources: [{base}{str(DEPLOY).lstrip('/')}]\n"
            f"components: [{base}{str(SOURCE).lstrip('/')}/deploy/components/paused-by-labels]\n",
            encoding="utf-8")
        self.cluster.output("label", "node", "node1", "nvidia.com/gpu.present=true", "--overwrite")
        self.cluster.output("apply", "-k", str(folder))
        self.labelled("true")
        until(lambda: "node1" in self.ready(), self.log)
        # mig-manager finds it by a label of the pod
        own = until(lambda: self.running(NAMESPACE), "it has not the label")
        self.labelled(PAUSED)
        until(lambda: not self.pods(), "it does not go")
        self.labelled("true")
        until(lambda: "node1" in self.ready(), self.log)
        self.assertNotEqual(self.running(NAMESPACE), own)
