#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""migemu: making and removing machines, jobs, faults, snapshots, counters."""
import json
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import MIGEMU, NodeCase, call  # noqa: E402

USAGE, BUSY, IN_USE = 2, 5, 19
VERBS = ["create", "clock", "destroy", "show", "env", "run", "ps", "job", "holder", "fault", "set", "reset",
         "reload", "reboot", "root", "xid", "recovery", "trace", "snapshot", "restore", "diff",
         "stats"]


class Create(NodeCase):
    def test_same_seed_same_identity(self):
        one = self.succeeds(self.node("--gpu", "A30*2", name="one").smi("-L"))
        two = self.succeeds(self.node("--gpu", "A30*2", name="two").smi("-L"))
        other = self.succeeds(self.node("--gpu", "A30*2", "--seed", "7", name="3").smi("-L"))
        self.assertEqual(one, two)
        self.assertNotEqual(one, other)
        self.assertEqual(len(set(one.splitlines())), 2)

    def test_mixed_and_many(self):
        node = self.node("--gpu", "A30", "--gpu", "A100-SXM4-40GB*7", "--gpu", "H100 PCIe*24")
        listed = self.succeeds(node.smi("-L")).splitlines()
        self.assertEqual(len(listed), 32)
        buses = self.succeeds(node.smi("--query-gpu=pci.bus_id", "--format=csv,noheader"))
        self.assertEqual(len(set(buses.splitlines())), 32)

    def test_every_catalogue_gpu_or_a_reason(self):
        names = call(MIGEMU, "create", self.scratch / "x", "--gpu", "nonsense").stderr
        models = [line.strip() for line in names.splitlines() if line.startswith("  ")]
        self.assertGreater(len(models), 30)
        made = 0
        for number, model in enumerate(models):
            with self.subTest(model=model):
                path = self.scratch / f"node{number}"
                done = call(MIGEMU, "create", path, "--gpu", model, "--mig", "on")
                if done.returncode == 0:
                    made += 1
                    self.succeeds(call(MIGEMU, "run", path, "--no-namespace", "--", "nvidia-smi",
                                       "mig", "-lgip"))
                    self.succeeds(call(MIGEMU, "destroy", path))
                else:
                    self.assertEqual(done.returncode, 1)
                    self.assertRegex(done.stderr, "^migemu: cannot emulate '.*': .+ not known")
                self.assertFalse(path.exists())
        self.assertGreaterEqual(made, 20)

    def test_refusals(self):
        path = self.scratch / "node"
        for options, text in (
                ([], "a machine needs a GPU"),
                (["--gpu", "A300"], "the catalogue has no GPU"),
                (["--gpu", "A100"], "NVIDIA A100-SXM4-40GB"),
                (["--gpu", "A30*0"], "number of GPUs"),
                (["--gpu", "A30*33"], "number of GPUs"),
                (["--gpu", "A30*30", "--gpu", "A30*3"], "at most 32"),
                (["--gpu", "A30", "--driver", "x"], "not a driver version"),
                (["--gpu", "H100 PCIe", "--driver", "470.57.02"], "too old"),
                (["--gpu", "A30", "--mig", "maybe"], "no value for --mig"),
                (["--gpu", "A30", "--seed", "-1"], "not a seed"),
                (["--gpu", "A30", "--nonsense"], "Usage"),
                (["--gpu", "A30", "extra"], "unexpected argument")):
            with self.subTest(options=options):
                self.fails(call(MIGEMU, "create", path, *options), USAGE, text)
                self.assertFalse(path.exists())

    def test_new_gpus_get_a_driver_that_knows_them(self):
        node = self.node("--gpu", "NVIDIA RTX PRO 6000 Blackwell Server Edition")
        self.assertIn("575.51.03", self.succeeds(node.smi("--version")))

    def test_no_overwriting(self):
        node = self.node("--gpu", "A30")
        self.fails(call(MIGEMU, "create", node.path, "--gpu", "A30"), 1, "--force")
        self.succeeds(call(MIGEMU, "create", node.path, "--gpu", "A30*2", "--force"))
        self.assertEqual(self.succeeds(node.smi("-L")).count("GPU "), 2)
        other = self.scratch / "other"
        other.mkdir()
        (other / "precious").write_text("x")
        for verb in (["create", other, "--gpu", "A30", "--force"], ["destroy", other]):
            self.fails(call(MIGEMU, *verb), 1)
            self.assertTrue((other / "precious").exists())

    def test_destroy(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "14", "-C"))
        self.succeeds(node.migemu("destroy"))
        self.assertFalse(node.path.exists())
        self.fails(node.smi(), 9)
        self.fails(node.migemu("show"), 1, "holds no emulated machine")

    def test_help_everywhere(self):
        self.assertIn("Usage: migemu", self.succeeds(call(MIGEMU, "--help")))
        for verb in VERBS:
            with self.subTest(verb=verb):
                self.assertIn(f"migemu {verb} ", self.succeeds(call(MIGEMU, verb, "--help")))
                self.fails(call(MIGEMU, verb), USAGE)
        self.fails(call(MIGEMU), USAGE)
        self.fails(call(MIGEMU, "creat"), USAGE, "did you mean 'create'?")


class Jobs(NodeCase):
    def setUp(self):
        super().setUp()
        self.a30 = self.node("--gpu", "A30*2", "--mig", "on")
        self.succeeds(self.a30.smi("mig", "-i", "0", "-cgi", "5,14", "-C"))

    def uuid(self):
        listed = self.succeeds(self.a30.smi("-L"))
        return listed.split("(UUID: MIG-")[1].split(")")[0]

    def test_virtual(self):
        for place in ("MIG-" + self.uuid(), "0:1", "0:1:0"):
            with self.subTest(place=place):
                out = self.succeeds(self.a30.migemu(["job", "start"], "--on", place, "--memory",
                                                    "2G", "--name", "train.py"))
                self.assertIn("(train.py) uses 2048 MiB on GPU 0 (NVIDIA A30) GI 1 CI 0", out)
                self.assertIn("train.py", self.succeeds(self.a30.migemu("ps")))
                self.fails(self.a30.smi("mig", "-dci", "-gi", "1"), IN_USE)
                self.succeeds(self.a30.migemu(["job", "stop"], out.split()[1]))
        self.succeeds(self.a30.smi("mig", "-dci", "-gi", "1"))

    def test_refusals(self):
        for arguments, text in (
                (["--on", "0"], "is in MIG mode"),
                (["--on", "0:2"], "there is nothing at"),
                (["--on", "0:1:1"], "there is nothing at"),
                (["--on", "5"], "there is nothing at"),
                (["--on", "MIG-x"], "there is nothing at"),
                (["--on", "0:1:0:0"], "there is nothing at")):
            with self.subTest(arguments=arguments):
                self.fails(self.a30.migemu(["job", "start"], *arguments), 1, text)
        for arguments in ([], ["--on", "0:1", "--memory", "much"], ["--on", "0:1", "--type", "X"]):
            with self.subTest(arguments=arguments):
                self.fails(self.a30.migemu(["job", "start"], *arguments), USAGE)
        self.fails(self.a30.migemu(["job", "stop"], "77"), 1, "there is no process 77")

    def start_real(self):
        """A sleeping process on GI 1; returns when nvidia-smi shows it."""
        child = subprocess.Popen([MIGEMU, "job", "start", self.a30.path, "--on", "0:1", "--",
                                  "sleep", "60"])
        self.addCleanup(child.kill)
        for _ in range(200):
            if f"{child.pid}" in self.a30.migemu("ps").stdout:
                return child
            time.sleep(0.05)
        raise AssertionError("the process does not show")

    def test_real(self):
        child = self.start_real()
        self.assertIn("sleep", self.a30.smi().stdout)
        self.fails(self.a30.smi("mig", "-dci", "-gi", "1"), IN_USE)
        self.fails(self.a30.migemu(["job", "stop"], str(child.pid)), 1, "kill")
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.succeeds(self.a30.smi("mig", "-dci", "-gi", "1"))
        self.assertIn("No running processes found", self.a30.smi().stdout)

    def test_zombie_frees_too(self):
        child = self.start_real()
        child.send_signal(signal.SIGKILL)
        for _ in range(200):
            if self.a30.smi("mig", "-dci", "-gi", "1").returncode == 0:
                break
            time.sleep(0.05)
        else:
            self.fail("a dead process that nobody waited for holds its slice")
        child.wait()

    def test_exit_status_of_command(self):
        done = call(MIGEMU, "job", "start", self.a30.path, "--on", "0:1", "--", "sh", "-c", "exit 3")
        self.assertEqual(done.returncode, 3)
        done = call(MIGEMU, "job", "start", self.a30.path, "--on", "0:1", "--", "/nonexistent")
        self.assertEqual(done.returncode, 127)

    def test_holders(self):
        self.succeeds(self.a30.migemu(["holder", "add"], "--on", "0:1:0", "--name", "stuck"))
        self.fails(self.a30.smi("mig", "-dci", "-gi", "1"), IN_USE)
        self.assertIn("No running processes found", self.a30.smi().stdout)
        self.assertIn("stuck", self.succeeds(self.a30.migemu(["holder", "list"])))
        self.succeeds(self.a30.migemu(["holder", "remove"], "0"))
        self.fails(self.a30.migemu(["holder", "remove"], "0"), 1)
        self.succeeds(self.a30.smi("mig", "-dci", "-gi", "1"))


class Control(NodeCase):
    def test_reset_reload_reboot(self):
        node = self.node("--gpu", "A30", "--gpu", "H100 PCIe", "--mig", "on")
        mode = ["--query-gpu=mig.mode.current", "--format=csv,noheader"]
        for verb in ("reset", "reload", "reboot"):
            with self.subTest(verb=verb):
                self.succeeds(node.smi("-mig", "1"))
                self.succeeds(node.smi("mig", "-cgi", "5", "-C"))
                self.succeeds(node.migemu(["job", "start"], "--on", "0:1"))
                if verb == "reboot":
                    self.succeeds(node.migemu(verb))
                else:
                    self.fails(node.migemu(verb), BUSY, "IN_USE", "python3")
                    self.succeeds(node.migemu(["job", "stop"], "all"))
                    self.succeeds(node.migemu(verb))
                self.assertNotIn("MIG", self.succeeds(node.smi("-L")))
                hopper = "Enabled" if verb == "reset" else "Disabled"
                self.assertEqual(self.succeeds(node.smi(*mode)), f"Enabled\n{hopper}\n")

    def test_faults(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.migemu(["fault", "add"],
                                  "DeviceCreateGpuInstance nth=2 -> INSUFFICIENT_RESOURCES"))
        self.succeeds(node.migemu(["fault", "add"], "migemu_reset_gpu -> TIMEOUT"))
        self.assertEqual(self.succeeds(node.migemu(["fault", "list"])).count("rule "), 2)
        self.fails(node.smi("mig", "-cgi", "14,14"), 23, "Insufficient Resources")
        self.succeeds(node.smi("mig", "-cgi", "14"))
        self.fails(node.smi("-r", "-i", "0"), 255, "Timeout")
        self.assertIn("acted on 1", self.succeeds(node.migemu(["fault", "list"])))
        self.succeeds(node.migemu(["fault", "clear"], "0"))
        self.succeeds(node.migemu(["fault", "clear"]))
        self.assertEqual(self.succeeds(node.migemu(["fault", "list"])), "")
        self.fails(node.migemu(["fault", "add"], "Nonsense -> IN_USE"), USAGE)
        self.fails(node.migemu(["fault", "clear"], "9"), 1)

    def test_snapshot_restore_diff(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        kept = self.scratch / "kept"
        self.succeeds(node.smi("mig", "-cgi", "5,14", "-C"))
        before = self.succeeds(node.migemu("show"))
        self.succeeds(node.migemu("snapshot", kept))
        self.assertEqual(self.succeeds(node.migemu("diff", kept)), "")
        self.succeeds(node.smi("mig", "-dci"))
        self.succeeds(node.smi("mig", "-dgi", "-gi", "5"))
        self.succeeds(node.smi("mig", "-cci"))
        changed = node.migemu("diff", kept)
        self.fails(changed, 1, "- GPU 0 GI 5: 1g.6gb at 2:1")
        self.succeeds(node.migemu("restore", kept))
        self.assertEqual(self.succeeds(node.migemu("show")), before)
        access = "host/proc/driver/nvidia/capabilities/gpu0/mig/gi5/ci0/access"
        self.assertTrue((node.path / access).exists())

    def test_bad_snapshots(self):
        node = self.node("--gpu", "A30")
        other = self.node("--gpu", "A30", "--seed", "2", name="other")
        kept = self.scratch / "kept"
        self.succeeds(node.migemu("snapshot", kept))
        self.fails(other.migemu("restore", kept), 1, "of another machine")
        data = bytearray(kept.read_bytes())
        data[-1] ^= 1
        kept.write_bytes(data)
        self.fails(node.migemu("restore", kept), 1, "damaged")
        kept.write_bytes(data[:100])
        self.fails(node.migemu("restore", kept), 1, "no snapshot")
        kept.write_bytes(b"")
        self.fails(node.migemu("diff", kept), 2, "no snapshot")
        self.fails(node.migemu("restore", self.scratch / "missing"), 1)

    def test_stats_and_trace(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "5,14", "-C"))
        self.succeeds(node.smi("mig", "-dci"))
        stats = json.loads(self.succeeds(node.migemu("stats", "--json", "--zero")))
        self.assertEqual((stats["creates"], stats["destroys"]), (4, 2))
        self.assertEqual(stats["total"], sum(stats["functions"].values()))
        trace = [json.loads(line)
                 for line in self.succeeds(node.migemu("trace", "--json")).splitlines()]
        made = [call["gi"] for call in trace if call["function"] == "nvmlDeviceCreateGpuInstance"]
        self.assertEqual(made, [1, 5])
        self.assertEqual(len(self.succeeds(node.migemu("trace", "--last", "3")).splitlines()), 3)
        self.assertEqual(json.loads(node.migemu("stats", "--json").stdout)["total"], 0)

    def test_xid(self):
        node = self.node("--gpu", "A30*3", "--mig", "on")
        self.succeeds(node.smi("mig", "-i", "0", "-cgi", "14,14", "-C"))
        for place in ("0:3", "0:4"):
            self.succeeds(node.migemu(["job", "start"], "--on", place))
        self.succeeds(node.migemu("xid", "--gpu", "0", "--gi", "3", "94"))
        self.assertEqual(self.succeeds(node.migemu("ps")).count("python3"), 1)
        self.succeeds(node.migemu("xid", "--gpu", "2", "79"))
        self.fails(node.smi("-q", "-i", "2"), 15, "GPU is lost")
        for bad in (["--gpu", "0"], ["--gpu", "0", "0"], ["--gpu", "x", "79"],
                    ["--gpu", "0", "--ci", "0", "94"]):
            with self.subTest(bad=bad):
                self.fails(node.migemu("xid", *bad), USAGE)
        self.fails(node.migemu("xid", "--gpu", "3", "79"), 1, "no GPU 3")

    def test_recovery(self):
        node = self.node("--gpu", "A30*2")
        for action in ("gpu-reset", "node-reboot", "drain-p2p", "drain-and-reset",
                       "recover-imex-domain"):
            self.succeeds(node.migemu("recovery", "--gpu", "1", action))
            shown = self.succeeds(node.migemu("show"))
            self.assertIn(f"GPU 1: recovery action {action}", shown)
            self.assertNotIn("GPU 0: recovery", shown)
            self.succeeds(node.migemu("reset"))
            self.assertEqual("recovery" in self.succeeds(node.migemu("show")),
                             action == "node-reboot")
            self.succeeds(node.migemu("reboot"))
            self.assertNotIn("recovery", self.succeeds(node.migemu("show")))
        self.succeeds(node.migemu("xid", "--gpu", "0", "95"))
        self.assertIn("GPU 0: recovery action gpu-reset", self.succeeds(node.migemu("show")))
        self.succeeds(node.migemu("recovery", "none"))
        self.assertNotIn("recovery", self.succeeds(node.migemu("show")))
        for bad in ([], ["reset"], ["--gpu", "x", "none"], ["--gpu", "0"]):
            with self.subTest(bad=bad):
                self.fails(node.migemu("recovery", *bad), USAGE)
        self.fails(node.migemu("recovery", "--gpu", "2", "none"), 1, "no GPU 2")

    def test_set(self):
        node = self.node("--gpu", "A30*2")
        self.succeeds(node.migemu("set", "--gpu", "1", "load=40", "memory-load=20"))
        self.assertEqual(
            self.succeeds(node.smi("--query-gpu=utilization.gpu", "--format=csv,noheader")),
            "0 %\n40 %\n")
        self.succeeds(node.migemu("set", "driver-unloaded=on"))
        self.fails(node.smi(), 9)
        self.succeeds(node.migemu("set", "driver-unloaded=off"))
        for bad in (["load=101"], ["nonsense=1"], ["load"], ["permission=all"],
                    ["mode-blocked=NONSENSE"]):
            with self.subTest(bad=bad):
                self.fails(node.migemu("set", *bad), USAGE)
        self.fails(node.migemu("set", "--gpu", "2", "load=1"), 1, "no GPU 2")

    def test_two_machines_know_nothing_of_each_other(self):
        one = self.node("--gpu", "A30", "--mig", "on", name="one")
        two = self.node("--gpu", "A30", "--mig", "on", name="two")
        self.succeeds(one.smi("mig", "-cgi", "0", "-C"))
        self.fails(two.smi("mig", "-lgi"), 6)
        self.succeeds(two.smi("mig", "-cgi", "14,14,14,14", "-C"))
        self.assertEqual(self.succeeds(one.smi("-L")).count("MIG"), 2)
        self.assertEqual(self.succeeds(two.smi("-L")).count("  MIG"), 4)


if __name__ == "__main__":
    tap.main()
