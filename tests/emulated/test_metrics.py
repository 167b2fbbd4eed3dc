# SPDX-License-Identifier: Apache-2.0
"""Metrics and labels of a running migd on an emulated driver. Names of tests carry the rows of
docs/compatibility.md."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), HERE]
import tap  # noqa: E402
from node import CONFIG, Node, run  # noqa: E402
from test_migd import Migd, status_of, until  # noqa: E402

SERIES = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')
OURS = {"gpu", "UUID", "pci_bus_id", "device", "modelName", "GPU_I_PROFILE", "GPU_I_ID",
        "Hostname", "DCGM_FI_DRIVER_VERSION", "GPU_CI_ID", "MIG_UUID"}
# dcgm-exporter's names are kept, also where a linter would have others
LINT = re.compile(r"^(?:DCGM_|migd_mig_device_)\S+ (counter metrics should have \"_total\" suffix|"
                  r"non-counter metrics should not have \"_total\" suffix|"
                  r"label names should be written in 'snake_case' not 'camelCase'|"
                  r"metric name should not include type 'counter'|"
                  r"metric names should not contain abbreviated units|"
                  r"use base unit .*)$")
PROMTOOL = pathlib.Path(os.environ.get("MIGD_PEERS") or
                        os.path.expanduser("~/.cache/migd-peers")) / "promtool/usr/bin/promtool"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def parse(text):
    """[(name, labels, value)]; every line has to be a series or a comment."""
    found = []
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = SERIES.match(line).groups()
            found.append((name, dict(LABEL.findall(labels or "")), float(value)))
    return found


class Case(unittest.TestCase):
    def begin(self, gpus, *options, driver="550.90.07", **env):
        self.node = Node(*gpus.split(), options=("--mig", "on", "--driver", driver))
        self.addCleanup(self.node.close)
        self.port = free_port()
        self.migd = Migd(self.node, "--listen", f"127.0.0.1:{self.port}", *options, **env)
        self.addCleanup(lambda: self.migd.process.poll() is None and self.migd.kill())
        until(self.is_up, lambda: "no answer: " + self.migd.log())

    scrapes = 0

    def scrape(self):
        self.scrapes += 1
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            self.assertEqual(answer.headers["Content-Type"],
                             "text/plain; version=0.0.4; charset=utf-8")
            return answer.read().decode()

    def is_up(self):
        try:
            return "migd_snapshot_generation" in self.scrape()
        except OSError:
            return False

    def smi(self, *arguments):
        done = run(["nvidia-smi", "mig", *arguments], self.node.env)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def uuids(self):
        return set(re.findall("MIG-[0-9a-f-]+", run(["nvidia-smi", "-L"], self.node.env).stdout))

    def told(self, name="DCGM_FI_DEV_FB_USED"):
        return {labels["MIG_UUID"] for found, labels, _ in parse(self.scrape())
                if found == name and "MIG_UUID" in labels}


class Metrics(Case):
    def test_m1_m2_m3_names_and_labels(self):
        self.begin("A30*2", "--roles", "metrics")
        self.smi("-cgi", "14,5", "-C", "-i", "0")
        until(lambda: self.told() == self.uuids(), self.scrape)
        until(lambda: "DCGM_FI_DEV_POWER_USAGE" in self.scrape(), self.scrape)
        text = self.scrape()
        lines = [line for line in text.splitlines() if line.startswith("DCGM_FI_DEV_SM_CLOCK{")]
        self.assertEqual(len(lines), 3)  # two slices and the GPU without any
        order = [name for name, _ in LABEL.findall(lines[0])]
        self.assertEqual(order, ["gpu", "UUID", "pci_bus_id", "device", "modelName",
                                 "GPU_I_PROFILE", "GPU_I_ID", "Hostname", "DCGM_FI_DRIVER_VERSION",
                                 "GPU_CI_ID", "MIG_UUID"])
        profiles = {labels["GPU_I_PROFILE"] for name, labels, _ in parse(text)
                    if name == "DCGM_FI_DEV_FB_USED" and "GPU_I_PROFILE" in labels}
        self.assertEqual(profiles, {"1g.6gb", "2g.12gb"})

    def test_m1_promtool(self):
        if not PROMTOOL.exists():
            self.skipTest("promtool is not here: run tests/clients/fetch-peers to get it")
        self.begin("A30 H100-PCIe", "--roles", "metrics")
        self.smi("-cgi", "14,14", "-C", "-i", "0")
        until(lambda: "DCGM_FI_DEV_POWER_USAGE" in self.scrape(), self.scrape)
        time.sleep(0.5)
        done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=self.scrape(), text=True,
                              capture_output=True, timeout=60, check=False)
        self.assertIn(done.returncode, [0, 3], done.stderr)  # 1: it cannot be read
        findings = [line for line in done.stderr.splitlines() if not LINT.match(line)]
        self.assertEqual(findings, [], done.stderr)

    def test_m9_slices_come_and_go_while_scraped(self):
        seconds = float(os.environ.get("MIGD_SCRAPE_S", "6"))
        self.begin("A100-SXM4-40GB*2", "--roles", "metrics")
        agent = until(lambda: self.migd.part(privileged=False), "an agent")
        profiles = [["-cgi", "19,19,19"], ["-cgi", "9,14"], ["-cgi", "0"], ["-cgi", "14,14,14"]]
        rounds = self.scrapes = series = 0
        resident = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            create = profiles[rounds % len(profiles)]
            self.smi(*create, "-C", "-i", str(rounds % 2))
            before = self.uuids()
            until(lambda: self.told() == before, self.scrape)
            for name, labels, _ in parse(self.scrape()):
                series += 1
                if name.startswith("DCGM_"):
                    self.assertLessEqual(set(labels), OURS)
                    self.assertIn(labels.get("MIG_UUID", next(iter(before))), before)
            self.smi("-dci", "-i", str(rounds % 2))
            self.smi("-dgi", "-i", str(rounds % 2))
            until(lambda: not self.told(), self.scrape)
            rounds += 1
            resident.append(int(status_of(agent, "VmRSS").split()[0]))
        print(f"# {rounds} geometries in {seconds:.0f} s, {self.scrapes} scrapes, {series} series "
              f"looked at; the agent had {resident[0]} KiB, and {resident[-1]} at the end",
              flush=True)
        self.assertGreater(rounds, 2)
        self.assertEqual(self.migd.stop(), 0, self.migd.log())
        if rounds > 20:  # flat: the last fifth is not above the second
            fifth = rounds // 5
            self.assertLess(max(resident[-fifth:]), max(resident[fifth:2 * fifth]) + 512, resident)

    def test_m8_56_slices(self):
        self.begin("A100-SXM4-40GB*8", "--roles", "metrics,labels")
        for gpu in range(8):
            self.smi("-cgi", "19,19,19,19,19,19,19", "-C", "-i", str(gpu))
        until(lambda: len(self.told("DCGM_FI_DEV_POWER_USAGE")) == 56, self.scrape)
        agent = self.migd.part(privileged=False)
        took = []
        for _ in range(20):
            start = time.monotonic()
            size = len(self.scrape())
            took.append((time.monotonic() - start) * 1000)
        resident = {"agent": status_of(agent, "VmRSS"),
                    "helper": status_of(self.migd.part(privileged=True), "VmRSS"),
                    "supervisor": status_of(self.migd.process.pid, "VmRSS")}
        print(f"# 56 slices: a scrape takes {sorted(took)[10]:.1f} ms, {size} bytes; {resident}")
        if "san" not in os.environ.get("MIG_BUILD", ""):  # a sanitizer needs memory of its own
            self.assertLess(int(resident["agent"].split()[0]), 16384)


class Health(Case):
    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_o1_health_and_readiness(self):
        self.begin("A30", "--roles", "metrics")
        self.assertEqual(self.get("/healthz"), (200, "ok\n"))
        self.assertIn(self.get("/readyz")[0], [200, 503])
        self.assertEqual(self.get("/metrics")[0], 200)
        self.assertEqual(self.get("/other")[0], 404)


class Own(Case):
    def test_m7_changes_of_geometry_are_counted(self):
        self.begin("A30", "--roles", "manager,metrics", "--config-file", CONFIG, "--config",
                   "all-balanced")
        self.migd.wait_for("success")
        until(lambda: 'migd_applies_total{result="applied"} 1\n' in self.scrape(), self.scrape)
        text = self.scrape()
        self.assertIn('migd_reconcile_seconds_count{result="success"} 1\n', text)
        self.assertEqual(len(self.told()), 3)

    def test_m7_h5_recovery_action(self):
        self.begin("A30 A30", "--roles", "metrics", driver="570.86.15")

        def actions():
            return sorted(value for name, _, value in parse(self.scrape())
                          if name == "migd_gpu_recovery_action")
        until(lambda: actions() == [0, 0], self.scrape)
        self.node.migemu("recovery", "--gpu", "1", "node-reboot")
        until(lambda: actions() == [0, 2], self.scrape)


class Labels(Case):
    def label_folder(self, name):
        folder = pathlib.Path("/dev/shm") if os.path.isdir("/dev/shm") else pathlib.Path("/tmp")
        folder = folder / f"migd-labels-{os.getpid()}-{name}"
        folder.mkdir()
        self.addCleanup(shutil.rmtree, folder, True)
        folder.chmod(0o777)
        return folder

    def test_g7_g10_g13_file_of_an_agent_without_privileges(self):
        file = self.label_folder("file") / "gfd"
        self.begin("A30", "--roles", "labels,metrics", "--labels-to", "file", "--labels-file",
                   str(file), MIG_STRATEGY="mixed")
        until(file.exists, self.migd.log)
        self.assertNotIn("mig-1g.6gb.count", file.read_text())
        stamp = re.search(r"^nvidia.com/gfd.timestamp=(\d+)$", file.read_text(), re.M)
        self.assertLess(abs(time.time() - int(stamp.group(1))), 60)
        self.smi("-cgi", "14", "-C")
        start = time.monotonic()
        until(lambda: "nvidia.com/mig-1g.6gb.count=1\n" in file.read_text(), self.migd.log)
        self.assertLess(time.monotonic() - start, 10)  # 2 s without load; see the figure
        print(f"# labels {time.monotonic() - start:.2f} s after the change")
        self.assertEqual(file.stat().st_mode & 0o777, 0o644)
        if os.geteuid() == 0:
            self.assertNotEqual(file.stat().st_uid, 0)
        self.assertEqual(self.migd.stop(), 0)
        text = file.read_text()
        self.assertIn("nvidia.com/mig-1g.6gb.count=1\n", text)  # kept at the end
        self.assertIn(stamp.group(0), text)  # a change of instances is no change of settings

    def test_g3_strategy_by_option_without_a_device_plugin(self):
        file = self.label_folder("strategy") / "gfd"
        self.begin("A30", "--roles", "labels,metrics", "--labels-to", "file", "--labels-file",
                   str(file), "--mig-strategy", "mixed")
        until(file.exists, self.migd.log)
        self.assertIn("nvidia.com/mig.strategy=mixed\n", file.read_text())
        self.assertEqual(self.migd.stop(), 0)

    def test_g1_no_timestamp(self):
        for number, (options, environment) in enumerate([(["--no-timestamp"], {}),
                                                         ([], {"GFD_NO_TIMESTAMP": "true"})]):
            folder = self.label_folder(number)
            self.begin("A30", "--roles", "labels,metrics", "--labels-to", "file", "--labels-file",
                       str(folder / "gfd"), *options, **environment)
            until((folder / "gfd").exists, self.migd.log)
            text = (folder / "gfd").read_text()
            self.assertIn("nvidia.com/gpu.count=1\n", text)
            self.assertNotIn("timestamp", text)
            self.assertEqual(self.migd.stop(), 0)


if __name__ == "__main__":
    tap.main()
