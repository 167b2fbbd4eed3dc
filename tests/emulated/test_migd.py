# SPDX-License-Identifier: Apache-2.0
"""migd on one machine without a cluster: real processes on an emulated driver."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from node import BUILD, CONFIG, Node, run  # noqa: E402
from patience import until  # noqa: E402

MIGD = os.path.join(BUILD, "src/daemon/migd")
HELPER = os.path.join(BUILD, "src/daemon/migd-helper")
MANAGER = os.path.join(BUILD, "src/daemon/nvidia-mig-manager")
NETWORK_LIBRARIES = ("libssl", "libcrypto", "libgnutls", "libnghttp2", "libmicrohttpd", "libuv",
                     "libprotobuf-c")
LIMIT_S = 30
BALANCED = ["1g.6gb", "1g.6gb", "2g.12gb"]


def children(pid):
    """Pids of the live descendants."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = [int(word) for word in task.read_text(encoding="ascii").split()]
        except OSError:
            continue
        for child in below:
            found += [child] + children(child)
    return found


def status_of(pid, field):
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith(field + ":"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return None


class Migd:
    """A running migd with its state in the node's folder."""

    def __init__(self, node, *options, program=MIGD, **env):
        self.node = node
        os.chmod(node.directory, 0o755)  # the agent is another user
        self.state = os.path.join(node.directory, "state")
        self.log_path = os.path.join(node.directory, "log")
        pathlib.Path(self.state, "agent/manager.json").unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [program, "--state-dir", self.state, "--poll-interval", "200ms", "--log-format",
                 "json", "--log-level", "debug", *options],
                env=dict(node.env, **env), stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True)

    def log(self):
        with open(self.log_path, encoding="utf-8") as log:
            return log.read()

    def lines(self):
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def word(self):
        try:
            with open(os.path.join(self.state, "agent/manager.json"), encoding="utf-8") as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}

    def wait_for(self, state, limit_s=LIMIT_S):
        def check():
            if self.process.poll() is not None:
                raise AssertionError(f"migd ended with {self.process.returncode}: {self.log()}")
            word = self.word()
            return word if word.get("state") == state else None
        return until(check, lambda: f"state {state}; {self.word()}\n{self.log()[-4000:]}", limit_s)

    def pids(self):
        return [self.process.pid] + children(self.process.pid)

    def part(self, privileged):
        """Pid of the helper, or of the agent: the child with, or without, effective capabilities."""
        for pid in children(self.process.pid):
            effective = status_of(pid, "CapEff")
            if effective is not None and (int(effective, 16) != 0) == privileged:
                return pid
        return None

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self):
        """Everything at once, as a power cut would."""
        for pid in reversed(self.pids()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(LIMIT_S)


class MigdCase(unittest.TestCase):
    def setUp(self):
        self.running = []
        self.node = Node("A30*2")
        self.addCleanup(self.node.close)

    def tearDown(self):
        for migd in self.running:
            if migd.process.poll() is None:
                migd.kill()

    def migd(self, *options, config="all-balanced", file=CONFIG, **env):
        argv = ["--config-file", file] if file else []
        argv += ["--config", config] if config else []
        self.running.append(Migd(self.node, *argv, *options, **env))
        return self.running[-1]

    def profiles(self):
        """Sorted profiles of each GPU."""
        _, document = self.node.json("status")
        return [sorted(instance["profile"] for instance in gpu["instances"])
                for gpu in document["gpus"]]

    def wait_for_profiles(self, wanted, limit_s=LIMIT_S):
        until(lambda: self.profiles() == wanted, lambda: f"{wanted}, found {self.profiles()}", limit_s)


class Geometry(MigdCase):
    def test_applies_and_tells(self):
        migd = self.migd()
        word = migd.wait_for("success")
        self.assertEqual(word["wanted"], "all-balanced")
        self.assertEqual(self.profiles(), [BALANCED, BALANCED])
        code, document = self.node.json("status", "--state-dir", migd.state)
        self.assertEqual(code, 0)
        self.assertEqual(document["manager"]["state"], "success")
        self.assertEqual(document["manager"]["wanted"], "all-balanced")
        text = self.node.migctl("status", "--state-dir", migd.state).stdout
        self.assertIn("migd: success  all-balanced  since ", text)
        self.assertEqual(migd.stop(), 0, migd.log())
        self.assertEqual(children(migd.process.pid) if os.path.exists(
            f"/proc/{migd.process.pid}") else [], [])
        self.assertEqual(self.profiles(), [BALANCED, BALANCED])

    def test_no_status_without_migd(self):
        _, document = self.node.json("status", "--state-dir", self.node.directory)
        self.assertIsNone(document["manager"])

    def test_nothing_is_touched_when_it_fits_already(self):
        self.node.apply("all-balanced")
        before = self.node.json("status")[1]["gpus"]
        self.migd().wait_for("success")
        after = self.node.json("status")[1]["gpus"]
        self.assertEqual([gpu["instances"] for gpu in before], [gpu["instances"] for gpu in after])

    def test_unknown_config(self):
        word = self.migd(config="no-such-config").wait_for("failed")
        self.assertIn("no-such-config", word["message"])
        self.assertEqual(self.profiles(), [[], []])

    def test_generated_configs(self):
        self.migd(file=None).wait_for("success")
        self.assertEqual(self.profiles(), [BALANCED, BALANCED])

    def test_holder_is_named_and_kept(self):
        self.node.apply("all-balanced")
        _, document = self.node.json("status")
        uuid = next(ci["uuid"] for instance in document["gpus"][0]["instances"]
                    for ci in instance["compute_instances"] if instance["profile"] == "2g.12gb")
        job = self.node.migemu("job start", "--on", uuid, "--memory", "1G", "--name", "train.py")
        migd = self.migd(config="all-1g.6gb")
        word = migd.wait_for("failed")
        self.assertIn("train.py", word["message"])
        self.assertEqual(self.profiles()[0], BALANCED)
        pid = next(word for word in job.stdout.split() if word.isdigit())
        self.node.migemu("job stop", pid)
        migd.wait_for("success", 60)  # it is tried again by itself
        self.assertEqual(self.profiles(), [["1g.6gb"] * 4] * 2)


class Drift(MigdCase):
    def destroy_one(self):
        _, document = self.node.json("status")
        instance = next(i for i in document["gpus"][1]["instances"] if i["profile"] == "2g.12gb")
        done = self.node.migctl("destroy", "--gpu", "1", "--gi", str(instance["gi_id"]))
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_told_within_seconds(self):
        migd = self.migd()
        migd.wait_for("success")
        self.destroy_one()
        until(lambda: "2g.12gb" in migd.word().get("message", "") or
              migd.word().get("state") == "failed", lambda: f"{migd.word()}", 10)
        self.assertEqual(self.profiles()[1], ["1g.6gb", "1g.6gb"])

    def test_repaired(self):
        migd = self.migd("--repair-drift")
        migd.wait_for("success")
        self.destroy_one()
        self.wait_for_profiles([BALANCED, BALANCED])
        migd.wait_for("success")


class TwoPrograms(MigdCase):
    """migd and migd-helper: what each has of the other's, and what is refused."""

    def install(self, change=None):
        """A folder with a migd of its own; `change` is given the path of its migd-helper."""
        folder = pathlib.Path(self.node.directory, "installed")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(MIGD, folder / "migd")
        if change:
            change(str(folder / "migd-helper"))
        return str(folder / "migd")

    def refused(self, program):
        """What migd says when it ends."""
        migd = Migd(self.node, "--config", "all-balanced", "--config-file", CONFIG,
                    program=program, PATH=os.path.dirname(MIGD) + ":" + self.node.env["PATH"])
        self.addCleanup(lambda: migd.process.poll() is None and migd.kill())
        before = len(migd.log())
        migd.process.wait(LIMIT_S)
        until(lambda: "cannot run" in migd.log()[before:], "a line of the log")
        self.assertNotIn("privileged process runs", migd.log())
        self.assertFalse(os.path.exists(migd.state))
        self.assertEqual(self.profiles(), [[], []])
        return migd.process.returncode, migd.log()[before:]

    def test_what_each_has_in_memory(self):
        migd = self.migd()
        migd.wait_for("success")
        agent, helper = migd.part(False), migd.part(True)
        if agent is None or helper is None:
            self.skipTest("cannot tell the processes apart: needs root")

        def maps(pid):
            return pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        for pid in (migd.process.pid, helper):
            self.assertEqual(os.path.realpath(f"/proc/{pid}/exe"), os.path.realpath(HELPER))
            for name in NETWORK_LIBRARIES:
                self.assertNotIn(name, maps(pid))
        self.assertIn("libnvidia-ml.so", maps(helper))
        self.assertNotIn("libnvidia-ml.so", maps(migd.process.pid))
        self.assertIn("libssl", maps(agent))
        self.assertNotIn("libnvidia-ml.so", maps(agent))

    def test_replaced_while_it_runs(self):
        """A package that is installed over it changes nothing of what runs."""
        program = self.install(lambda path: shutil.copy(HELPER, path))
        migd = Migd(self.node, "--config", "all-balanced", "--config-file", CONFIG, program=program)
        self.running.append(migd)
        migd.wait_for("success")
        helper = migd.part(True)
        if helper is None:
            self.skipTest("cannot tell the processes apart: needs root")
        shutil.rmtree(os.path.dirname(program))
        os.kill(helper, signal.SIGKILL)
        until(lambda: migd.part(True) not in (None, helper), migd.log)
        self.assertEqual(migd.stop(), 0, migd.log())

    def test_missing(self):
        code, said = self.refused(self.install())
        self.assertEqual(code, 1, said)
        self.assertIn("could not find the program of the privileged process", said)
        self.assertIn("install migd again", said)

    def test_another_version(self):
        def change(path):
            own = run([HELPER, "--version"]).stdout.split()[-1].encode()
            with open(HELPER, "rb") as file:
                bytes_ = file.read()
            self.assertIn(own, bytes_)
            with open(path, "wb") as file:
                file.write(bytes_.replace(own, own[:-1] + (b"0" if own[-1:] != b"0" else b"1")))
            os.chmod(path, 0o755)
        code, said = self.refused(self.install(change))
        self.assertEqual(code, 1, said)
        self.assertIn("migd-helper is of another version", said)

    def test_another_program(self):
        said = self.refused(self.install(lambda path: shutil.copy("/bin/true", path)))[1]
        self.assertIn("migd-helper ended before it had started", said)

        def script(path):
            pathlib.Path(path).write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
            os.chmod(path, 0o755)
        code, said = self.refused(self.install(script))
        self.assertEqual(code, 1, said)
        self.assertIn("could not run migd-helper", said)

    def test_others_could_have_changed_it(self):
        def open_to_all(path):
            shutil.copy(HELPER, path)
            os.chmod(path, 0o777)

        def of_another(path):
            shutil.copy(HELPER, path)
            os.chown(path, 65534, 65534)
        for change in (open_to_all, of_another)[:2 if os.geteuid() == 0 else 1]:
            code, said = self.refused(self.install(change))
            self.assertEqual(code, 1, said)
            self.assertIn("can be changed by others", said)

    def test_not_for_people(self):
        self.assertIn("migd-helper ", run([HELPER, "--version"]).stdout)
        for words in ([], ["--help"], ["1", "2"], ["1", "x", "3"], ["1", "2", "0"]):
            done = run([HELPER, *words])
            self.assertEqual(done.returncode, 2, words)
            self.assertIn("migd starts it", done.stderr)


class Life(MigdCase):
    def test_two_processes_and_their_rights(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        migd = self.migd()
        migd.wait_for("success")
        agent, helper = migd.part(False), migd.part(True)
        self.assertIsNotNone(agent, migd.log())
        self.assertIsNotNone(helper, migd.log())
        self.assertEqual(status_of(agent, "Uid").split(), ["65534"] * 4)
        self.assertEqual(status_of(agent, "Groups"), "")
        self.assertEqual(status_of(agent, "NoNewPrivs"), "1")
        for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status_of(agent, field), 16), 0, field)
        network = os.readlink(f"/proc/{helper}/ns/net")
        self.assertNotEqual(network, os.readlink("/proc/self/ns/net"))
        self.assertEqual(os.stat(os.path.join(migd.state, "agent")).st_uid, 65534)

    def test_helper_killed(self):
        migd = self.migd("--repair-drift")
        migd.wait_for("success")
        helper = migd.part(True)
        if helper is None:
            self.skipTest("cannot tell the processes apart")
        os.kill(helper, signal.SIGKILL)
        until(lambda: migd.part(True) not in (None, helper), "another helper")
        self.node.apply("all-1g.6gb")
        self.wait_for_profiles([BALANCED, BALANCED], 60)

    def test_killed_at_any_point(self):
        """Whenever all of it is killed, the next one gets there; instances are never doubled."""
        for delay_ms in (5, 20, 40, 60, 90, 130, 200):
            migd = self.migd(config="all-1g.6gb" if delay_ms % 20 else "all-balanced")
            time.sleep(delay_ms / 1000)
            migd.kill()
        self.migd().wait_for("success")
        self.assertEqual(self.profiles(), [BALANCED, BALANCED])

    def test_restored_after_boot(self):
        migd = self.migd()
        migd.wait_for("success")
        migd.stop()
        self.node.migemu("reboot")
        self.assertEqual(self.profiles(), [[], []])
        self.migd().wait_for("success")
        self.assertEqual(self.profiles(), [BALANCED, BALANCED])

    def test_reload(self):
        settings = os.path.join(self.node.directory, "migd.yaml")

        def write(config):
            with open(settings, "w", encoding="utf-8") as file:
                file.write(f"config: {config}\n")
            os.chmod(settings, 0o644)
        write("all-balanced")
        migd = self.migd("--settings", settings, config=None)
        migd.wait_for("success")
        write("all-1g.6gb")
        os.chmod(self.node.directory, 0o755)
        os.kill(migd.process.pid, signal.SIGHUP)
        self.wait_for_profiles([["1g.6gb"] * 4] * 2)
        write("{}")
        os.kill(migd.process.pid, signal.SIGHUP)
        until(lambda: "the old settings stay" in migd.log(), migd.log)
        self.assertIsNone(migd.process.poll())

    def test_config_file_is_followed(self):
        path = os.path.join(self.node.directory, "config.yaml")

        def write(profile, count):
            with open(path + ".new", "w", encoding="utf-8") as file:
                file.write("version: v1\nmig-configs:\n  mine:\n  - devices: all\n"
                           f"    mig-enabled: true\n    mig-devices: {{{profile}: {count}}}\n")
            os.chmod(path + ".new", 0o644)
            os.rename(path + ".new", path)
        write("2g.12gb", 2)
        migd = self.migd(config="mine", file=path)
        migd.wait_for("success")
        self.assertEqual(self.profiles(), [["2g.12gb"] * 2] * 2)
        write("4g.24gb", 1)
        self.wait_for_profiles([["4g.24gb"]] * 2)

    def test_systemd_is_told(self):
        path = os.path.join(self.node.directory, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(path)
            os.chmod(path, 0o777)
            listener.settimeout(LIMIT_S)
            migd = self.migd(NOTIFY_SOCKET=path)
            said = b""
            while b"READY=1" not in said:
                said = listener.recv(4096)
            self.assertEqual(self.profiles(), [BALANCED, BALANCED])
            migd.process.send_signal(signal.SIGTERM)
            while b"STOPPING=1" not in said:
                said = listener.recv(4096)
            self.assertEqual(migd.process.wait(LIMIT_S), 0)

    def test_ready_without_manager(self):
        path = os.path.join(self.node.directory, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(path)
            os.chmod(path, 0o777)
            listener.settimeout(LIMIT_S)
            self.migd(NOTIFY_SOCKET=path, MIGD_ROLES="metrics")
            self.assertIn(b"READY=1", listener.recv(4096))


class Options(unittest.TestCase):
    def test_help_and_version(self):
        self.assertIn("--on-busy", run([MIGD, "--help"]).stdout)
        self.assertIn("migd ", run([MIGD, "--version"]).stdout)
        self.assertEqual(run([MANAGER, "--help"]).returncode, 0)

    def test_refused(self):
        self.assertEqual(run([MIGD, "--no-such"]).returncode, 2)
        done = run([MANAGER])
        self.assertEqual(done.returncode, 2)
        self.assertIn("NODE_NAME", done.stderr)
        done = run([MIGD, "--settings", "/does/not/exist"])
        self.assertEqual(done.returncode, 3)


if __name__ == "__main__":
    tap.main()
