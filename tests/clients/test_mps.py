#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sharing by MPS: migd before a kubelet, with NVIDIA's own nvidia-cuda-mps-control and with our stand-in for it;
and the two beside each other, so that what the stand-in does is what the real one does. Both need no GPU for it:
the real daemon opens one only when a client comes, which cannot be shown here."""
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time
import unittest

import test_device_plugin
from client_case import BUILD, MIGEMU, Client, peer_path, tap

MIGD = BUILD / "src/daemon/migd"
STAND_IN = BUILD / "tests/unit/fake-mps"
CONTROL = "nvidia-cuda-mps-control"
WAIT_S = 20
SHARED = "sharing: {mps: {resources: [{name: RESOURCE, replicas: 4}]}}\n"
WISHES = """version: v1
mig-configs:
  small: [{devices: all, mig-enabled: true, mig-devices: {1g.6gb: 4}}]
  large: [{devices: all, mig-enabled: true, mig-devices: {2g.12gb: 2}}]
  none: [{devices: all, mig-enabled: false}]
"""
NEEDS_MOUNTS = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode


def until(check, what="", seconds=WAIT_S):
    limit = time.monotonic() + seconds
    while not check():
        if time.monotonic() > limit:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)


def listener(pipe):
    """Pid of who listens in a pipe directory; None."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
        try:
            one.connect(str(pathlib.Path(pipe, "control")))
        except OSError:
            return None
        return struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


class MpsCase(test_device_plugin.KubeletCase):
    """migd with some nvidia-cuda-mps-control first in its PATH"""
    program = STAND_IN

    def setUp(self):
        super().setUp()
        if NEEDS_MOUNTS:
            self.skipTest("a mount namespace cannot be made here")
        self.control = self.scratch / "control"
        self.mps = self.scratch / "mps"
        self.processes = []
        self.addCleanup(self.end_all)

    def share(self, gpus, resource, strategy="mixed", lists="envvar"):
        self.setup(gpus, strategy=strategy, lists=lists, config=SHARED.replace("RESOURCE", resource))
        self.control.mkdir()
        (self.control / CONTROL).symlink_to(self.program)
        server = self.control / "server"
        server.write_text(f"#!/bin/sh\nexec {MIGEMU} job start {self.machine.path} --on \"$1\" "
                          "--name nvidia-cuda-mps-server -- sleep 600\n", encoding="utf-8")
        server.chmod(0o755)
        self.environment = dict(self.machine.environment, FAKE_MPS=str(self.control),
                                FAKE_MPS_SERVER=str(server),
                                PATH=f"{self.control}:{self.machine.environment['PATH']}")

    def begin(self, *options, roles="device-plugin"):
        os.chmod(self.scratch, 0o755)  # the agent is another user
        config = self.scratch / "config.yaml"
        config.write_text(self.base, encoding="utf-8")
        with open(self.scratch / "log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [MIGD, "--roles", roles, "--state-dir", self.scratch / "state", "--kubelet-dir", self.scratch,
                 "--cdi-dir", self.scratch / "cdi", "--plugin-config-file", config, "--poll-interval", "200ms",
                 "--log-level", "debug", "--mps-root", self.mps, *options],
                env=self.environment, stderr=log, stdin=subprocess.DEVNULL)
        self.processes.append(self.process)

    def end_all(self):
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
            process.wait(60)

    def stop(self):
        self.process.terminate()
        self.assertEqual(self.process.wait(60), 0)

    def log(self):
        return (self.scratch / "log").read_text(encoding="utf-8")

    def daemon(self, uuid):
        return listener(self.mps / uuid / "pipe")

    def ask(self, uuid, *commands):
        """By a front end of ours; the daemon turns it away while migd's speaks with it."""
        environment = dict(self.environment, CUDA_MPS_PIPE_DIRECTORY=str(self.mps / uuid / "pipe"),
                           CUDA_VISIBLE_DEVICES=uuid)
        for _ in range(20):
            done = subprocess.run([self.control / CONTROL], input="".join(one + "\n" for one in commands),
                                  env=environment, capture_output=True, text=True, timeout=WAIT_S, check=False)
            if done.returncode == 0 and (done.stdout or not commands[-1].startswith("get_default")):
                return done.stdout
            time.sleep(0.1)
        return self.fail(done.stdout + done.stderr)

    def kill_group(self):
        """All of migd, as a power cut would; its MPS daemons are left."""
        pids = [int(pid) for pid in subprocess.run(["pgrep", "-P", str(self.process.pid)], text=True,
                                                   capture_output=True, check=False).stdout.split()]
        pids.append(self.process.pid)
        # at once: a helper that sees its agent end would end the daemons in order
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in reversed(pids):
                os.kill(pid, number)
        self.process.wait(WAIT_S)

    def shares_slices(self):
        self.share("A30", "mig-1g.6gb")
        self.create(0, "14", "14")
        self.begin()
        self.sees(mig_1g__6gb=8)
        return self.uuids()

    def shares_gpus(self, **options):
        self.share("A30*2", "gpu", **options)
        for gpu in "01":
            self.succeeds(self.machine.smi("-mig", "0", "-i", gpu))
        self.begin()
        self.sees(gpu=8)
        return self.uuids("GPU")

    def modes(self):
        return self.succeeds(self.machine.smi("--query-gpu=compute_mode", "--format=csv,noheader")).split()


class MpsSharing:
    """Of whatever program that is."""

    def test_S4_slices(self):
        one, two = self.shares_slices()
        self.assertNotEqual(self.daemon(one), self.daemon(two))
        self.assertEqual(self.ask(one, "get_default_active_thread_percentage"), "25.0\n")
        answer = self.kubelet.admit("pod", {"nvidia.com/mig-1g.6gb": 1})
        uuid = answer.envs["NVIDIA_VISIBLE_DEVICES"]
        self.assertEqual(answer.envs["CUDA_MPS_PIPE_DIRECTORY"], "/mps/nvidia.com/mig-1g.6gb/pipe")
        self.assertEqual(answer.envs["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"], "25")
        self.assertRegex(answer.envs["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"], r"^0=1[0-9]{3}M$")
        mounts = {container: host for container, host, *_ in answer.mounts}
        pipe = mounts["/mps/nvidia.com/mig-1g.6gb/pipe"]
        self.assertEqual(pipe, str(self.mps / uuid / "pipe"))
        self.assertEqual(mounts["/dev/shm"], str(self.mps / uuid / "shm"))
        self.assertTrue(listener(pipe))
        with self.assertRaises(Exception, msg="two replicas"):
            self.kubelet.allocate("nvidia.com/mig-1g.6gb", [f"{uuid}::0", f"{uuid}::1"])
        # each daemon sees its slice, and a /dev/shm of its own
        environment = pathlib.Path(f"/proc/{self.daemon(one)}/environ").read_bytes().split(b"\0")
        self.assertIn(f"CUDA_VISIBLE_DEVICES={one}".encode(), environment)
        (self.mps / one / "shm/mark").touch()
        self.assertTrue(pathlib.Path(f"/proc/{self.daemon(one)}/root/dev/shm/mark").exists())
        self.assertFalse(pathlib.Path(f"/proc/{self.daemon(two)}/root/dev/shm/mark").exists())

    def test_S3_gpus_and_their_compute_mode(self):
        one, two = self.shares_gpus(lists="cdi-annotations")
        self.assertEqual(self.modes(), ["Exclusive_Process"] * 2)
        answer = self.kubelet.admit("pod", {"nvidia.com/gpu": 1})
        self.assertIn("CUDA_MPS_PIPE_DIRECTORY", answer.envs)
        pids = [self.daemon(one), self.daemon(two)]
        self.stop()
        self.assertEqual(self.modes(), ["Default"] * 2)
        self.assertEqual([pid for pid in pids if is_alive(pid)], [])
        self.assertEqual(list(self.mps.iterdir()), [])

    def test_S3_S4_a_daemon_that_dies_comes_back(self):
        one, _ = self.shares_slices()
        pid = self.daemon(one)
        os.kill(pid, signal.SIGKILL)
        self.sees(mig_1g__6gb=4)
        self.sees(mig_1g__6gb=8)
        self.assertNotEqual(self.daemon(one), pid)
        self.assertEqual(self.ask(one, "get_default_active_thread_percentage"), "25.0\n")
        self.assertRegex(self.log(), "its MPS control daemon was ended by signal 9")

    def test_S4_daemons_outlive_the_helper(self):
        uuids = self.shares_slices()
        pids = [self.daemon(uuid) for uuid in uuids]
        lists = len(self.kubelet.resources["nvidia.com/mig-1g.6gb"].lists)
        helper = int(re.findall(r"the privileged process runs \(pid (\d+)\)", self.log())[-1])
        os.kill(helper, signal.SIGKILL)
        until(lambda: self.log().count("is taken over") == 2, self.log)
        self.assertEqual([self.daemon(uuid) for uuid in uuids], pids)
        self.assertEqual(len(self.kubelet.resources["nvidia.com/mig-1g.6gb"].lists), lists)
        self.stop()
        self.assertEqual([pid for pid in pids if is_alive(pid)], [])

    def test_S3_S4_killed_and_started_again(self):
        uuids = self.shares_slices()
        pids = [self.daemon(uuid) for uuid in uuids]
        self.kill_group()
        self.assertEqual([is_alive(pid) for pid in pids], [True, True])
        self.begin()
        until(lambda: self.log().count("is taken over") == 2, self.log)
        self.sees(mig_1g__6gb=8)
        self.assertEqual([self.daemon(uuid) for uuid in uuids], pids)
        # not shared any more while migd was not there
        self.kill_group()
        self.base = test_device_plugin.BASE.format("mixed", "envvar")
        self.begin()
        self.sees(mig_1g__6gb=2)
        until(lambda: not any(is_alive(pid) for pid in pids) and not list(self.mps.iterdir()), self.log)

    def test_S3_what_was_killed_is_put_back_without_the_role(self):
        uuids = self.shares_gpus()
        pids = [self.daemon(uuid) for uuid in uuids]
        self.kill_group()
        self.assertEqual(self.modes(), ["Exclusive_Process"] * 2)
        self.begin(roles="metrics")
        until(lambda: self.modes() == ["Default"] * 2, self.log)
        until(lambda: not any(is_alive(pid) for pid in pids), self.log)

    def test_S4_settings_are_followed(self):
        one, two = self.shares_slices()
        pid = self.daemon(one)
        config = self.scratch / "config.yaml"
        config.write_text(self.base.replace("replicas: 4", "replicas: 2"), encoding="utf-8")
        self.sees(mig_1g__6gb=4)
        until(lambda: self.ask(one, "get_default_active_thread_percentage") == "50.0\n", self.log)
        self.assertEqual(self.daemon(one), pid, self.log())  # its clients stay
        config.write_text(test_device_plugin.BASE.format("mixed", "envvar"), encoding="utf-8")
        self.sees(mig_1g__6gb=2)
        until(lambda: not is_alive(pid) and self.daemon(two) is None, self.log)


class StandIn(MpsCase, MpsSharing):
    """Slices and GPUs shared by MPS with a stand-in for the control program: daemons are started, watched, taken over
    and ended, and are not in the way of changes"""
    client = "migd sharing by MPS"

    def keeps(self, config, resource="mig-1g.6gb"):
        self.share("A30", resource)
        (self.scratch / "wishes.yaml").write_text(WISHES, encoding="utf-8")
        self.settings = self.scratch / "settings.yaml"
        self.settings.write_text(f"config: {config}\n", encoding="utf-8")
        self.begin("--config-file", self.scratch / "wishes.yaml", "--settings", self.settings,
                   roles="manager,device-plugin")

    def wish(self, config):
        self.settings.write_text(f"config: {config}\n", encoding="utf-8")
        self.process.send_signal(signal.SIGHUP)

    def word(self):
        try:
            return json.loads((self.scratch / "state/agent/manager.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def users(self):
        return self.machine.migemu("ps").stdout

    def test_S4_an_idle_server_is_not_in_the_way(self):
        self.keeps("small")
        self.sees(mig_1g__6gb=16)
        uuids = self.uuids()
        pids = [self.daemon(uuid) for uuid in uuids]
        self.ask(uuids[0], "start_server -uid 0")
        until(lambda: "nvidia-cuda-mps-server" in self.users(), self.users)
        self.wish("large")
        self.sees(mig_1g__6gb=0, mig_2g__12gb=2)
        self.assertEqual([pid for pid in pids if is_alive(pid)], [])
        self.assertNotIn("nvidia-cuda-mps-server", self.users())
        until(lambda: not list(self.mps.iterdir()), self.log)
        self.wish("small")
        self.sees(mig_1g__6gb=16)

    def test_S3_a_gpu_that_goes_into_mig_mode(self):
        self.keeps("none", "gpu")
        self.sees(gpu=4)
        uuid = self.uuids("GPU")[0]
        self.assertEqual(self.modes(), ["Exclusive_Process"])
        self.ask(uuid, "start_server -uid 0")
        until(lambda: "nvidia-cuda-mps-server" in self.users(), self.users)
        self.wish("large")
        self.sees(gpu=0, mig_2g__12gb=2)
        self.assertIsNone(self.daemon(uuid))
        self.wish("none")
        self.sees(gpu=4, mig_2g__12gb=0)
        self.assertEqual(self.modes(), ["Exclusive_Process"])
        self.stop()
        self.assertEqual(self.modes(), ["Default"])

    def test_S4_clients_are_in_the_way(self):
        self.keeps("small")
        self.sees(mig_1g__6gb=16)
        uuid = self.uuids()[0]
        self.ask(uuid, "start_server -uid 0")
        until(lambda: "nvidia-cuda-mps-server" in self.users(), self.users)
        (self.control / "clients").write_text("4711\n", encoding="utf-8")
        pid = self.daemon(uuid)
        self.wish("large")
        until(lambda: self.word().get("state") == "failed", self.log)
        self.assertIn("nvidia-cuda-mps-server", self.word()["message"])
        self.assertEqual(self.daemon(uuid), pid)
        self.sees(mig_1g__6gb=16)
        (self.control / "clients").unlink()
        self.wish("small")
        until(lambda: self.word().get("state") == "success", self.log)
        self.wish("large")
        self.sees(mig_2g__12gb=2)

    def test_S3_a_daemon_that_does_not_start(self):
        self.share("A30*2", "gpu")
        for gpu in "01":
            self.succeeds(self.machine.smi("-mig", "0", "-i", gpu))
        bad, good = self.uuids("GPU")
        (self.control / f"fail-{bad}").touch()
        self.begin()
        self.sees(gpu=4)
        self.assertIsNotNone(self.daemon(good))
        self.assertEqual(self.kubelet.capacity("nvidia.com/gpu"), 8)
        until(lambda: "stand-in: told to fail" in self.log(), self.log)
        (self.control / f"fail-{bad}").unlink()
        self.sees(gpu=8)


class RealProgram(MpsCase, MpsSharing):
    """Slices and GPUs shared by MPS with NVIDIA's own control program, without a GPU"""
    client = "nvidia-cuda-mps-control, run by migd"
    branch = "mps-550"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.program = peer_path(cls.branch) / "usr/bin" / CONTROL

    @classmethod
    def version(cls):
        return (peer_path(cls.branch) / "version").read_text(encoding="utf-8").strip()


class RealProgram535(RealProgram):
    """The same with that of an older driver"""
    client = "nvidia-cuda-mps-control of 535, run by migd"
    branch = "mps-535"


class Commands(Client):
    """What the stand-in answers is what the real program answers, to every command that migd uses and to wrong ones"""
    client, peer = "nvidia-cuda-mps-control", "mps-550"
    lines = ["get_default_active_thread_percentage", "set_default_active_thread_percentage 33",
             "get_default_active_thread_percentage", "set_default_active_thread_percentage 0",
             "set_default_active_thread_percentage 300", "set_default_device_pinned_mem_limit 0 512M",
             "get_server_list", "bogus"]

    def transcript(self, program, name):
        """Everything that can be told from outside, pids left out."""
        pipe = self.scratch / name
        pipe.mkdir()
        environment = {"PATH": "/usr/bin:/bin", "CUDA_MPS_PIPE_DIRECTORY": str(pipe),
                       "CUDA_MPS_LOG_DIRECTORY": str(pipe)}

        def front_end(text):
            done = subprocess.run([program], input=text, env=environment, capture_output=True, text=True,
                                  timeout=WAIT_S, check=False)
            return done.returncode, done.stdout

        def start():
            return subprocess.Popen([program, "-f"], env=environment, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
        seen = [front_end("get_server_list\n")]
        daemon = start()
        until(lambda: listener(pipe))
        seen.append(listener(pipe) == daemon.pid)
        seen += [front_end(line + "\n") for line in self.lines]
        seen.append(front_end("\n".join(self.lines)))
        second = subprocess.run([program, "-f"], env=environment, capture_output=True, text=True, check=False)
        seen.append((second.returncode, second.stdout + second.stderr))
        seen += [front_end("quit -t 1\n"), daemon.wait(WAIT_S), listener(pipe)]
        daemon = start()
        until(lambda: listener(pipe))
        daemon.kill()
        daemon.wait(WAIT_S)
        seen.append(listener(pipe))
        daemon = start()  # where another one was killed
        until(lambda: listener(pipe))
        daemon.terminate()
        return [*seen, daemon.wait(WAIT_S) != 0]

    def test_S3_the_stand_in_is_like_the_real_one(self):
        stand_in = self.transcript(STAND_IN, "stand-in")
        for peer in ("mps-535", "mps-550"):
            try:
                program = peer_path(peer) / "usr/bin" / CONTROL
            except unittest.SkipTest:
                continue
            self.assertEqual(self.transcript(program, peer), stand_in, peer)


if __name__ == "__main__":
    tap.main()
