# SPDX-License-Identifier: Apache-2.0
"""The config of the device plugin by the node's label, before the real kubelet: what is allocatable
follows the label, and a label that names nothing takes nothing away."""
from cluster_case import HERE, pod, until
from layout import SOURCE
from migd_case import LARGE, NAMESPACE, SMALL, DevicePluginCase

CONFIGS = str(HERE / "configs.yaml")
LABEL = "nvidia.com/device-plugin.config"
COMPONENT = SOURCE / "deploy/components/plugin-configs"
MAP = f"/api/v1/namespaces/{NAMESPACE}/configmaps/migd-plugin-configs"
POLICY = "/apis/nvidia.com/v1/clusterpolicies/gpu-cluster-policy"


class PluginConfig(DevicePluginCase):
    def setUp(self):
        super().setUp()
        self.cluster.output("apply", "-n", NAMESPACE, "-f", str(COMPONENT / "configmap.yaml"))
        self.addCleanup(self.cluster.output, "delete", "-n", NAMESPACE, "-f",
                        str(COMPONENT / "configmap.yaml"))

    def select(self, name):
        """As `oc label node`; None takes the label away."""
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}",
                               {"metadata": {"labels": {LABEL: name}}})

    def events(self, reason):
        found = self.cluster.get("events", "-A", "--field-selector", f"reason={reason}")["items"]
        return [one["message"] for one in found if one["involvedObject"]["name"] == self.node]

    def follows_the_label(self):
        self.apply("balanced")
        self.wait_slices(small=2, large=1)
        self.select("shared")
        self.wait_slices(small=8, large=1)
        # several pods on one slice
        script = ["sh", "-c", "nvidia-smi -L; trap exit TERM; while :; do sleep 1; done"]
        for name in ("a", "b", "c"):
            self.cluster.apply(pod(name, self.node, {SMALL: "1"}, script))
        for name in ("a", "b", "c"):
            self.cluster.wait_phase(name, "Running")
        # a name that is not there, and a config that is wrong: nothing is lost, and it is said
        for name in ("shard", "broken"):
            self.select(name)
            until(lambda name=name: any(name in one and "config shared stays in force" in one
                                        for one in self.events("DevicePluginConfigInvalid")),
                  lambda: f"{self.events('DevicePluginConfigInvalid')}\n{self.log()}")
            self.assertEqual(self.allocatable(), {SMALL: 8, LARGE: 1})
        for name in ("a", "b", "c"):
            self.assertEqual(self.cluster.phase(name), "Running")
            self.cluster.output("delete", "pod", name, "--now")
        # it is what the name stands for that counts
        single = "version: v1\nflags: {migStrategy: single}\n"
        self.cluster.api.patch(MAP, {"data": {"shard": single}})
        self.select("shard")
        until(lambda: self.allocatable() == {"nvidia.com/gpu": 2}, self.allocatable)
        self.select(None)
        self.wait_slices(small=2, large=1)

    def test_F3_label_selects_from_a_config_map(self):
        self.cluster.api.patch(MAP, {"data": {"broken": "version: v1\nsharing: []\n"}})
        self.start("--config-file", CONFIGS, "--roles", "manager,device-plugin", "--poll-interval",
                   "200ms", "--plugin-config-map", "migd-plugin-configs")
        self.follows_the_label()

    def test_F3_without_the_manager(self):
        self.succeeds(self.cluster.on(self.node, "sh", "-c",
                                      "nvidia-smi -mig 1 && nvidia-smi mig -cgi 14,14 -C"))
        self.select("shared")
        self.start("--roles", "device-plugin", "--plugin-config-map", "migd-plugin-configs")
        self.wait_slices(small=8)
        log = self.log()  # nothing was announced with other settings before
        self.assertLess(log.index("has config 'shared'"), log.index(" registered"))
        self.select("default")
        self.wait_slices(small=2)

    def test_F3_cluster_policy_names_the_config_map(self):
        config = {"name": "migd-plugin-configs", "default": "shared"}
        self.cluster.api.patch(POLICY, {"spec": {"devicePlugin": {"config": config}}})
        self.addCleanup(self.cluster.api.patch, POLICY, {"spec": {"devicePlugin": None}})
        self.start("--config-file", CONFIGS, "--roles", "manager,device-plugin", "--poll-interval",
                   "200ms")
        self.apply("balanced")
        self.wait_slices(small=8, large=1)
        self.select("default")
        self.wait_slices(small=2, large=1)
