#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The device plugin before a kubelet on grpc's own implementation. The names of the tests begin with the row of
docs/compatibility.md that they show."""
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time

from client_case import BUILD, Client, peer_path, tap

WAIT_S = 20
PROGRAM = BUILD / "tests/clients/device-plugin"
MIGD = BUILD / "src/daemon/migd"
BASE = "version: v1\nflags:\n  migStrategy: {}\n  plugin: {{deviceListStrategy: [{}]}}\n"


def until(check, what, limit_s=WAIT_S):
    deadline = time.monotonic() + limit_s
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"not yet: {what()}")
        time.sleep(0.05)


class Plugin:
    """The program, its events as they come."""

    def __init__(self, case, node, directory, config):
        host = node.path / "host"
        self.cdi = directory / "cdi"
        self.config = directory / "config.yaml"
        self.config.write_text(config, encoding="utf-8")
        self.process = subprocess.Popen(
            [PROGRAM, directory, self.cdi, host if host.is_dir() else node.path, directory, self.config],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=node.environment)
        self.events = []
        self.queue = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        case.addCleanup(self.close)

    def read(self):
        for line in self.process.stdout:
            self.events.append(line.rstrip("\n"))
            self.queue.put(self.events[-1])
        self.queue.put(None)

    def say(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def reload(self, config):
        self.config.write_text(config, encoding="utf-8")
        self.say("config", self.config)

    def expect(self, pattern, seconds=WAIT_S):
        """The next event that matches."""
        limit = time.monotonic() + seconds
        while True:
            try:
                line = self.queue.get(timeout=max(0.01, limit - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no event {pattern!r} among {self.events}")
            if re.search(pattern, line):
                return line

    def stats(self):
        self.say("stats")
        line = self.expect("^stats ")
        return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}

    def close(self):
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        try:
            self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class KubeletCase(Client):
    peer = "python-grpc"
    package = "grpcio"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        sys.path.insert(0, str(peer_path("python-grpc")))

    def setup(self, *gpus, strategy="mixed", lists="envvar", config="", delay_s=0,
              driver="550.90.07"):
        from fake_kubelet import FakeKubelet
        arguments = [word for gpu in gpus for word in ("--gpu", gpu)]
        self.machine = self.node(*arguments, "--mig", "on", "--driver", driver)
        self.kubelet = FakeKubelet(str(self.scratch), delay_s).start()
        self.addCleanup(lambda: self.kubelet.stop())
        self.base = BASE.format(strategy, lists) + config
        return self.machine

    def create(self, gpu, *profiles):
        self.succeeds(self.machine.smi("mig", "-cgi", ",".join(profiles), "-C", "-i", str(gpu)))

    def destroy(self, gpu, gi):
        self.succeeds(self.machine.smi("mig", "-dci", "-gi", str(gi), "-i", str(gpu)))
        self.succeeds(self.machine.smi("mig", "-dgi", "-gi", str(gi), "-i", str(gpu)))

    def uuids(self, kind="MIG"):
        return re.findall(kind + "-[0-9a-f-]+", self.succeeds(self.machine.smi("-L")))

    def sees(self, seconds=WAIT_S, **wanted):
        """Waits until the kubelet has {resource, "." as "__": allocatable}."""
        named = {"nvidia.com/" + name.replace("__", ".").replace("_", "-"): count
                 for name, count in wanted.items()}
        found = self.kubelet.wait(lambda: all(self.kubelet.allocatable(name) == count
                                              for name, count in named.items()), seconds)
        self.assertTrue(found, {name: self.kubelet.allocatable(name) for name in named})


class DevicePluginRows(KubeletCase):
    """Registers with grpc's kubelet, follows MIG changes, restarts of the kubelet and errors, and allocates in
    every list strategy"""
    client = "grpcio as the kubelet"

    def begin(self):
        self.plugin = Plugin(self, self.machine, self.scratch, self.base)
        return self.plugin

    # ---- registration ----

    def test_K1_K2_K3_registers_and_serves_the_call_back(self):
        self.setup("A30", delay_s=0.3)
        self.create(0, "14", "14", "5")
        stale = self.scratch / "device-plugins/nvidia-mig-1g.6gb.sock"
        stale.write_text("an old one")
        self.begin()
        self.sees(mig_1g__6gb=2, mig_2g__12gb=1)
        seen = {name: rest for _, name, *rest in self.kubelet.registrations}
        self.assertEqual(seen["nvidia.com/mig-1g.6gb"],
                         ["v1beta1", "nvidia-mig-1g.6gb.sock", {2: 1}])
        self.assertEqual(self.kubelet.resources["nvidia.com/mig-1g.6gb"].options, {2: 1})
        self.assertTrue(stale.is_socket())

    def test_K4_R1_R3_changes_are_pushed_to_those_concerned(self):
        self.setup("A30*2")
        self.create(0, "14", "14")
        self.create(1, "5")
        self.begin()
        self.sees(mig_1g__6gb=2, mig_2g__12gb=1)
        self.create(0, "14")
        before = time.monotonic()
        self.plugin.say("update")
        self.sees(mig_1g__6gb=3)
        self.assertLess(time.monotonic() - before, 2)
        self.plugin.say("update")  # nothing has changed
        self.plugin.stats()
        resource = self.kubelet.resources
        self.assertEqual(len(resource["nvidia.com/mig-2g.12gb"].lists), 1)
        self.assertEqual([len(one) for one in resource["nvidia.com/mig-1g.6gb"].lists], [2, 3])

    def test_K5_a_vanished_resource_is_announced_empty_first(self):
        self.setup("A30")
        self.create(0, "14", "5")
        self.begin()
        self.sees(mig_1g__6gb=1, mig_2g__12gb=1)
        gone = self.kubelet.resources["nvidia.com/mig-2g.12gb"]
        gi = re.search(r"MIG 2g.12gb\s+\d+\s+(\d+)", self.succeeds(self.machine.smi("mig", "-lgi")))
        self.destroy(0, gi.group(1))
        self.plugin.say("update")
        self.assertTrue(self.kubelet.wait(lambda: gone.ended))
        self.assertEqual([len(one) for one in gone.lists], [1, 0])
        self.plugin.expect("^withdrawn nvidia.com/mig-2g.12gb")
        self.assertEqual(self.kubelet.allocatable("nvidia.com/mig-1g.6gb"), 1)
        # and comes back
        self.create(0, "5")
        self.plugin.say("update")
        self.assertTrue(self.kubelet.wait(lambda: len(gone.lists) == 3))

    def test_K6_K7_restarted_kubelet_is_found_within_2_s(self):
        self.setup("A30")
        self.create(0, "14", "14", "5")
        self.begin()
        self.sees(mig_1g__6gb=2, mig_2g__12gb=1)
        calls = self.plugin.stats()["calls"]
        for _ in range(3):
            self.kubelet.restart()
            self.sees(2, mig_1g__6gb=2, mig_2g__12gb=1)
        self.assertEqual(self.plugin.stats()["calls"], calls)  # the driver was not asked

    def test_K6_kubelet_down_for_a_while(self):
        self.setup("A30")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        self.kubelet.stop()
        (self.scratch / "device-plugins/kubelet.sock").unlink(missing_ok=True)
        self.plugin.expect("^register-failed")
        self.create(0, "5")
        self.plugin.say("update")
        time.sleep(0.5)
        self.kubelet.resources = {}
        self.kubelet.start()
        self.sees(2, mig_1g__6gb=1, mig_2g__12gb=1)

    def test_K6_stream_loss_alone(self):
        self.setup("A30")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        registrations = len(self.kubelet.registrations)
        self.kubelet.resources["nvidia.com/mig-1g.6gb"].channel.close()
        self.assertTrue(self.kubelet.wait(
            lambda: len(self.kubelet.registrations) == registrations + 1, 2))

    def test_K6_many_restarts_while_slices_change(self):
        rounds = int(os.environ.get("MIGD_RESTARTS", "8"))
        self.setup("A30*2")
        self.create(0, "14", "14", "14", "14")
        self.begin()
        self.sees(mig_1g__6gb=4)
        for number in range(rounds):
            restarting = threading.Thread(target=self.kubelet.restart)
            restarting.start()
            if number % 2 == 0:
                self.create(1, "14")
            else:
                self.destroy(1, re.findall(r"^\|\s+1\s+MIG 1g.6gb\s+\d+\s+(\d+)",
                                           self.succeeds(self.machine.smi("mig", "-lgi")), re.M)[0])
            self.plugin.say("update")
            restarting.join()
            self.sees(2, mig_1g__6gb=5 if number % 2 == 0 else 4)
            devices = [one.id for one in self.kubelet.resources["nvidia.com/mig-1g.6gb"].lists[-1]]
            self.assertEqual(sorted(devices), sorted(set(devices)))
            self.assertEqual(set(devices), set(self.uuids()))

    def test_K8_one_failing_resource_does_not_stop_others(self):
        self.setup("A30")
        self.create(0, "14", "5")
        self.kubelet.refuse.add("nvidia.com/mig-2g.12gb")
        self.begin()
        self.sees(mig_1g__6gb=1)
        self.plugin.expect("^register-failed nvidia.com/mig-2g.12gb.*not this one")
        self.kubelet.refuse.clear()
        self.sees(mig_1g__6gb=1, mig_2g__12gb=1)
        self.assertEqual(
            len([one for one in self.kubelet.registrations if one[1] == "nvidia.com/mig-1g.6gb"]), 1)

    def test_K17_sockets_in_plugins_registry(self):
        self.setup("A30")
        self.kubelet.watch_registry()
        self.create(0, "14", "5")
        self.machine.environment["BY_REGISTRY"] = "1"
        self.begin()
        self.sees(mig_1g__6gb=1, mig_2g__12gb=1)
        until(lambda: self.plugin.stats()["registrations"] == 2, self.plugin.stats)
        gi = re.search(r"MIG 2g.12gb\s+\d+\s+(\d+)", self.succeeds(self.machine.smi("mig", "-lgi")))
        self.destroy(0, gi.group(1))
        self.plugin.say("update")
        self.plugin.expect("^withdrawn nvidia.com/mig-2g.12gb")
        registry = self.scratch / "plugins_registry"
        until(lambda: os.listdir(registry) == ["nvidia-mig-1g.6gb.sock"],
              lambda: os.listdir(registry))
        self.create(0, "5")
        self.plugin.say("update")
        self.sees(mig_1g__6gb=1, mig_2g__12gb=1)

    def test_K14_pre_start(self):
        self.setup("A30")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        self.assertEqual(self.kubelet.call("nvidia.com/mig-1g.6gb", "PreStartContainer", b""), b"")

    def test_K18_many_calls_at_once_on_one_connection(self):
        import concurrent.futures
        self.setup("A100-SXM4-40GB")
        self.create(0, *["19"] * 7)
        self.begin()
        self.sees(mig_1g__5gb=7)
        name = "nvidia.com/mig-1g.5gb"
        ids = list(self.kubelet.resources[name].devices())
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda i: self.kubelet.allocate(name, [ids[i % 7]]), range(200)))
        for number, answer in enumerate(answers):
            self.assertEqual(answer.envs, {"NVIDIA_VISIBLE_DEVICES": ids[number % 7]})
        # a list of many thousand devices crosses every window of flow control
        self.plugin.reload(self.base + "sharing: {timeSlicing: {resources: "
                           "[{name: nvidia.com/mig-1g.5gb, replicas: 1000}]}}\n")
        self.sees(mig_1g__5gb=7000)
        many = self.kubelet.free(name)
        self.assertEqual(self.kubelet.preferred(name, many, 2), ["%s::0" % one for one in ids[:2]])

    # ---- allocation ----

    def test_K9_unknown_devices_are_refused(self):
        import grpc
        self.setup("A30")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        with self.assertRaises(grpc.RpcError) as caught:
            self.kubelet.allocate("nvidia.com/mig-1g.6gb", ["MIG-none"])
        self.assertIn("has no such device", caught.exception.details())
        self.plugin.expect("^refused nvidia.com/mig-1g.6gb")

    def test_L10_two_resources_in_one_container(self):
        self.setup("A30", lists="cdi-cri")
        self.create(0, "14", "5")
        self.begin()
        self.sees(mig_1g__6gb=1, mig_2g__12gb=1)
        wanted = {"nvidia.com/mig-1g.6gb": 1, "nvidia.com/mig-2g.12gb": 1}
        names = sorted(f"k8s.device-plugin.nvidia.com/gpu={one}" for one in self.uuids())
        self.assertEqual(sorted(self.kubelet.admit("cri", wanted).cdi), names)
        self.kubelet.end("cri")
        self.plugin.reload(BASE.format("mixed", "cdi-annotations"))
        self.plugin.stats()
        annotations = self.kubelet.admit("annotations", wanted).annotations
        self.assertEqual(sorted(annotations.values()), names)
        for key in annotations:
            self.assertRegex(key, r"^cdi\.k8s\.io/nvidia-device-plugin_[0-9a-f-]{36}$")
        self.kubelet.end("annotations")
        self.plugin.reload(BASE.format("mixed", "volume-mounts"))
        self.plugin.stats()
        mounts = self.kubelet.admit("mounts", wanted)
        self.assertEqual({os.path.basename(one[0]) for one in mounts.mounts}, set(self.uuids()))
        self.assertEqual(mounts.envs,
                         {"NVIDIA_VISIBLE_DEVICES": "/var/run/nvidia-container-devices"})

    def test_L10_what_is_not_seen_is_said(self):
        self.setup("A30")
        self.create(0, "14", "14", "5")
        self.begin()
        self.sees(mig_1g__6gb=2, mig_2g__12gb=1)
        self.kubelet.admit("one", {"nvidia.com/mig-1g.6gb": 1})
        seen = self.kubelet.admit("two", {"nvidia.com/mig-1g.6gb": 1, "nvidia.com/mig-2g.12gb": 1})
        self.assertEqual(len(seen.envs["NVIDIA_VISIBLE_DEVICES"].split(",")), 1)
        said = self.plugin.expect("^untold ")
        self.assertIn("of pod default/two holds devices of", said)
        for name in ("nvidia.com/mig-1g.6gb", "nvidia.com/mig-2g.12gb", "cdi-cri"):
            self.assertIn(name, said)
        # once, and of nobody else
        for name in ("one", "two"):
            self.kubelet.end(name)
        self.kubelet.admit("three", {"nvidia.com/mig-1g.6gb": 1})
        self.plugin.reload(BASE.format("mixed", "cdi-cri"))
        self.plugin.stats()
        self.kubelet.admit("four", {"nvidia.com/mig-1g.6gb": 1, "nvidia.com/mig-2g.12gb": 1})
        time.sleep(2)
        self.plugin.stats()
        self.assertEqual(len([one for one in self.plugin.events if one.startswith("untold")]), 1)

    def test_D4_file_before_list(self):
        self.setup("A30", lists="cdi-cri")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        path = self.plugin.cdi / "k8s.device-plugin.nvidia.com-gpu.json"
        for _ in range(3):
            self.create(0, "14")
            self.plugin.say("update")
            known = len(self.kubelet.resources["nvidia.com/mig-1g.6gb"].lists)
            self.assertTrue(self.kubelet.wait(
                lambda: len(self.kubelet.resources["nvidia.com/mig-1g.6gb"].lists) > known or
                len(self.kubelet.resources["nvidia.com/mig-1g.6gb"].devices()) == len(self.uuids())))
            document = json.loads(path.read_text(encoding="utf-8"))
            self.assertTrue(set(self.kubelet.resources["nvidia.com/mig-1g.6gb"].devices()) <=
                            {one["name"] for one in document["devices"]})

    def test_D4_a_file_of_an_earlier_life_goes(self):
        self.setup("A30", lists="envvar")
        path = self.scratch / "cdi/k8s.device-plugin.nvidia.com-gpu.json"
        path.parent.mkdir()
        path.write_text('{"devices": [{"name": "MIG-that-was"}]}', encoding="utf-8")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        self.assertFalse(path.exists())

    def test_D4_unwritable_directory_keeps_new_devices_back(self):
        self.setup("A30", lists="cdi-cri")
        (self.scratch / "cdi").write_text("not a directory")
        self.create(0, "14")
        self.begin()
        self.plugin.expect("^failed ")
        self.assertTrue(self.kubelet.wait(
            lambda: self.kubelet.capacity("nvidia.com/mig-1g.6gb") == 1))
        self.assertEqual(self.kubelet.allocatable("nvidia.com/mig-1g.6gb"), 0)
        (self.scratch / "cdi").unlink()
        self.sees(mig_1g__6gb=1)

    def test_D3_instances_whose_files_come_late(self):
        self.setup("A30", lists="cdi-cri")
        files = pathlib.Path(self.machine.path, "host/proc/driver")
        self.create(0, "14")
        away = files.rename(files.with_name("away"))
        self.begin()
        self.plugin.expect("^unhealthy .*has no place in the CDI specification")
        self.assertTrue(self.kubelet.wait(
            lambda: self.kubelet.capacity("nvidia.com/mig-1g.6gb") == 1))
        self.assertEqual(self.kubelet.allocatable("nvidia.com/mig-1g.6gb"), 0)
        away.rename(files)
        self.sees(mig_1g__6gb=1)

    # ---- settings ----

    def test_F4_N1_strategy_changes_live(self):
        self.setup("A30")
        self.create(0, "14", "14", "14", "14")
        self.begin()
        self.sees(mig_1g__6gb=4)
        self.plugin.reload(BASE.format("single", "envvar"))
        self.sees(mig_1g__6gb=0, gpu=4)
        self.plugin.reload(BASE.format("none", "envvar"))
        self.sees(gpu=1)
        self.plugin.reload("version: v9\n")
        self.plugin.expect("^error .*version has to be v1")
        self.sees(gpu=1)

    # ---- health, and devices that pods hold ----

    def test_H3_H4_errors_and_recovery(self):
        self.setup("A100-SXM4-40GB*2", config="health: {holdDownSeconds: 0}\n")
        for gpu in (0, 1):
            self.create(gpu, *["19"] * 3, "14")
        self.begin()
        self.sees(mig_1g__5gb=6, mig_2g__10gb=2)
        first, second = self.uuids("GPU")
        self.plugin.say("xid", first, 0xffffffff, 0xffffffff, 95)
        self.sees(mig_1g__5gb=3, mig_2g__10gb=1)
        self.plugin.say("xid", second, 0xffffffff, 0xffffffff, 31)  # of an application
        self.plugin.stats()
        self.sees(mig_1g__5gb=3, mig_2g__10gb=1)
        self.plugin.say("update")  # that the driver answers is no recovery
        self.plugin.stats()
        self.sees(mig_1g__5gb=3, mig_2g__10gb=1)
        self.plugin.say("reset", first)
        self.plugin.say("update")
        self.sees(mig_1g__5gb=6, mig_2g__10gb=2)

    def test_H6_lost_gpu_leaves_the_others_working(self):
        self.setup("A30*2")
        self.create(0, "14", "14")
        self.create(1, "14")
        self.begin()
        self.sees(mig_1g__6gb=3)
        self.succeeds(self.machine.migemu("xid", "--gpu", "0", "79"))
        self.plugin.say("update")
        self.sees(mig_1g__6gb=1)
        name = "nvidia.com/mig-1g.6gb"
        self.assertEqual(self.kubelet.capacity(name), 3)
        self.assertEqual(self.kubelet.preferred(name, self.kubelet.free(name), 1),
                         self.kubelet.free(name))

    def test_R2_a_held_device_stays_until_the_pod_ends(self):
        self.setup("A30")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        name = "nvidia.com/mig-1g.6gb"
        self.kubelet.admit("holder", {name: 1})
        self.destroy(0, re.search(r"MIG 1g.6gb\s+\d+\s+(\d+)",
                                  self.succeeds(self.machine.smi("mig", "-lgi"))).group(1))
        self.plugin.say("update")
        self.plugin.expect("^unhealthy .*held by pod default/holder")
        self.assertTrue(self.kubelet.wait(lambda: self.kubelet.allocatable(name) == 0))
        self.assertEqual(self.kubelet.capacity(name), 1)
        self.kubelet.end("holder")
        self.plugin.expect(f"^withdrawn {name}")


class MigdPlugin(KubeletCase):
    """The same within migd: sockets and CDI files by the privileged process, changes and errors as the driver
    tells them"""
    client = "grpcio as the kubelet, of migd"

    def begin(self, *options):
        os.chmod(self.scratch, 0o755)  # the agent is another user
        config = self.scratch / "config.yaml"
        config.write_text(self.base, encoding="utf-8")
        self.log = open(self.scratch / "log", "w+", encoding="utf-8")
        self.addCleanup(self.log.close)
        process = subprocess.Popen(
            [MIGD, "--roles", "device-plugin", "--state-dir", self.scratch / "state", "--kubelet-dir",
             self.scratch, "--cdi-dir", self.scratch / "cdi", "--plugin-config-file", config,
             "--poll-interval", "200ms", "--log-level", "debug", *options],
            env=self.machine.environment, stderr=self.log, stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        return process

    def said(self):
        return (self.scratch / "log").read_text(encoding="utf-8")

    def test_R1_changes_of_others_are_seen(self):
        self.setup("A30*2")
        self.create(0, "14", "14")
        self.begin()
        self.sees(mig_1g__6gb=2)
        self.create(1, "5")
        self.sees(mig_1g__6gb=2, mig_2g__12gb=1)
        self.destroy(1, re.findall(r"MIG 2g.12gb\s+\d+\s+(\d+)",
                                   self.succeeds(self.machine.smi("mig", "-lgi")))[0])
        self.sees(mig_1g__6gb=2, mig_2g__12gb=0)
        self.assertEqual(len(self.kubelet.resources["nvidia.com/mig-1g.6gb"].lists), 1)

    def test_H1_H3_errors_of_the_driver(self):
        self.setup("A100-SXM4-40GB*2")
        for gpu in (0, 1):
            self.create(gpu, "19", "19")
        self.begin()
        self.sees(mig_1g__5gb=4)
        self.is_watching(2)
        self.succeeds(self.machine.migemu("xid", "--gpu", "1", "31"))
        self.succeeds(self.machine.migemu("xid", "--gpu", "0", "74"))
        self.sees(mig_1g__5gb=2)
        self.assertEqual(self.kubelet.capacity("nvidia.com/mig-1g.5gb"), 4)

    def is_watching(self, gpus):
        self.assertTrue(self.kubelet.wait(lambda: self.machine.migemu("trace").stdout.count(
            "nvmlDeviceRegisterEvents") >= gpus))

    def test_H5_the_driver_asks_for_recovery(self):
        self.setup("A30*2", config="health: {holdDownSeconds: 0}\n", driver="570.86.15")
        for gpu in (0, 1):
            self.create(gpu, "14", "14")
        self.begin("--roles", "device-plugin,metrics", "--listen", "127.0.0.1:0")
        self.sees(mig_1g__6gb=4)
        self.is_watching(2)
        self.succeeds(self.machine.migemu("recovery", "--gpu", "1", "drain-and-reset"))
        self.sees(mig_1g__6gb=2)
        self.assertEqual(self.kubelet.capacity("nvidia.com/mig-1g.6gb"), 4)
        self.assertIn("the driver asks for the GPU to be drained and reset", self.said())
        # of the fabric: the GPU works; and none
        for action in ("recover-imex-domain", "none"):
            self.succeeds(self.machine.migemu("recovery", "--gpu", "1", action))
            self.sees(mig_1g__6gb=4)
        # a reset lifts what the driver asked for, and the error before it, without an event
        self.succeeds(self.machine.smi("-mig", "0"))
        self.sees(gpu=2, mig_1g__6gb=0)
        self.succeeds(self.machine.migemu("xid", "--gpu", "0", "95"))
        self.sees(gpu=1)
        self.succeeds(self.machine.migemu("reset", "--gpu", "0"))
        self.sees(gpu=2)

    def test_H5_a_driver_that_does_not_tell(self):
        self.setup("A30", config="health: {holdDownSeconds: 0}\n")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        self.is_watching(1)
        self.succeeds(self.machine.migemu("recovery", "gpu-reset"))
        time.sleep(1)
        self.sees(mig_1g__6gb=1)
        asked = self.machine.migemu("trace").stdout.count("nvmlDeviceGetFieldValues")
        self.assertLessEqual(asked, 2)  # it said so, and is not asked again

    def begin_with_wishes(self):
        """Two GPUs without MIG mode; the function that is returned wishes for slices on both"""
        self.setup("A100-SXM4-40GB*2", config="health: {holdDownSeconds: 0}\n")
        self.succeeds(self.machine.smi("-mig", "0", "-i", "0"))
        wishes = self.scratch / "wishes.yaml"
        wishes.write_text("version: v1\nmig-configs:\n"
                          "  off: [{devices: all, mig-enabled: false}]\n"
                          "  on: [{devices: all, mig-enabled: true, mig-devices: {1g.5gb: 2}}]\n",
                          encoding="utf-8")
        settings = self.scratch / "settings.yaml"
        settings.write_text("config: off\n", encoding="utf-8")
        process = self.begin("--roles", "manager,device-plugin", "--config-file", wishes,
                             "--settings", settings)
        self.sees(gpu=2)
        self.is_watching(2)

        def wish():
            settings.write_text("config: on\n", encoding="utf-8")
            process.send_signal(signal.SIGHUP)
        return wish

    def test_H4_a_reset_by_a_change_of_migd_lifts_marks(self):
        wish = self.begin_with_wishes()
        self.succeeds(self.machine.migemu("xid", "--gpu", "0", "74"))
        self.sees(gpu=1)
        wish()
        self.sees(mig_1g__5gb=4, gpu=0)

    def test_H4_a_reset_by_recovery_lifts_marks(self):
        """The helper dies in a change, and the next one undoes it: nobody has asked for that reset"""
        wish = self.begin_with_wishes()
        self.succeeds(self.machine.migemu("xid", "--gpu", "0", "74"))
        self.sees(gpu=1)
        self.succeeds(self.machine.migemu(["fault", "add"], "DeviceCreateGpuInstance* -> KILL"))
        wish()
        self.sees(gpu=2)
        self.assertIn("an interrupted change was dealt with", self.said())

    def test_D4_F4_files_by_the_privileged_process(self):
        self.setup("A30", lists="cdi-cri")
        self.create(0, "14", "14")
        self.begin()
        if os.path.exists("/proc/driver/nvidia-caps/mig-minors"):
            self.sees(mig_1g__6gb=2)
            path = self.scratch / "cdi/k8s.device-plugin.nvidia.com-gpu.json"
            document = json.loads(path.read_text(encoding="utf-8"))
            self.assertEqual({one["name"] for one in document["devices"]}, set(self.uuids()))
        else:  # what the file cannot have is given to nobody
            name = "nvidia.com/mig-1g.6gb"
            self.assertTrue(self.kubelet.wait(lambda: self.kubelet.capacity(name) == 2))
            self.assertEqual(self.kubelet.allocatable(name), 0)
        (self.scratch / "config.yaml").write_text(BASE.format("single", "envvar"), encoding="utf-8")
        self.sees(mig_1g__6gb=0, gpu=2)

    def test_F3_F4_configs_in_a_folder(self):
        """Laid out and changed as the kubelet does it with a ConfigMap; without a cluster the default
        counts"""
        self.setup("A30")
        self.create(0, "14", "14")
        folder = self.scratch / "configs"

        def mount(version, **configs):
            (folder / version).mkdir(parents=True)
            for name, strategy in configs.items():
                (folder / version / name).write_text(BASE.format(strategy, "envvar"), encoding="utf-8")
                if not (folder / name).is_symlink():
                    (folder / name).symlink_to(f"..data/{name}")
            (folder / "..new").symlink_to(version)
            (folder / "..new").rename(folder / "..data")

        mount("..1", slices="mixed", whole="none")
        self.begin("--plugin-config-file", "", "--plugin-config-dir", folder,
                   "--plugin-default-config", "slices")
        self.sees(mig_1g__6gb=2)
        mount("..2", slices="single", whole="none")
        self.sees(mig_1g__6gb=0, gpu=2)
        mount("..3", slices="nonsense", whole="none")
        time.sleep(1)
        self.sees(gpu=2)
        self.assertIn("'nonsense' is not one of", self.said())

    def test_F5_sighup_reads_settings_again(self):
        self.setup("A30")
        self.create(0, "14", "14")
        self.base = "version: v1\n"
        settings = self.scratch / "settings.yaml"
        settings.write_text("mig-strategy: mixed\n", encoding="utf-8")
        process = self.begin("--settings", str(settings))
        self.sees(mig_1g__6gb=2)
        settings.write_text("mig-strategy: single\n", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        self.sees(mig_1g__6gb=0, gpu=2)

    def test_F6_a_driver_that_comes_later(self):
        self.setup("A30")
        self.create(0, "14", "14")
        self.succeeds(self.machine.migemu(["fault", "add"], "nvmlInit_v2 -> DRIVER_NOT_LOADED"))
        self.succeeds(self.machine.migemu(["fault", "add"],
                                          "nvmlInitWithFlags -> DRIVER_NOT_LOADED"))
        process = self.begin()
        time.sleep(1)
        self.assertIsNone(process.poll())
        self.assertEqual(self.kubelet.registrations, [])
        self.succeeds(self.machine.migemu(["fault", "clear"]))
        self.sees(mig_1g__6gb=2)

    def test_H7_ends_at_once_and_does_not_spin(self):
        self.setup("A30")
        self.create(0, "14")
        self.succeeds(self.machine.migemu(["fault", "add"], "nvmlEventSetWait_v2 -> UNKNOWN"))
        process = self.begin()
        self.sees(mig_1g__6gb=1)
        before = os.times().children_user + os.times().children_system
        time.sleep(2)
        began = time.monotonic()
        process.terminate()
        process.wait(WAIT_S)
        self.assertLess(time.monotonic() - began, 2)
        used = os.times().children_user + os.times().children_system - before
        self.assertLess(used, 1.5)  # of all its processes, with what they took to start

    def test_K17_found_in_plugins_registry(self):
        self.setup("A30")
        self.kubelet.watch_registry()
        self.kubelet.refuse.add("nvidia.com/mig-2g.12gb")
        self.create(0, "14", "5")
        self.begin("--plugin-registration", "registry")
        self.sees(mig_1g__6gb=1)
        self.assertEqual([one[1:4] for one in self.kubelet.registrations],
                         [("nvidia.com/mig-1g.6gb", "v1beta1", "nvidia-mig-1g.6gb.sock")])
        self.assertEqual(os.listdir(self.scratch / "device-plugins"), ["kubelet.sock"])
        # one that is refused is told, does not stop the other, and may come later
        refused = "does not register nvidia.com/mig-2g.12gb: not this one"
        until(lambda: refused in self.said(), self.said)
        self.kubelet.refuse.clear()
        self.sees(mig_1g__6gb=1, mig_2g__12gb=1)
        admitted = self.kubelet.admit("pod", {"nvidia.com/mig-1g.6gb": 1})
        self.assertIn(admitted.envs["NVIDIA_VISIBLE_DEVICES"], self.uuids())
        # a resource that goes takes its socket with it
        gone = self.kubelet.resources["nvidia.com/mig-2g.12gb"]
        self.destroy(0, re.findall(r"MIG 2g.12gb\s+\d+\s+(\d+)",
                                   self.succeeds(self.machine.smi("mig", "-lgi")))[0])
        self.assertTrue(self.kubelet.wait(lambda: gone.ended))
        self.assertEqual(len(gone.lists[-1]), 0)
        registry = self.scratch / "plugins_registry"
        until(lambda: os.listdir(registry) == ["nvidia-mig-1g.6gb.sock"],
              lambda: os.listdir(registry))

    def test_K17_kubelet_restarts(self):
        self.setup("A30")
        self.kubelet.watch_registry()
        self.create(0, "14")
        self.begin("--plugin-registration", "registry")
        self.sees(mig_1g__6gb=1)
        for _ in range(3):
            self.kubelet.stop()
            self.kubelet.resources = {}
            self.create(0, "14")
            self.kubelet.start().watch_registry()
            self.sees(mig_1g__6gb=len(self.uuids()))

    def test_K6_kubelet_restarts(self):
        self.setup("A30")
        self.create(0, "14")
        self.begin()
        self.sees(mig_1g__6gb=1)
        for _ in range(3):
            self.kubelet.restart()
            self.sees(4, mig_1g__6gb=1)


if __name__ == "__main__":
    tap.main()
