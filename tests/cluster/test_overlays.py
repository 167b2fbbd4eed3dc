# SPDX-License-Identifier: Apache-2.0
"""Every overlay of deploy/: applied with the server's strict validation, pods ready, a config in
place, and taken away again by the same files with nothing left.

What a cluster without OpenShift or the GPU operator lacks is made here: the kind of
SecurityContextConstraints; the operator's namespace, kind and object.
"""
import json
import os
import pathlib
import tempfile

from cluster_case import until
from layout import SOURCE
from migd_case import DEPLOY, PRESENT, DaemonSetCase

OVERLAYS = SOURCE / "deploy/overlays"
COMPONENTS = SOURCE / "deploy/components"
POLICY_KIND = COMPONENTS / "clusterpolicy-crd/crd.yaml"
OPERATOR = "gpu-operator"
SCC_KIND = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "securitycontextconstraints.security.openshift.io"},
    "spec": {"group": "security.openshift.io", "scope": "Cluster",
             "names": {"kind": "SecurityContextConstraints", "plural": "securitycontextconstraints",
                       "singular": "securitycontextconstraints"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {
                 "openAPIV3Schema": {"type": "object",
                                     "x-kubernetes-preserve-unknown-fields": True}}}]}}
# what the operator brings before migd comes
OPERATOR_POLICY = {"apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy",
                   "metadata": {"name": "cluster-policy"},
                   "spec": {"mig": {"strategy": "mixed"}, "migManager": {"enabled": True}}}
# kinds that an overlay has, or that come of them
KINDS = ("namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,"
         "validatingadmissionpolicies,validatingadmissionpolicybindings,roles,rolebindings,"
         "serviceaccounts,daemonsets,controllerrevisions,pods,configmaps")
MARKS = ("migd", "mig-config", "clusterpolicies.nvidia.com")


class Overlays(DaemonSetCase):
    nodes = ("node1",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster.output("delete", "-k", str(DEPLOY), "--ignore-not-found")

    def setUp(self):
        self.addCleanup(self.uninstall)

    def left(self):
        """Objects of migd that are there now."""
        names = self.cluster.output("get", KINDS, "-A", "--ignore-not-found", "-o", "name").split()
        return [one for one in names if any(mark in one for mark in MARKS)]

    def come_and_go(self, overlay, namespace, before=()):
        """`before`: what is there without migd, and stays."""
        until(lambda: self.left() == list(before), self.left)
        path = str(OVERLAYS / overlay)
        self.succeeds(self.cluster.oc("apply", "-k", path, "--server-side", "--validate=strict"))
        self.addCleanup(self.cluster.oc, "delete", "-k", path, "--ignore-not-found")
        type(self).namespace = namespace
        self.cluster.output("label", "node", "node1", f"{PRESENT}=true", "--overwrite")
        until(lambda: set(self.ready()) == set(self.nodes), self.log)
        self.wait("node1", "all-balanced")
        self.assertEqual(self.devices("node1"), ["1g.6gb", "1g.6gb", "2g.12gb"])
        self.wait("node1", "all-disabled")
        self.assertEqual(self.devices("node1"), [])
        text = self.log()
        self.assertNotIn("orbidden", text)
        self.succeeds(self.cluster.oc("delete", "-k", path))
        until(lambda: self.left() == list(before), self.left)

    def make(self, document):
        self.cluster.apply(document)
        self.addCleanup(self.cluster.oc, "delete", document["kind"], document["metadata"]["name"])

    def test_every_component(self):
        """All of them beside the base, as somebody's own overlay may have them."""
        self.make({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "migd"}})
        with tempfile.TemporaryDirectory() as directory:
            def near(*parts):
                return os.path.relpath(SOURCE.joinpath("deploy", *parts), directory)
            names = sorted(one.parent.name for one in COMPONENTS.glob("*/kustomization.yaml"))
            pathlib.Path(directory, "kustomization.yaml").write_text(json.dumps({
                "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                "namespace": "migd", "resources": [near("base")],
                "components": [near("components", one) for one in names]}), encoding="utf-8")
            self.succeeds(self.cluster.oc("apply", "-k", directory, "--server-side",
                                          "--validate=strict", "--dry-run=server"))

    def test_every_overlay_has_a_case(self):
        names = {one.parent.name for one in OVERLAYS.glob("*/kustomization.yaml")}
        self.assertEqual({f"test_{one}" for one in names} - set(dir(self)), set())

    def test_standalone(self):
        self.come_and_go("standalone", "migd")

    def test_openshift(self):
        self.make(SCC_KIND)
        self.cluster.output("wait", "--for=condition=Established",
                            f"crd/{SCC_KIND['metadata']['name']}")
        self.come_and_go("openshift", "migd")

    def test_operator(self):
        """In the operator's namespace, which stays, as its kind and its ClusterPolicy do."""
        self.make({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR}})
        self.cluster.output("apply", "-f", str(POLICY_KIND))
        self.addCleanup(self.cluster.oc, "delete", "-f", str(POLICY_KIND))
        self.cluster.output("wait", "--for=condition=Established", "crd/clusterpolicies.nvidia.com")
        self.cluster.apply(OPERATOR_POLICY)
        patch = ("patch", "clusterpolicy/cluster-policy", "--type=merge", "--patch-file")
        self.cluster.output(*patch, str(OVERLAYS / "operator/image-swap.yaml"), "--dry-run=server")
        self.cluster.output(*patch, str(OVERLAYS / "operator/operands-off.yaml"))
        spec = self.cluster.get("clusterpolicy", "cluster-policy")["spec"]
        self.assertEqual([spec[name]["enabled"] for name in ("migManager", "devicePlugin", "gfd")],
                         [False] * 3)
        self.come_and_go("operator", OPERATOR, [
            "customresourcedefinition.apiextensions.k8s.io/clusterpolicies.nvidia.com"])
        self.assertEqual(self.cluster.labels("node1")["nvidia.com/mig.strategy"], "mixed")
        self.cluster.output("get", "namespace", OPERATOR)
