# SPDX-License-Identifier: Apache-2.0
"""The proxy that makes faults: each kind of them, as a client of the API meets it."""
import json

from cluster_case import ClusterCase
from layout import API_ADDRESS, PROXY_PORT, PROXY_URL

NODES = "/api/v1/nodes"


class FaultProxy(ClusterCase):
    def setUp(self):
        self.cluster.start_proxy()
        self.addCleanup(self.cluster.faults)
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount",
             "metadata": {"name": "faulty", "namespace": "default"}},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
             "metadata": {"name": "faulty"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                         "name": "cluster-admin"},
             "subjects": [{"kind": "ServiceAccount", "name": "faulty", "namespace": "default"}]})
        self.kubeconfig = self.cluster.token_kubeconfig("faulty", "default", PROXY_URL)

    def ask(self, path, limit_s=5, extra=()):
        """(status, body, exit code of curl) of a request through the proxy."""
        token = json.loads(self.kubeconfig.read_text(encoding="utf-8"))["users"][0]["user"]["token"]
        done = self.cluster.beside(
            "curl", "-sS", "-m", str(limit_s), "--cacert", self.cluster.layout.path("pki", "ca.crt"),
            "-H", f"Authorization: Bearer {token}", "-w", "\n%{http_code} %{http_version}", *extra,
            f"https://{API_ADDRESS}:{PROXY_PORT}{path}")
        body, _, tail = done.stdout.rpartition("\n")
        return int(tail.split()[0]), body, done.returncode

    def test_passes_on(self):
        status, body, _ = self.ask(NODES)
        self.assertEqual(status, 200)
        self.assertEqual(len(json.loads(body)["items"]), 3)

    def test_statuses(self):
        self.cluster.faults(f"GET {NODES} nth=1 -> 409", f"GET {NODES} nth=1 retry-after=3 -> 429",
                            f"GET {NODES} nth=1 -> 500", "GET /api/v1/... nth=1 -> 503")
        seen = [self.ask(NODES) for _ in range(5)]
        self.assertEqual([one[0] for one in seen], [409, 429, 500, 503, 200])
        self.assertEqual(json.loads(seen[1][1])["details"]["retryAfterSeconds"], 3)

    def test_broken_answers(self):
        for action, code in (("reset", (92, 52, 56)), ("disconnect", (16, 35, 55, 56, 92)),
                             ("drop", (92, 52)), ("hang", (28,))):
            with self.subTest(action=action):
                self.cluster.faults(f"GET {NODES} nth=1 -> {action}")
                self.assertIn(self.ask(NODES, 2)[2], code)
                self.assertEqual(self.ask(NODES)[0], 200)

    def test_broken_watches(self):
        path = f"{NODES}?watch=true&allowWatchBookmarks=true"
        for action, code in (("cut", (0,)), ("gone", (0,)), ("torn", (92, 18)), ("stall", (28,))):
            with self.subTest(action=action):
                self.cluster.faults(f"WATCH {NODES} bytes=10 -> {action}")
                _, body, exit_code = self.ask(path, 2)
                self.assertIn(exit_code, code)
                self.assertEqual('"code":410' in body, action == "gone")

    def test_chance_is_repeatable(self):
        runs = []
        for _ in range(2):
            self.cluster.faults(f"GET {NODES} chance=50 -> 500")
            runs.append([self.ask(NODES)[0] for _ in range(12)])
        self.assertEqual(runs[0], runs[1])
        self.assertEqual(set(runs[0]), {200, 500})

    def test_bad_rules_are_refused(self):
        for rule in ("GET", "GET /x -> fly", "GET /x color=3", "GET /x -> 200"):
            self.assertEqual(self.cluster.control_proxy("POST", "/rules", rule)[0], 400, rule)
