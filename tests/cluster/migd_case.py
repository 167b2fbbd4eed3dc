# SPDX-License-Identifier: Apache-2.0
"""Scenarios with migd: its objects applied once per cluster, the program on a node, and what it says there.

Here migd runs as a process of the node with the rights of its pod: the token of its service account,
bound to the node. A DaemonSetCase runs it from its image.
"""
import os
import re
import unittest

from cluster_case import MIGD_ARCHIVE, ClusterCase, NodeProcess, until
from layout import API_URL, BUILD, PROXY_URL, SOURCE

MIGD = os.environ.get("MIGD_PROGRAM", str(BUILD / "src/daemon/migd"))
CONFIG = SOURCE / "examples/config.yaml"
LABEL = "nvidia.com/mig.config"
STATE = "nvidia.com/mig.config.state"
PRESENT = "nvidia.com/gpu.present"
MESSAGE = "migd.dev/mig-config-message"
NAMESPACE = "migd"
DEPLOY = SOURCE / "deploy/overlays/standalone"
FINAL = ("success", "failed")
SMALL, LARGE = "nvidia.com/mig-1g.6gb", "nvidia.com/mig-2g.12gb"


def deploy(cluster):
    """What `kubectl apply -k` brings; no pod starts as long as no node has the label for it."""
    if cluster.oc("get", "clusterpolicy", "gpu-cluster-policy").returncode == 0:
        return
    cluster.output("apply", "-k", str(DEPLOY))
    cluster.output("wait", "--for=condition=Established", "crd/clusterpolicies.nvidia.com")
    until(lambda: cluster.oc("apply", "-f", str(DEPLOY / "clusterpolicy.yaml")).returncode == 0,
          "the ClusterPolicy is refused", 20, 0.3)


@unittest.skipUnless(os.path.exists(MIGD), "migd is not in the build")
class MigdCase(ClusterCase):
    node = "node1"
    server = API_URL

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        deploy(cls.cluster)

    def setUp(self):
        self.migd = None
        self.addCleanup(self.cleanup)

    def cleanup(self):
        self.stop()
        self.cluster.on(self.node, "rm", "-rf", "/var/lib/migd")
        self.cluster.migemu(self.node, "fault clear")
        self.cluster.forget(self.node)

    # ---- the program ----

    def start(self, *options, **environment):
        kubeconfig = self.cluster.token_kubeconfig("migd", NAMESPACE, self.server, self.node)
        environment.setdefault("CONFIG_FILE", str(CONFIG))
        self.migd = NodeProcess(self.cluster, self.node, [
            MIGD, "--node-name", self.node, "--kubeconfig", str(kubeconfig), "--namespace",
            NAMESPACE, "--default-gpu-clients-namespace", NAMESPACE, "--roles", "manager",
            "--nvidia-driver-root", "/run/nvidia/driver", "--log-level", "debug", *options],
            environment)
        return self.migd

    def stop(self):
        if self.migd and self.migd.is_running():
            self.migd.kill()
        self.migd = None

    def log(self):
        return self.migd.output()[-6000:] if self.migd else "migd does not run"

    # ---- the node ----

    def metadata(self):
        return self.cluster.api.get(f"/api/v1/nodes/{self.node}")["metadata"]

    def wish(self, name):
        """As `oc label node`; None takes the label away."""
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}", {"metadata": {"labels": {LABEL: name}}})

    def said(self):
        """State and message, of one version of the node object: they belong together."""
        metadata = self.metadata()
        return (metadata.get("labels", {}).get(STATE),
                metadata.get("annotations", {}).get(MESSAGE, ""))

    def state(self):
        return self.said()[0]

    def message(self):
        return self.said()[1]

    def wait_state(self, state, text="", limit_s=30):
        """Waits for a state whose message has a text; returns the message."""
        def check():
            found, message = self.said()
            return (found == state and text in message and (message or "-")) or None
        return until(check, lambda: f"{state} '{text}', but '{self.state()}': {self.message()}\n"
                                    f"{self.log()}", limit_s, 0.02)

    def apply(self, name, state="success", limit_s=30):
        """Wishes for a config and waits for the answer to it."""
        self.wish(name)
        return self.wait_state(state, f"'{name}'", limit_s)

    def geometry(self, node=None):
        """Profiles of the MIG devices, per GPU, as nvidia-smi lists them."""
        gpus = []
        for line in self.succeeds(self.cluster.on(node or self.node, "nvidia-smi",
                                                  "-L")).splitlines():
            if line.startswith("GPU"):
                gpus.append([])
            else:
                gpus[-1].append(line.split()[1])
        return [sorted(one) for one in gpus]

    def devices(self):
        """{UUID: profile} of the MIG devices of the node."""
        text = self.succeeds(self.cluster.on(self.node, "nvidia-smi", "-L"))
        return {uuid: profile
                for profile, uuid in re.findall(r"MIG (\S+) .*UUID: (MIG-\S+)\)", text)}

    def paused(self):
        """GPU clients that are still told to stay away."""
        return [name for name, value in self.metadata().get("labels", {}).items()
                if value == "paused-for-mig-change"]


class DevicePluginCase(MigdCase):
    """migd's device plugin and the kubelet's word of it."""

    def allocatable(self):
        status = self.cluster.api.get(f"/api/v1/nodes/{self.node}")["status"]
        return {name: int(count) for name, count in status["allocatable"].items()
                if name.startswith("nvidia.com/") and count != "0"}

    def wait_slices(self, **wanted):
        named = {{"small": SMALL, "large": LARGE}[name]: count for name, count in wanted.items()}
        until(lambda: self.allocatable() == named,
              lambda: f"{named}, but {self.allocatable()}\n{self.log()}")


class ProxyCase(MigdCase):
    """migd reaches the API server through the proxy that makes faults; there are none at first."""
    server = PROXY_URL

    def setUp(self):
        super().setUp()
        self.cluster.start_proxy()
        self.cluster.faults()
        self.addCleanup(self.cluster.faults)


@unittest.skipUnless(MIGD_ARCHIVE.exists(), f"no {MIGD_ARCHIVE}: make image")
class DaemonSetCase(ClusterCase):
    """migd as a user installs it: kubectl apply -k, and a label on each node that is to have it."""
    nodes = ("node1", "node2")
    namespace = NAMESPACE

    @classmethod
    def pods(cls):
        return cls.cluster.api.get(f"/api/v1/namespaces/{cls.namespace}/pods")["items"]

    @classmethod
    def ready(cls):
        """{node: pod} of those that are ready."""
        return {one["spec"]["nodeName"]: one["metadata"]["name"] for one in cls.pods()
                if any(condition["type"] == "Ready" and condition["status"] == "True"
                       for condition in one["status"].get("conditions", []))}

    @classmethod
    def log(cls):
        return "\n".join(cls.cluster.oc("logs", "-n", cls.namespace, one["metadata"]["name"]).stdout
                         for one in cls.pods())

    @classmethod
    def install(cls):
        deploy(cls.cluster)
        for node in cls.nodes:
            cls.cluster.output("label", "node", node, f"{PRESENT}=true", "--overwrite")
        until(lambda: set(cls.ready()) == set(cls.nodes), cls.log)

    @classmethod
    def uninstall(cls):
        for node in cls.nodes:
            cls.cluster.forget(node)
            cls.cluster.on(node, "rm", "-rf", "/var/lib/migd")
        until(lambda: not cls.pods(), "migd's pods stay")

    def wait(self, node, config):
        """As `oc label node`, and waits for the success of it."""
        self.cluster.output("label", "node", node, f"{LABEL}={config}", "--overwrite")
        until(lambda: f"'{config}'" in self.annotation(node) and
              self.cluster.labels(node).get(STATE) == "success",
              lambda: f"{config}: {self.annotation(node)}\n{self.log()[-6000:]}")

    def annotation(self, node):
        node = self.cluster.api.get(f"/api/v1/nodes/{node}")
        return node["metadata"].get("annotations", {}).get(MESSAGE, "")

    def devices(self, node):
        listed = self.succeeds(self.cluster.on(node, "nvidia-smi", "-L")).splitlines()
        return sorted(line.split()[1] for line in listed if "MIG" in line)
