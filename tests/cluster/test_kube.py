# SPDX-License-Identifier: Apache-2.0
"""src/kube against a real API server: through `kube-probe`, its functions on the command line."""
import json
import os
import random
import subprocess
import time

from cluster_case import COMMAND, ClusterCase, pod, until
from layout import BUILD, PROXY_URL

PROBE = BUILD / "tests/cluster/kube-probe"
NAMESPACE = "kube-probe"
CONFIGMAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
WATCH_S = int(os.environ.get("MIGD_WATCH_S", "20"))
# every watch ends after some events, a quarter of all lists fails
FAULTS = ("WATCH /... chance=25 bytes=2000 -> cut", "WATCH /... chance=25 bytes=2000 -> torn",
          "WATCH /... chance=20 bytes=1500 -> gone", "WATCH /... chance=10 -> disconnect",
          "WATCH /... chance=10 -> reset", "WATCH /... chance=10 -> 503",
          "WATCH /... bytes=4000 -> cut",
          "GET /... chance=10 -> 503", "GET /... chance=5 -> 500",
          "GET /... chance=5 retry-after=1 -> 429", "GET /... chance=5 -> reset")


class Watching:
    """A probe that watches; its lines, and what they say there is."""

    def __init__(self, case, kubeconfig, path, *options):
        self.path = case.cluster.layout.path(f"watch-{random.randrange(1 << 30)}")
        with open(self.path, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [COMMAND, "-C", case.cluster.directory, "exec", "--", PROBE, "--kubeconfig",
                 kubeconfig, "--verbose", *options, "watch", path], stdout=file,
                stderr=subprocess.DEVNULL)
        case.addCleanup(self.end)

    def end(self):
        self.process.terminate()
        self.process.wait(10)

    def lines(self):
        return self.path.read_text(encoding="utf-8").splitlines()

    def count(self, kind):
        return sum(line.startswith(kind + " ") for line in self.lines())

    def state(self):
        """{name: resourceVersion}; a line that contradicts those before it is an error."""
        known = {}
        for line in self.lines():
            kind, name, version = (line + "   ").split(" ")[:3]
            if kind == "DELETED":
                del known[name]
            elif kind in ("ADDED", "MODIFIED"):
                assert (name in known) == (kind == "MODIFIED"), line
                assert known.get(name) != version, line
                known[name] = version
        return known


class Kube(ClusterCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin = cls.cluster.layout.path("pki", "admin.kubeconfig")
        cls.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {"apiVersion": "v1", "kind": "ServiceAccount",
             "metadata": {"name": "probe", "namespace": NAMESPACE}},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
             "metadata": {"name": "probe", "namespace": NAMESPACE},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                         "name": "edit"},
             "subjects": [{"kind": "ServiceAccount", "name": "probe",
                           "namespace": NAMESPACE}]})
        cls.limited = cls.cluster.token_kubeconfig("probe", NAMESPACE)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.oc("delete", "namespace", NAMESPACE, "--wait=false")

    def probe(self, *argv, kubeconfig=None):
        return self.cluster.beside(PROBE, "--kubeconfig", kubeconfig or self.admin, *argv)

    def answer(self, *argv, kubeconfig=None):
        return json.loads(self.succeeds(self.probe(*argv, kubeconfig=kubeconfig)))

    def refused(self, *argv, kubeconfig=None):
        done = self.probe(*argv, kubeconfig=kubeconfig)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        return done.stderr

    # ---- requests ----

    def test_by_certificate_and_by_token(self):
        self.assertEqual(self.answer("get", "/api/v1/nodes/node1")["metadata"]["name"], "node1")
        text = self.refused("get", "/api/v1/nodes/node1", kubeconfig=self.limited)
        self.assertIn("403 Forbidden", text)
        self.assertIn(f"system:serviceaccount:{NAMESPACE}:probe", text)
        self.assertEqual(self.succeeds(self.probe("can", "patch", "", "nodes")), "yes\n")
        self.assertEqual(self.succeeds(self.probe("can", "patch", "", "nodes",
                                                  kubeconfig=self.limited)), "no\n")

    def test_server_of_another_authority_is_not_talked_to(self):
        document = json.loads(self.limited.read_text(encoding="utf-8"))
        del document["clusters"][0]["cluster"]["certificate-authority"]
        path = self.cluster.layout.path("pki", "stranger.kubeconfig")
        path.write_text(json.dumps(document), encoding="utf-8")
        done = self.probe("--timeout", "2000", "get", "/version", kubeconfig=path)
        self.assertEqual(done.returncode, 1)
        self.assertIn("certificate", done.stderr)

    def test_node_labels_and_taints(self):
        self.addCleanup(self.probe, "patch", "node2", "example.com/probe-")
        node = self.answer("patch", "node2", "example.com/probe=yes")
        self.assertEqual(node["metadata"]["labels"]["example.com/probe"], "yes")
        text = self.refused("--version", "1", "patch", "node2", "example.com/probe=no")
        self.assertIn("409 Conflict", text)
        self.assertIn("422 Invalid", self.refused("patch", "node2", "bad key=x"))
        self.addCleanup(self.probe, "taint", "node2", "example.com/probe-")
        node = self.answer("taint", "node2", "example.com/probe=v:PreferNoSchedule")
        self.assertIn({"key": "example.com/probe", "value": "v", "effect": "PreferNoSchedule"},
                      node["spec"]["taints"])
        self.assertNotIn("probe", json.dumps(self.answer("taint", "node2", "example.com/probe-")
                                             ["spec"]))

    def test_configmap_has_its_owner(self):
        account = self.cluster.get("serviceaccount", "probe", "-n", NAMESPACE)["metadata"]
        owner = f"ServiceAccount/probe/{account['uid']}"
        for text in ("one", "two"):
            made = self.answer("--owner", owner, "configmap", NAMESPACE, "owned",
                               f"config.yaml={text}", kubeconfig=self.limited)
            self.assertEqual(made["data"], {"config.yaml": text})
        self.assertEqual(made["metadata"]["ownerReferences"][0]["uid"], account["uid"])

    def test_list_in_pages(self):
        for number in range(7):
            self.answer("configmap", NAMESPACE, f"page-{number}", "a=b")
        done = self.probe("--page", "3", "--verbose", "list", CONFIGMAPS)
        names = [json.loads(line)["metadata"]["name"] for line in done.stdout.splitlines()]
        truth = self.cluster.get("configmaps", "-n", NAMESPACE)["items"]
        self.assertEqual(sorted(names), sorted(item["metadata"]["name"] for item in truth))
        self.assertIn("continue=", done.stderr)

    def test_events_are_shown_with_the_node_and_counted(self):
        reason = f"Probe{random.randrange(1 << 30)}"
        self.succeeds(self.probe("--for", "12", "event", "node2", reason, "a note", "5"))
        shown = [line for line in self.cluster.output("describe", "node", "node2").splitlines()
                 if reason in line]
        self.assertEqual(len(shown), 1, shown)
        self.assertIn("x5 over", shown[0])
        self.assertIn("a note", shown[0])

    # ---- evictions ----

    def test_evictions(self):
        budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
                  "metadata": {"name": "web-budget", "namespace": "default"},
                  "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "probe-web"}}}}
        self.cluster.apply(pod("probe-web", "node2", labels={"app": "probe-web"}), budget)
        self.addCleanup(self.cluster.oc, "delete", "pod", "probe-web", "--now",
                        "--ignore-not-found")
        self.addCleanup(self.cluster.oc, "delete", "pdb", "web-budget", "--ignore-not-found")
        self.cluster.wait_phase("probe-web", "Running")
        until(lambda: self.cluster.get("pdb", "web-budget").get("status", {}).get("currentHealthy"),
              "the budget does not see the pod")
        blocked = self.probe("evict", "default", "probe-web")
        self.assertEqual(blocked.stdout, "blocked\n", blocked.stderr)
        self.assertIn("web-budget", blocked.stderr)
        self.cluster.output("delete", "pdb", "web-budget")
        other = self.probe("evict", "default", "probe-web", "00000000-0000-0000-0000-000000000000")
        self.assertEqual(other.stdout, "gone\n", other.stderr)
        self.assertEqual(self.cluster.phase("probe-web"), "Running")
        uid = self.cluster.get("pod", "probe-web")["metadata"]["uid"]
        self.assertEqual(self.probe("evict", "default", "probe-web", uid).stdout, "evicted\n")
        until(lambda: self.cluster.phase("probe-web") == "absent", "the pod stays")
        self.assertEqual(self.probe("evict", "default", "probe-web").stdout, "gone\n")

    # ---- leases ----

    def lease(self, identity):
        path = self.cluster.layout.path(f"lease-{identity}")
        with open(path, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [COMMAND, "-C", self.cluster.directory, "exec", "--", PROBE, "--kubeconfig",
                 self.limited, "--for", "60", "lease", NAMESPACE, "probe", identity], stdout=file)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.kill)
        return process, lambda: path.read_text(encoding="utf-8").splitlines()[-1:]

    def test_lease_goes_to_the_next_when_its_holder_dies(self):
        self.cluster.apply(
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
             "metadata": {"name": "leases", "namespace": NAMESPACE},
             "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                        "verbs": ["get", "create", "update"]}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
             "metadata": {"name": "leases", "namespace": NAMESPACE},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                         "name": "leases"},
             "subjects": [{"kind": "ServiceAccount", "name": "probe", "namespace": NAMESPACE}]})
        first, first_says = self.lease("first")
        until(lambda: first_says() == ["held first"], first_says)
        _, second_says = self.lease("second")
        until(lambda: second_says() == ["not-held first"], second_says)
        first.kill()
        until(lambda: second_says() == ["held second"], second_says, 15)

    # ---- watches ----

    def truth(self):
        items = self.cluster.get("configmaps", "-n", NAMESPACE)["items"]
        return {f"{NAMESPACE}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
                for item in items}

    def edit(self, chance):
        name = f"edited-{chance.randrange(12)}"
        if chance.random() < 0.3:
            self.cluster.oc("delete", "configmap", name, "-n", NAMESPACE, "--ignore-not-found")
        else:
            self.answer("configmap", NAMESPACE, name, f"a={chance.randrange(1 << 30)}")

    def agree(self, watching):
        until(lambda: watching.state() == self.truth(),
              lambda: f"told {watching.state()}, there is {self.truth()}", 60, 1)

    def test_watch_tells_what_there_is(self):
        """Under random edits, directly and through a proxy that breaks every watch."""
        seed = int(os.environ.get("MIGD_SEED", random.randrange(1 << 30)))
        chance = random.Random(seed)
        self.cluster.start_proxy()
        self.addCleanup(self.cluster.faults)
        self.cluster.faults(*FAULTS)
        direct = Watching(self, self.admin, CONFIGMAPS)
        faulty = Watching(self, self.cluster.token_kubeconfig("probe", NAMESPACE, PROXY_URL),
                          CONFIGMAPS)
        with self.subTest(MIGD_SEED=seed):
            end = time.monotonic() + WATCH_S
            while time.monotonic() < end:
                self.edit(chance)
            self.assertGreater(sum(self.cluster.fault_counts()["faults"].values()), WATCH_S // 5)
            self.cluster.faults()
            for watching in (direct, faulty):
                self.agree(watching)
            self.assertEqual(direct.count("SYNCED"), 1)
            self.assertEqual(direct.count("OFFLINE"), 0)

    def test_watch_outlives_the_server(self):
        watching = Watching(self, self.limited, CONFIGMAPS, "--offline-after", "1000")
        until(lambda: watching.count("SYNCED") == 1, watching.lines)
        self.cluster.tell("stop kube-apiserver")
        try:
            until(lambda: watching.count("OFFLINE") == 1, watching.lines)
        finally:
            self.cluster.tell("start kube-apiserver")
        until(lambda: watching.count("SYNCED") == 2, watching.lines)
        self.answer("configmap", NAMESPACE, "after", f"a={random.random()}")
        self.agree(watching)

    def test_token_that_becomes_good(self):
        token = self.cluster.output("create", "token", "probe", "-n", NAMESPACE).strip()
        document = json.loads(self.limited.read_text(encoding="utf-8"))
        path = self.cluster.layout.path("pki", "token-file")
        document["users"][0]["user"] = {"tokenFile": str(path)}
        path.write_text("wrong\n", encoding="utf-8")
        kubeconfig = self.cluster.layout.path("pki", "token-file.kubeconfig")
        kubeconfig.write_text(json.dumps(document), encoding="utf-8")
        watching = Watching(self, kubeconfig, CONFIGMAPS, "--offline-after", "500")
        until(lambda: watching.count("OFFLINE") == 1, watching.lines)
        self.assertIn("401 Unauthorized", watching.lines()[-1])
        path.write_text(token + "\n", encoding="utf-8")
        until(lambda: watching.count("SYNCED") == 1, watching.lines)
