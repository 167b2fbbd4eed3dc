# SPDX-License-Identifier: Apache-2.0
"""migd's device plugin before the real kubelet: pods get slices of their own, changes are seen, restarts of the
kubelet lose nothing."""
import datetime
import os
import re
import time

from cluster_case import HERE, pod, until
from migd_case import LARGE, SMALL, DevicePluginCase

CONFIGS = str(HERE / "configs.yaml")
ROUNDS = int(os.environ.get("MIGD_ROUNDS", "4"))
REGISTER_S = 2.0
SOCKET = "/var/lib/kubelet/device-plugins/kubelet.sock"


class DevicePlugin(DevicePluginCase):
    def begin(self, roles="manager,device-plugin", *options):
        self.start("--config-file", CONFIGS, "--roles", roles, "--mig-strategy", "mixed",
                   "--poll-interval", "200ms", *options)

    def log_of(self, name):
        return until(lambda: self.cluster.output("logs", name), f"{name} has no log").splitlines()

    def test_R1_N1_pods_get_slices_of_their_own(self):
        self.begin()
        self.apply("balanced")
        self.wait_slices(small=2, large=1)
        script = ["sh", "-c", "nvidia-smi -L; trap exit TERM; while :; do sleep 1; done"]
        self.cluster.apply(pod("large", self.node, {LARGE: "1"}, script))
        for name in ("a", "b"):
            self.cluster.apply(pod(name, self.node, {SMALL: "1"}, script))
        for name in ("large", "a", "b"):
            self.cluster.wait_phase(name, "Running")
        seen = [self.log_of(name) for name in ("large", "a", "b")]
        self.assertEqual([len(one) for one in seen], [2, 2, 2])  # the GPU, and one slice
        self.assertEqual({re.search("MIG-[0-9a-f-]+", one[1]).group(0) for one in seen},
                         set(self.devices()))
        # the third of its kind waits, and starts when one is freed
        self.cluster.apply(pod("c", self.node, {SMALL: "1"}, script))
        time.sleep(1)
        self.assertEqual(self.cluster.phase("c"), "Pending")
        self.cluster.output("delete", "pod", "a", "--now")
        self.cluster.wait_phase("c", "Running")
        # what pods hold is not taken from them
        for name in ("b", "c", "large"):
            self.cluster.output("delete", "pod", name, "--now")
        self.apply("all-disabled")
        until(lambda: SMALL not in self.allocatable() and LARGE not in self.allocatable(),
              lambda: self.allocatable())

    def test_K17_the_kubelet_finds_it_in_plugins_registry(self):
        registry = "/var/lib/kubelet/plugins_registry"

        def sockets():
            return self.cluster.on(self.node, "ls", registry).stdout.split()
        self.begin("manager,device-plugin", "--plugin-registration", "registry")
        self.apply("balanced")
        self.wait_slices(small=2, large=1)
        self.assertEqual(sorted(sockets()), ["nvidia-mig-1g.6gb.sock", "nvidia-mig-2g.12gb.sock"])
        script = ["sh", "-c", "nvidia-smi -L; trap exit TERM; while :; do sleep 1; done"]
        self.cluster.apply(pod("a", self.node, {SMALL: "1"}, script))
        self.cluster.wait_phase("a", "Running")
        self.assertEqual(len(self.log_of("a")), 2)
        # one that is started again finds it by itself
        before = self.socket_made_s()
        self.cluster.tell("kill kubelet", self.node)
        until(lambda: self.socket_made_s() > before, "no new kubelet", 30)
        made = self.socket_made_s()
        until(lambda: len(self.registered_s(made)) >= 2, self.log, 30)
        self.wait_slices(small=2, large=1)
        self.assertEqual(self.cluster.phase("a"), "Running")
        self.cluster.output("delete", "pod", "a", "--now")
        # a resource that goes takes its socket with it
        self.apply("without-2g")
        until(lambda: LARGE not in self.allocatable(), self.allocatable)
        until(lambda: sockets() == ["nvidia-mig-1g.6gb.sock"], sockets)

    def registered_s(self, since):
        """When the plugin was registered after a time: of the last resource of a round."""
        times = [datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
                 for stamp in re.findall(r"^(\S+Z) info plugin: \S+ registered", self.migd.output(),
                                         re.M)]
        return [one for one in times if one > since]

    def socket_made_s(self):
        done = self.cluster.on(self.node, "stat", "-c", "%.9Z", SOCKET)
        return float(done.stdout) if done.returncode == 0 else 0

    def test_K6_kubelet_restarts_while_slices_change(self):
        self.succeeds(self.cluster.on(self.node, "sh", "-c",
                                      "nvidia-smi -mig 1 && nvidia-smi mig -cgi 14,14 -C"))
        self.begin("device-plugin")
        self.wait_slices(small=2)
        slowest_s = 0
        for number in range(ROUNDS):
            before = self.socket_made_s()
            self.cluster.tell("kill kubelet", self.node)
            if number % 2 == 0:
                self.succeeds(self.cluster.on(self.node, "nvidia-smi", "mig", "-cgi", "5", "-C"))
            else:
                gi = re.search(r"MIG 2g.12gb\s+\d+\s+(\d+)", self.succeeds(
                    self.cluster.on(self.node, "nvidia-smi", "mig", "-lgi"))).group(1)
                self.succeeds(self.cluster.on(self.node, "sh", "-c",
                                              f"nvidia-smi mig -dci -gi {gi} && "
                                              f"nvidia-smi mig -dgi -gi {gi}"))
            made = until(lambda before=before: max(0, self.socket_made_s() - before) and
                         self.socket_made_s(), "no new kubelet", 30, 0.05)
            until(lambda made=made: self.registered_s(made), self.log, 20, 0.05)
            slowest_s = max(slowest_s, min(self.registered_s(made)) - made)
            if number % 2 == 0:
                self.wait_slices(small=2, large=1)
            else:
                self.wait_slices(small=2)
        print(f"# {ROUNDS} restarts, registered within {slowest_s:.2f} s", flush=True)
        self.assertLess(slowest_s, REGISTER_S)
