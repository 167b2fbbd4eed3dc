# SPDX-License-Identifier: Apache-2.0
"""Slices of two resources in one container: how the container is told of them, and what is said when it is not.

A file of its own, because what the kubelet, containerd and migd do with it together can only be seen here.
"""
from cluster_case import pod, until
from test_reach import LARGE, LIST, SMALL, UUID, ReachCase


class TwoResources(ReachCase):
    def prepare(self, **environment):
        self.begin(**environment)
        self.apply("balanced")
        self.wait_slices(mig_1g__6gb=2, mig_2g__12gb=1)

    def test_L10_by_default(self):
        # containerd 2 or later, and no runtime of NVIDIA's
        self.prepare()
        log = self.run_pod("both", mig_1g__6gb=2, mig_2g__12gb=1)
        self.assertEqual(set(UUID.findall(log)), set(self.devices()))
        # the variable that the kubelet set is CDI's now: nothing is added twice
        self.assertIn("told: void\n", log)
        self.cluster.output("delete", "pod", "both", "--now")
        log = self.run_pod("one", mig_1g__6gb=1)
        self.assertEqual(len(set(UUID.findall(log))), 1)
        self.assertIn("migd_untold_containers_total 0\n", self.scrape())

    def test_L10_a_container_starts_again_with_what_it_was_told(self):
        # names that were given out stay good when nobody gets names any more
        self.prepare()
        one = pod("both", self.node, {SMALL: "1", LARGE: "1"}, [
            "sh", "-c", "nvidia-smi -L; until [ -e /tmp/end ]; do sleep 0.1; done"])
        one["spec"]["restartPolicy"] = "Always"
        self.cluster.apply(one)
        self.cluster.wait_phase("both", "Running")
        self.stop()
        self.begin(PASS_DEVICE_SPECS="true")  # with which nobody chooses CDI by default
        self.wait_slices(mig_1g__6gb=2, mig_2g__12gb=1)
        path = "/api/v1/namespaces/default/pods/both"

        def starts():
            one = self.cluster.api.get(path)["status"]["containerStatuses"][0]
            return one["restartCount"] if "running" in one["state"] else -1
        self.cluster.output("exec", "both", "--", "touch", "/tmp/end")
        until(lambda: starts() == 1, lambda: self.cluster.output("describe", "pod", "both"))
        log = until(lambda: self.cluster.output("logs", "both"), "no log")
        self.assertEqual(len(set(UUID.findall(log))), 2, log)

    def test_L10_what_is_not_seen_is_said(self):
        self.prepare(DEVICE_LIST_STRATEGY="envvar")
        log = self.run_pod("both", mig_1g__6gb=1, mig_2g__12gb=1)
        self.assertEqual(len(set(UUID.findall(log))), 1)
        until(lambda: "migd_untold_containers_total 1\n" in self.scrape(), self.log, 20)
        said = [line for line in self.migd.output().splitlines() if "not all devices are" in line]
        self.assertEqual(len(said), 1)
        self.assertIn("default/both", said[0])
