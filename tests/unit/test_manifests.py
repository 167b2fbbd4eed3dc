# SPDX-License-Identifier: Apache-2.0
"""What `kubectl apply -k` brings, as kustomize renders it.

Names of tests carry the rows of docs/compatibility.md."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

SOURCE = pathlib.Path(os.environ.get("MIG_SOURCE", "."))
KUBECTL = pathlib.Path(os.environ.get("MIGD_KUBE", "~/.cache/migd-kube")).expanduser() / \
    "bin/kubectl"
OVERLAYS = ("standalone", "openshift", "operator")
PAUSED = "nvidia.com/gpu.deploy."
# the labels by which mig-manager waits for the operator's pods to go
CLIENTS = {"nvidia-device-plugin-daemonset", "gpu-feature-discovery", "nvidia-dcgm-exporter",
           "nvidia-dcgm", "nvidia-operator-validator"}


def kubectl(*argv, text=""):
    return subprocess.run([KUBECTL, *argv], input=text, capture_output=True, text=True, check=True,
                          env={**os.environ, "KUBECONFIG": "/dev/null"}, timeout=60).stdout


def render(folder):
    """The objects of a kustomization. kubectl reads its own YAML; no server is asked."""
    text = kubectl("annotate", "--local", "-f", "-", "-o", "json", "rendered=true",
                   text=kubectl("kustomize", str(folder)))
    objects, at = [], 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        one, at = json.JSONDecoder().raw_decode(text, at)
        objects += one["items"] if one["kind"] == "List" else [one]
    return objects


def render_with(overlay, component):
    with tempfile.TemporaryDirectory() as scratch:
        resource = os.path.relpath(SOURCE / "deploy/overlays" / overlay, scratch)
        part = os.path.relpath(SOURCE / "deploy/components" / component, scratch)
        pathlib.Path(scratch, "kustomization.yaml").write_text(
            f"resources: [{resource}]\ncomponents: [{part}]\n", encoding="utf-8")
        return render(scratch)


@unittest.skipUnless(KUBECTL.exists(), f"no {KUBECTL}: run tests/cluster/build-programs")
class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = {name: render(SOURCE / "deploy/overlays" / name) for name in OVERLAYS}

    @staticmethod
    def find(objects, kind):
        return [one for one in objects if one["kind"] == kind]

    def pod(self, objects):
        daemonset, = self.find(objects, "DaemonSet")
        return daemonset["spec"]["template"]

    def environment(self, objects):
        container, = self.pod(objects)["spec"]["containers"]
        return {one["name"]: one.get("value") for one in container["env"]}

    def each(self):
        for name, objects in self.rendered.items():
            with self.subTest(name):
                yield objects

    # ---- OpenShift ----

    def test_O3_constraints_are_what_the_pod_needs(self):
        objects = self.rendered["openshift"]
        constraints, = self.find(objects, "SecurityContextConstraints")
        spec = self.pod(objects)["spec"]
        for asked, allowed in {"hostPID": "allowHostPID", "hostIPC": "allowHostIPC",
                               "hostNetwork": "allowHostNetwork"}.items():
            self.assertEqual(bool(spec.get(asked)), constraints[allowed], asked)
        container, = spec["containers"]
        self.assertEqual(container["securityContext"].get("privileged", False),
                         constraints["allowPrivilegedContainer"])
        self.assertFalse(constraints["allowHostPorts"])
        self.assertFalse(any("hostPort" in one for one in container["ports"]))
        kinds = {kind for one in spec["volumes"] for kind in one if kind != "name"}
        self.assertLessEqual(kinds, set(constraints["volumes"]))
        self.assertTrue(constraints["allowHostDirVolumePlugin"])
        # a privileged container has a type of its own, so no file has to be labelled anew
        self.assertEqual(constraints["seLinuxContext"], {"type": "RunAsAny"})

    def test_O3_only_the_service_account_may_use_them(self):
        objects = self.rendered["openshift"]
        constraints, = self.find(objects, "SecurityContextConstraints")
        self.assertEqual((constraints.get("users"), constraints.get("groups")), ([], []))
        roles = {one["metadata"]["name"]: one for one in self.find(objects, "ClusterRole")}
        using = [name for name, role in roles.items() for rule in role["rules"]
                 if "securitycontextconstraints" in rule["resources"]]
        self.assertEqual(using, ["migd-scc"])
        self.assertEqual(roles["migd-scc"]["rules"],
                         [{"apiGroups": ["security.openshift.io"], "verbs": ["use"],
                           "resources": ["securitycontextconstraints"],
                           "resourceNames": [constraints["metadata"]["name"]]}])
        binding, = (one for one in self.find(objects, "RoleBinding")
                    if one["roleRef"]["name"] == "migd-scc")
        account = self.pod(objects)["spec"]["serviceAccountName"]
        daemonset, = self.find(objects, "DaemonSet")
        self.assertEqual([(one["kind"], one["name"], one["namespace"])
                          for one in binding["subjects"]],
                         [("ServiceAccount", account, daemonset["metadata"]["namespace"])])

    def test_O3_the_driver_is_where_the_operator_has_it(self):
        for objects in self.each():
            environment = self.environment(objects)
            spec = self.pod(objects)["spec"]
            self.assertEqual(environment["NVIDIA_DRIVER_ROOT"], "/run/nvidia/driver")
            # the same folder, through the mount of the host's root; what is mounted later is seen
            root, = (one["name"] for one in spec["volumes"]
                     if one.get("hostPath", {}).get("path") == "/")
            mount, = (one for one in spec["containers"][0]["volumeMounts"] if one["name"] == root)
            self.assertEqual(environment["DRIVER_ROOT_CTR_PATH"],
                             mount["mountPath"] + environment["NVIDIA_DRIVER_ROOT"])
            self.assertEqual(environment["HOST_ROOT_MOUNT"], mount["mountPath"])
            self.assertEqual(mount["mountPropagation"], "HostToContainer")

    # ---- the device plugin ----

    def test_F3_the_named_config_map_may_be_read(self):
        example = SOURCE / "deploy/components/plugin-configs/configmap.yaml"
        name = re.search(r"^  name: (\S+)$",
                         example.read_text(encoding="utf-8"), re.M).group(1)
        for overlay in OVERLAYS:
            with self.subTest(overlay):
                objects = render_with(overlay, "plugin-configs")
                daemonset, = self.find(objects, "DaemonSet")
                self.assertEqual(self.environment(objects)["MIGD_PLUGIN_CONFIG_MAP"], name)
                role, = self.find(objects, "Role")
                self.assertEqual(role["metadata"]["namespace"], daemonset["metadata"]["namespace"])
                verbs, = (rule["verbs"] for rule in role["rules"]
                          if "configmaps" in rule["resources"])
                self.assertLessEqual({"get", "list", "watch"}, set(verbs))

    def test_K17_the_folder_of_plugins_is_mounted_where_the_kubelet_has_it(self):
        folder = "/var/lib/kubelet/plugins_registry"
        for overlay in OVERLAYS:
            with self.subTest(overlay):
                objects = render_with(overlay, "plugins-registry")
                spec = self.pod(objects)["spec"]
                self.assertEqual(self.environment(objects)["MIGD_PLUGIN_REGISTRATION"], "registry")
                volume, = (one["name"] for one in spec["volumes"]
                           if one.get("hostPath", {}).get("path") == folder)
                mount, = (one for one in spec["containers"][0]["volumeMounts"]
                          if one["name"] == volume)
                self.assertEqual(mount["mountPath"], folder)

    # ---- pausing ----

    def test_O4_migd_does_not_send_itself_away(self):
        for objects in self.each():
            self.assertIn("manager", self.environment(objects).get("MIGD_ROLES", "manager"))
            pod = self.pod(objects)
            self.assertNotIn(PAUSED, json.dumps([pod["spec"].get("nodeSelector"),
                                                 pod["spec"].get("affinity")]))
            self.assertNotIn(pod["metadata"]["labels"].get("app"), CLIENTS)

    def test_O4_without_its_manager_it_is_paused_as_the_device_plugin(self):
        for overlay in OVERLAYS:
            with self.subTest(overlay):
                objects = render_with(overlay, "paused-by-labels")
                pod = self.pod(objects)
                self.assertEqual(pod["spec"]["nodeSelector"], {PAUSED + "device-plugin": "true"})
                self.assertIn(pod["metadata"]["labels"]["app"], CLIENTS)
                daemonset, = self.find(objects, "DaemonSet")
                selector = daemonset["spec"]["selector"]["matchLabels"]
                self.assertLessEqual(selector.items(), pod["metadata"]["labels"].items())
                self.assertEqual(self.environment(objects)["MIGD_ROLES"],
                                 "device-plugin,labels,metrics")

    def test_O4_beside_the_operator(self):
        objects = self.rendered["operator"]
        self.assertEqual(self.environment(objects)["DEFAULT_GPU_CLIENTS_NAMESPACE"], "gpu-operator")
        self.assertEqual(self.find(objects, "Namespace") +
                         self.find(objects, "CustomResourceDefinition"), [])
        self.assertEqual({one["metadata"]["namespace"] for one in objects
                          if "namespace" in one["metadata"]}, {"gpu-operator"})

    # ---- where pods go ----

    def test_O5_nodes_and_tolerations(self):
        for objects in self.each():
            spec = self.pod(objects)["spec"]
            terms = spec["affinity"]["nodeAffinity"][
                "requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            # any one of them is enough: each is a term of its own
            self.assertTrue(all(len(term["matchExpressions"]) == 1 for term in terms))
            wanted = {term["matchExpressions"][0]["key"]: term["matchExpressions"][0]
                      for term in terms}
            for key in ("feature.node.kubernetes.io/pci-10de.present", "nvidia.com/gpu.present"):
                self.assertEqual((wanted[key]["operator"], wanted[key]["values"]), ("In", ["true"]))
            self.assertIn({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                          spec["tolerations"])
            # before the kubelet's plugins there are no pods; migd comes first, and stays
            self.assertIn("migd.dev/mig-not-ready", [one["key"] for one in spec["tolerations"]])
            self.assertEqual(spec["priorityClassName"], "system-node-critical")

    def test_O5_labels_name_it_everywhere(self):
        for objects in self.each():
            daemonset, = self.find(objects, "DaemonSet")
            for metadata in (daemonset["metadata"], self.pod(objects)["metadata"]):
                self.assertEqual(metadata["labels"]["app.kubernetes.io/name"], "migd")
            self.assertEqual(daemonset["spec"]["selector"]["matchLabels"],
                             {"app.kubernetes.io/name": "migd"})


if __name__ == "__main__":
    tap.main()
