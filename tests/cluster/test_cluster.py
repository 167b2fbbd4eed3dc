# SPDX-License-Identifier: Apache-2.0
"""The test cluster itself: nodes become ready, pods run, and nothing is left when it ends."""
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

from cluster_case import COMMAND, ClusterCase, call, pod, why_not


class Running(ClusterCase):
    def test_nodes_are_ready(self):
        nodes = self.cluster.get("nodes")["items"]
        self.assertEqual([node["metadata"]["name"] for node in nodes], ["node1", "node2", "node3"])

    def test_pods_run_on_each_node_and_reach_the_api_server(self):
        ask = ["sh", "-c", "hostname; nc -w 5 $KUBERNETES_SERVICE_HOST 443 </dev/null && echo met"]
        self.cluster.apply(*(pod(f"ask-{node}", node, command=ask) for node in ("node1", "node2")))
        for node in ("node1", "node2"):
            self.cluster.wait_phase(f"ask-{node}", "Succeeded")
            self.assertEqual(self.cluster.output("logs", f"ask-{node}"), f"ask-{node}\nmet\n")
            self.cluster.output("delete", "pod", f"ask-{node}", "--now")

    def test_each_node_has_its_own_gpus(self):
        for node, count in (("node1", 1), ("node2", 1), ("node3", 8)):
            listed = self.succeeds(self.cluster.on(node, "nvidia-smi", "-L")).splitlines()
            self.assertEqual(len(listed), count)
        self.cluster.on("node1", "nvidia-smi", "-mig", "1")
        try:
            modes = [self.cluster.on(node, "nvidia-smi", "--query-gpu=mig.mode.current",
                                     "--format=csv,noheader").stdout.split()
                     for node in ("node1", "node2")]
        finally:
            self.cluster.on("node1", "nvidia-smi", "-mig", "0")
        self.assertEqual(modes, [["Enabled"], ["Disabled"]])

    def test_node_shows_the_files_of_the_driver(self):
        for path in ("/proc/driver/nvidia/version", "/proc/driver/nvidia/capabilities/mig/config",
                     "/dev/nvidiactl", "/dev/nvidia0", "/run/nvidia/driver/usr/bin/nvidia-smi"):
            self.succeeds(self.cluster.on("node1", "test", "-e", path))
        self.assertNotEqual(call("test", "-e", "/run/nvidia/driver").returncode, 0)


class Containers(ClusterCase):
    """The GPUs that a container sees are those it was given."""

    def setUp(self):
        self.cluster.on("node3", "nvidia-smi", "-i", "0", "-mig", "1")
        self.cluster.on("node3", "nvidia-smi", "mig", "-i", "0", "-cgi", "9,14,19", "-C")
        self.addCleanup(self.forget)

    def forget(self):
        self.cluster.output("delete", "pods", "--all", "--now")
        for what in (("mig", "-i", "0", "-dci"), ("mig", "-i", "0", "-dgi"),
                     ("-i", "0", "-mig", "0")):
            self.cluster.on("node3", "nvidia-smi", *what)

    def seen_with(self, visible):
        """What nvidia-smi -L prints in a container with NVIDIA_VISIBLE_DEVICES."""
        name = "seen-" + str(len(visible))
        one = pod(name, "node3", command=["nvidia-smi", "-L"])
        one["spec"]["containers"][0]["env"] = [{"name": "NVIDIA_VISIBLE_DEVICES",
                                                "value": visible}]
        self.cluster.apply(one)
        self.cluster.wait_phase(name, "Succeeded")
        return self.cluster.output("logs", name).splitlines()

    def test_all(self):
        listed = self.succeeds(self.cluster.on("node3", "nvidia-smi", "-L")).splitlines()
        self.assertEqual(len(listed), 11)
        self.assertEqual(self.seen_with("all"), listed)

    def test_one_mig_device(self):
        listed = self.succeeds(self.cluster.on("node3", "nvidia-smi", "-L")).splitlines()
        uuid = listed[2].split("UUID: ")[1].rstrip(")")
        seen = self.seen_with(uuid)
        self.assertEqual(seen, [listed[0], listed[2].replace("Device  1", "Device  0")])

    def test_one_gpu(self):
        listed = self.succeeds(self.cluster.on("node3", "nvidia-smi", "-L")).splitlines()
        self.assertEqual(self.seen_with("5"), [listed[-3].replace("GPU 5", "GPU 0")])


@unittest.skipIf(why_not(), why_not())
class Leftovers(unittest.TestCase):
    """However it ends, no process, mount, namespace, interface, or cgroup of it stays."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp")
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name) / "c"

    def start(self):
        return subprocess.Popen([COMMAND, "-C", self.directory, "up", "--nodes", "1"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def traces(self):
        """All that knows the directory's name: processes, mounts; and cgroups of its number."""
        found = []
        own = str(self.directory).encode()
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if own in (entry / "cmdline").read_bytes():
                    found.append(f"process {(entry / 'cmdline').read_bytes()}")
            except OSError:
                continue
        found += [line for line in pathlib.Path("/proc/self/mountinfo").read_text(
            encoding="utf-8").splitlines() if str(self.directory) in line]
        return found

    def assert_nothing_left(self, ident):
        deadline = time.monotonic() + 20
        while self.traces() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(self.traces(), [])
        if ident:
            self.assertNotIn(ident, call(COMMAND, "leftovers").stdout)

    def ident(self):
        path = self.directory / "cluster.json"
        return path.read_text(encoding="utf-8").split('"')[3] if path.exists() else ""

    def run_and_signal(self, number, after_s):
        process = self.start()
        time.sleep(after_s)
        ident = self.ident()
        process.send_signal(number)
        process.wait(60)
        return ident

    def test_interrupted_and_killed_starts(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for after_s in (0.2, 1.0, 4.0):
                with self.subTest(signal=number.name, after_s=after_s):
                    ident = self.run_and_signal(number, after_s)
                    if number == signal.SIGKILL:
                        time.sleep(0.5)
                        call(COMMAND, "-C", self.directory, "down")
                    self.assert_nothing_left(ident)
                    self.assertFalse(self.directory.exists())

    def test_down(self):
        self.assertEqual(self.start().wait(200), 0)
        ident = self.ident()
        self.assertIn(ident, call(COMMAND, "leftovers").stdout)
        self.assertEqual(call(COMMAND, "-C", self.directory, "down").returncode, 0)
        self.assert_nothing_left(ident)

    def test_killed_keeper(self):
        """The outermost process of a running cluster dies: all of it ends, down removes the rest."""
        self.assertEqual(self.start().wait(200), 0)
        ident = self.ident()
        keeper = int((self.directory / "pid").read_text(encoding="utf-8").split()[0])
        os.kill(keeper, signal.SIGKILL)
        time.sleep(1)
        self.assertEqual(call(COMMAND, "-C", self.directory, "down").returncode, 0)
        self.assert_nothing_left(ident)
