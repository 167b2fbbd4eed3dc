# SPDX-License-Identifier: Apache-2.0
"""What may go wrong between migd and the API server, in the driver, and with migd itself.

Each ends in the geometry that is wanted, a true state, and no GPU client that is still paused. What is
by chance follows MIGD_SEED; MIGD_ROUNDS and MIGD_CHANGES say how much of it there is.
"""
import os
import random
import signal
import time

from cluster_case import until
from migd_case import FINAL, MESSAGE, STATE, ProxyCase

SEED = int(os.environ.get("MIGD_SEED", "1"))
ROUNDS = int(os.environ.get("MIGD_ROUNDS", "12"))
CHANGES = int(os.environ.get("MIGD_CHANGES", "40"))
GEOMETRIES = {"all-disabled": [[]], "all-balanced": [["1g.6gb", "1g.6gb", "2g.12gb"]],
              "all-1g.6gb": [["1g.6gb"] * 4], "all-2g.12gb": [["2g.12gb"] * 2],
              "all-4g.24gb": [["4g.24gb"]]}
NODE = "/api/v1/nodes/*"
SLOW = ("gi-create-ms=30", "gi-destroy-ms=30", "ci-create-ms=10", "ci-destroy-ms=10", "mode-ms=80")


class Faults(ProxyCase):
    def assert_in_place(self, name, limit_s=60):
        self.apply(name, limit_s=limit_s)
        self.assertEqual(self.geometry(), GEOMETRIES[name])
        self.assertEqual(self.paused(), [])

    def under(self, *rules, acted=True):
        """Two changes while the rules hold, and one when they hold no more."""
        self.start()
        self.assert_in_place("all-disabled")
        self.cluster.faults(*rules)
        self.assert_in_place("all-balanced")
        self.assert_in_place("all-1g.6gb")
        if acted:
            self.assertGreater(sum(self.cluster.fault_counts()["faults"].values()), 0)
        self.cluster.faults()
        self.assert_in_place("all-disabled")

    def test_409_conflict(self):
        self.under(f"PATCH {NODE} hits=4 -> 409")

    def test_410_gone(self):
        self.under("WATCH /api/v1/nodes bytes=1 hits=3 -> gone", "WATCH /... hits=3 -> 410",
                   acted=False)

    def test_429_too_many_requests(self):
        self.under("* /... chance=40 retry-after=1 -> 429")

    def test_500_internal_error(self):
        self.under("* /... chance=40 -> 500")

    def test_503_unavailable(self):
        self.under("* /... chance=40 -> 503")

    def test_reset_streams_and_connections(self):
        self.under("* /... chance=20 -> reset", "* /... chance=20 -> disconnect")

    def test_answers_that_are_lost(self):
        self.under(f"PATCH {NODE} chance=50 -> drop")

    def test_watches_that_end_at_any_point(self):
        self.start()
        self.assert_in_place("all-disabled")
        for kind in ("cut", "torn"):
            self.cluster.faults(f"WATCH /api/v1/nodes bytes=3000 hits=4 -> {kind}")
            self.cluster.control_proxy("POST", "/cut")
            self.assert_in_place("all-balanced")
            self.assert_in_place("all-disabled")

    def test_slow_api_server(self):
        self.under("* /... delay=700")

    def test_api_server_gone_for_a_while(self):
        self.start()
        self.assert_in_place("all-disabled")
        self.cluster.tell("stop kube-apiserver")
        try:
            time.sleep(3)
        finally:
            self.cluster.tell("start kube-apiserver")
        until(self.is_answering, "the API server does not come back", 60)
        self.assert_in_place("all-balanced")

    def is_answering(self):
        try:
            return self.cluster.api.get("/readyz?verbose=false") or True
        except Exception:  # pylint: disable=broad-except
            return False

    def test_killed_at_any_moment(self):
        """SIGKILL at random moments of changes that take some 300 ms."""
        randomly = random.Random(SEED)
        self.cluster.migemu(self.node, "set", *SLOW)
        names = [name for name in GEOMETRIES if name != "all-disabled"]
        self.start()
        self.assert_in_place("all-disabled")
        for count in range(ROUNDS):
            name = names[count % len(names)]
            with self.subTest(seed=SEED, round=count, config=name):
                self.wish(name)
                time.sleep(randomly.uniform(0, 0.4))
                self.migd.kill(signal.SIGKILL)
                self.start()
                self.wait_state("success", f"'{name}'")
                self.assertEqual(self.geometry(), GEOMETRIES[name])
                self.assertEqual(self.paused(), [])

    def random_faults(self):
        self.cluster.faults("* /... chance=5 -> 500", "* /... chance=3 -> reset",
                            "* /... chance=3 retry-after=1 -> 429",
                            "PATCH /... chance=5 -> drop", "WATCH /... chance=20 bytes=2000 -> torn",
                            "* /... chance=1 -> disconnect")
        self.cluster.migemu(self.node, "fault add",
                            f"*Create* chance=4 seed={SEED} -> INSUFFICIENT_RESOURCES")
        self.cluster.migemu(self.node, "fault add", f"*Destroy* chance=4 seed={SEED} -> IN_USE")

    def final(self, name):
        """The state when it is an answer to a wish for this; a failed one is soon tried again."""
        metadata = self.metadata()
        state = metadata.get("labels", {}).get(STATE)
        message = metadata.get("annotations", {}).get(MESSAGE, "")
        return state if state in FINAL and f"'{name}'" in message else None

    def take_or_give_back(self, randomly, held):
        """Somebody begins to compute on a slice that is there now, or ends; returns what is held."""
        if held:
            self.cluster.migemu(self.node, "job stop", "all")
            return None
        slices = sorted(self.devices())
        if not slices:
            return None
        held = randomly.choice(slices)
        try:
            self.cluster.migemu(self.node, "job start", "--on", held, "--name", "train.py")
        except AssertionError:  # a change that is tried again took it meanwhile
            return None
        return held

    def test_random_changes_under_random_faults(self):
        """Labels that change at random, requests and driver calls that fail, slices that are taken."""
        randomly = random.Random(SEED)
        self.addCleanup(self.cluster.migemu, self.node, "job stop", "all")
        self.start()
        self.assert_in_place("all-disabled")
        self.random_faults()
        sizes, states, held = [], {"success": 0, "failed": 0}, None
        for count in range(CHANGES):
            name = randomly.choice(list(GEOMETRIES))
            self.wish(name)
            if randomly.random() < 0.3:
                time.sleep(randomly.uniform(0, 0.05))  # changes its mind
                continue
            with self.subTest(seed=SEED, change=count, config=name):
                state = until(lambda name=name: self.final(name),
                              lambda: f"{self.state()}: {self.message()}\n{self.log()}", 90, 0.05)
                states[state] += 1
                if state == "success":
                    self.assertEqual(self.geometry(), GEOMETRIES[name])
                self.assertEqual(self.paused(), [])
                self.assertIn(held or "", self.devices().keys() | {""})
            if randomly.random() < 0.15:
                held = self.take_or_give_back(randomly, held)
            sizes.append(self.migd.usage()[1])
        print(f"# {CHANGES} changes: {states}, {sizes[0]:.1f} to {sizes[-1]:.1f} MiB", flush=True)
        self.cluster.faults()
        self.cluster.migemu(self.node, "fault clear")
        self.cluster.migemu(self.node, "job stop", "all")
        self.assert_in_place("all-balanced")
        half = len(sizes) // 2
        self.assertLess(max(sizes[half:]), max(sizes[:half]) + 4, f"MiB of memory: {sizes}")
