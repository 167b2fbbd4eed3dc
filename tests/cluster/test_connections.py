# SPDX-License-Identifier: Apache-2.0
"""Connections to the API server that stop without an end, end in good order, or half; credentials
and objects that change under migd; clocks that are set; and hours without any of it.

Where migd has a limit in time, its clock goes ahead (see moment.c), to before the limit and then
past it.
"""
import json
import os
import signal
import time

import pki
from api import Refused
from cluster_case import until
from layout import API_ADDRESS, PROXY_PORT
from migd_case import NAMESPACE, ProxyCase
from moment import Moment

NODES = "WATCH /api/v1/nodes"
IDLE_S = 300  # src/kube/watch.c, IDLE_TIMEOUT_MS
PING_S = 10  # src/kube/link.c, PING_INTERVAL_MS
BALANCED, QUARTERS, OFF = [["1g.6gb", "1g.6gb", "2g.12gb"]], [["1g.6gb"] * 4], [[]]
HOUR_S = 3600
MAP = "of-the-cluster"
MAP_TEXT = ("version: v1\nmig-configs:\n  mine:\n    - {devices: all, mig-enabled: true, "
            "mig-devices: {%s}}\n")


class Connections(ProxyCase):
    def setUp(self):
        super().setUp()
        self.moment = Moment(self.cluster.layout.path("nodes", self.node, "moment"))
        self.ahead_s = 0

    def start(self, *options, **environment):
        return super().start(*options, **{**self.moment.environment, **environment})

    def pass_time(self, seconds, real_s=0):
        """It is later for migd, which SIGHUP wakes from a sleep by the old clock."""
        self.ahead_s += seconds
        self.moment.jump(real_s, self.ahead_s)
        os.kill(self.migd.pid, signal.SIGHUP)

    def all_connections(self, what):
        self.assertEqual(self.cluster.control_proxy("POST", what)[0], 200)

    def watches(self):
        return self.cluster.fault_counts()["requests"].get("WATCH", 0)

    def is_not_heard(self, name):
        """A wish that reaches nobody: the state stays of the one before."""
        self.wish(name)
        time.sleep(0.7)
        self.assertNotIn(f"'{name}'", self.message())

    def is_heard(self, name, geometry, limit_s=30):
        self.wait_state("success", f"'{name}'", limit_s)
        self.assertEqual(self.geometry(), geometry)

    # ---- watches and connections ----

    def test_watch_that_goes_silent(self):
        """Bytes stop and the stream stays: noticed after the limit, not before, and resumed."""
        self.start()
        self.apply("all-disabled")
        self.cluster.faults(f"{NODES} hits=1 -> stall")
        began = self.watches()
        self.all_connections("/cut")
        until(lambda: sum(self.cluster.fault_counts()["faults"].values()) == 1 and
              self.watches() > began + 1, self.log)
        self.is_not_heard("all-balanced")
        self.pass_time(IDLE_S - 30)
        self.is_not_heard("all-balanced")
        self.pass_time(60)
        self.is_heard("all-balanced", BALANCED)

    def test_connection_that_goes_silent(self):
        """Nothing comes on it any more, no answer to a ping either."""
        self.start()
        self.apply("all-disabled")
        self.all_connections("/freeze")
        self.is_not_heard("all-balanced")
        for _ in range(3):  # a ping is sent, and not answered
            self.pass_time(PING_S + 1)
            time.sleep(0.3)
        self.is_heard("all-balanced", BALANCED)

    def test_connection_that_is_half_closed(self):
        self.start()
        self.apply("all-disabled")
        self.all_connections("/half-close")
        self.apply("all-balanced")
        self.all_connections("/half-close")
        self.apply("all-disabled")

    def test_goaway(self):
        """Every answer says that the connection takes no more requests; what runs on it goes on."""
        self.start()
        self.apply("all-disabled")
        self.cluster.faults("GET /... -> goaway", "PATCH /... -> goaway", "POST /... -> goaway",
                            f"{NODES} hits=3 -> goaway")
        self.all_connections("/cut")
        for name, geometry in (("all-balanced", BALANCED), ("all-1g.6gb", QUARTERS)):
            self.apply(name)
            self.assertEqual(self.geometry(), geometry)
        done = self.cluster.fault_counts()["faults"]
        self.assertGreater(sum(done.values()), 5, done)
        self.assertNotIn("warning", self.log().split("'all-1g.6gb' is wanted")[1])

    # ---- credentials ----

    def start_with_token_file(self, *options, **environment):
        """As in a pod: the token is in a file, which the kubelet writes again before it runs out."""
        self.token = self.cluster.layout.path("nodes", self.node, "token")
        kubeconfig = self.renew_token()
        known = json.loads(kubeconfig.read_text(encoding="utf-8"))
        known["users"][0]["user"] = {"tokenFile": str(self.token)}
        path = self.cluster.layout.path("nodes", self.node, "kubeconfig")
        path.write_text(json.dumps(known), encoding="utf-8")
        path.chmod(0o644)
        self.start("--kubeconfig", str(path), *options, **environment)

    def renew_token(self):
        kubeconfig = self.cluster.token_kubeconfig("migd", NAMESPACE, self.server, self.node)
        user = json.loads(kubeconfig.read_text(encoding="utf-8"))["users"][0]["user"]
        new = self.token.with_suffix(".new")
        new.write_text(user["token"], encoding="utf-8")
        new.chmod(0o644)
        new.rename(self.token)
        return kubeconfig

    def test_token_that_is_renewed(self):
        """The old one is refused from now on: the file is read again, and nobody has to restart."""
        self.start_with_token_file()
        self.apply("all-disabled")
        old = self.token.read_text(encoding="utf-8")[-40:]
        self.renew_token()
        self.assertNotEqual(self.token.read_text(encoding="utf-8")[-40:], old)
        self.cluster.faults(f"* /... token={old} -> 401")
        self.all_connections("/cut")
        self.apply("all-balanced")
        self.assertEqual(self.geometry(), BALANCED)

    def served_certificate(self):
        shown = self.succeeds(self.cluster.beside(
            "sh", "-c", f"openssl s_client -connect {API_ADDRESS}:{PROXY_PORT} </dev/null "
            "2>/dev/null | openssl x509 -noout -fingerprint"))
        self.assertIn("Fingerprint", shown)
        return shown

    def test_certificate_that_is_renewed(self):
        """The server shows another one, of the same authority, on the next connection."""
        self.start()
        self.apply("all-disabled")
        old = self.served_certificate()
        pki.issue_server(pki.Authority(self.cluster.layout.path("pki")))
        self.assertNotEqual(self.served_certificate(), old)
        self.all_connections("/cut")
        self.apply("all-balanced")
        self.assertEqual(self.geometry(), BALANCED)

    # ---- hours, and clocks ----

    def test_api_server_gone_for_hours(self):
        """What is wished for meanwhile counts when it is back; drift is repaired without it."""
        self.start("--repair-drift")
        self.apply("all-balanced")
        self.cluster.tell("stop faultproxy")
        self.addCleanup(self.cluster.start_proxy)
        self.succeeds(self.cluster.on(self.node, "sh", "-c",
                                      "nvidia-smi mig -i 0 -dci && nvidia-smi mig -i 0 -dgi"))
        until(lambda: "somebody else changed" in self.migd.output(), self.log)
        until(lambda: self.geometry() == BALANCED, self.log)
        for _ in range(3):
            self.pass_time(HOUR_S)
            time.sleep(0.2)
        self.is_not_heard("all-1g.6gb")
        self.assertEqual(self.geometry(), BALANCED)
        self.cluster.start_proxy()
        until(self.answers, self.log)
        self.pass_time(60)  # the pause before the next try, which has grown
        self.is_heard("all-1g.6gb", QUARTERS)

    def answers(self):
        return self.cluster.control_proxy("GET", "/counts")[0] == 200

    def test_clock_that_is_set(self):
        """Only time that passed counts, not what the clock shows."""
        self.start()
        self.apply("all-disabled")
        for days, name, geometry in ((2, "all-balanced", BALANCED), (-400, "all-1g.6gb", QUARTERS),
                                     (0, "all-disabled", OFF)):
            self.pass_time(0, days * 24 * HOUR_S)
            self.apply(name)
            self.assertEqual(self.geometry(), geometry)

    # ---- objects ----

    def policy(self, config_map):
        self.cluster.api.patch("/apis/nvidia.com/v1/clusterpolicies/gpu-cluster-policy",
                               {"spec": {"migManager": {"config": {"name": config_map}}}})

    def write_map(self, devices):
        self.cluster.api.post(f"/api/v1/namespaces/{NAMESPACE}/configmaps", {
            "metadata": {"name": MAP}, "data": {"config.yaml": MAP_TEXT % devices}})

    def test_config_map_deleted_and_made_again(self):
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{MAP}"
        self.addCleanup(self.cluster.api.delete, path)
        self.addCleanup(self.policy, "")
        self.write_map('"2g.12gb": 1, "1g.6gb": 2')
        self.policy(MAP)
        self.start(CONFIG_FILE="")
        self.apply("mine")
        self.assertEqual(self.geometry(), BALANCED)
        self.cluster.api.delete(path)
        self.assertIn(MAP, self.wait_state("failed", "'mine': "))
        self.assertEqual(self.geometry(), BALANCED)
        self.write_map('"1g.6gb": 4')
        self.is_heard("mine", QUARTERS)

    def test_node_deleted_and_made_again(self):
        """Nothing is changed while it is away; what its label says then counts."""
        node = f"/api/v1/nodes/{self.node}"
        self.start_with_token_file()
        self.apply("all-balanced")
        self.cluster.api.delete(node)
        time.sleep(0.5)
        self.assertEqual(self.geometry(), BALANCED)
        self.cluster.tell("kill kubelet", self.node)  # which makes the object when it starts
        until(self.is_ready, lambda: f"{self.node} does not come back")
        self.renew_token()
        self.apply("all-1g.6gb", limit_s=60)
        self.assertEqual(self.geometry(), QUARTERS)

    def is_ready(self):
        try:
            conditions = self.cluster.api.get(f"/api/v1/nodes/{self.node}")["status"]["conditions"]
        except (Refused, KeyError):
            return False
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
