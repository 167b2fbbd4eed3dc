#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fault presets: each brings about what its line says, and only that; actions of rules that are new."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import BUILD, MIGEMU, NodeCase, call  # noqa: E402

LIBRARY = BUILD / "src/emulator/libnvidia-ml.so.1"
PERMISSION, IN_USE, RESOURCES, LOST, MISMATCH, NOT_LOADED, UNKNOWN = 4, 19, 23, 15, 18, 9, 255
KILLED = -9

# A session that stays open over a repartition; prints the return codes of looking up device 0 and its name.
SESSION = """
import ctypes, subprocess, sys
nvml = ctypes.CDLL(sys.argv[1])
assert nvml.nvmlInit_v2() == 0
gpu, device = ctypes.c_void_p(), ctypes.c_void_p()
assert nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(gpu)) == 0
name = ctypes.create_string_buffer(96)
def look():
    code = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 0, ctypes.byref(device))
    print(code, nvml.nvmlDeviceGetName(device, name, 96))
look()
subprocess.run("nvidia-smi mig -dci && nvidia-smi mig -dgi && nvidia-smi mig -cgi 5 -C", shell=True,
               check=True, stdout=subprocess.DEVNULL)
look()
assert nvml.nvmlShutdown() == 0 and nvml.nvmlInit_v2() == 0
look()
"""


class Presets(NodeCase):
    def setUp(self):
        super().setUp()
        self.a30 = self.node("--gpu", "A30*2", "--mig", "on")

    def preset(self, name, *options):
        return self.succeeds(self.a30.migemu(["fault", "add"], "--preset", name, *options))

    def make(self, *options):
        self.succeeds(self.a30.smi("mig", "-i", "0", "-cgi", "14,14", "-C", *options))

    def instances(self):
        return len(re.findall(r"^GPU 0 GI \d+: ", self.succeeds(self.a30.migemu("show")), flags=re.M))

    def test_every_one_can_be_added(self):
        listed = self.succeeds(call(MIGEMU, "fault", "presets")).splitlines()
        self.assertGreater(len(listed), 15)
        for line in listed:
            name = line.split()[0]
            with self.subTest(preset=name):
                node = self.node("--gpu", "A30*2", name=name)
                told = self.succeeds(node.migemu(["fault", "add"], "--preset", name, "--gpu", "1"))
                self.assertRegex(told, r"^(rule 0: .*gpu=1|rule 0: Init|holder: .* GPU 1|set: )")
        self.fails(self.a30.migemu(["fault", "add"], "--preset", "nothing"), 2, "fault presets")
        self.fails(self.a30.migemu(["fault", "add"], "--preset", "remnant", "--gpu", "2"), 1, "no GPU 2")
        self.fails(self.a30.migemu(["fault", "add"], "Init* -> TIMEOUT", "--gpu", "1"), 2, "gpu=N")
        self.assertEqual(self.succeeds(self.a30.migemu(["fault", "list"])), "")

    def test_half_cleaned(self):
        self.make()
        self.preset("half-cleaned", "--gpu", "0")
        self.succeeds(self.a30.smi("mig", "-i", "0", "-dci"))
        self.fails(self.a30.smi("mig", "-i", "0", "-dgi"), IN_USE)
        self.assertEqual(self.instances(), 2)
        self.succeeds(self.a30.smi("mig", "-i", "1", "-cgi", "14"))
        self.succeeds(self.a30.smi("mig", "-i", "1", "-dgi"))

    def test_remnant(self):
        self.make()
        self.preset("remnant")
        self.succeeds(self.a30.smi("mig", "-dci"))
        self.assertEqual(self.succeeds(self.a30.smi("mig", "-dgi")).count("Successfully destroyed"), 2)
        self.assertEqual(self.instances(), 1)
        self.succeeds(self.a30.smi("mig", "-dgi"))
        self.assertEqual(self.instances(), 0)

    def test_held_ci(self):
        self.make()
        self.preset("held-ci")
        self.fails(self.a30.smi("mig", "-dci"), IN_USE)
        self.assertNotIn("python", self.succeeds(self.a30.smi()))

    def test_orphan_gi(self):
        self.preset("orphan-gi")
        self.fails(self.a30.smi("mig", "-i", "0", "-cgi", "14", "-C"), RESOURCES)
        self.assertEqual(self.instances(), 1)
        self.assertEqual(self.succeeds(self.a30.smi("-L")).count("MIG-"), 0)

    def test_killed_between(self):
        self.preset("killed-between")
        self.assertEqual(self.a30.smi("mig", "-i", "0", "-cgi", "14,14", "-C").returncode, KILLED)
        self.assertEqual(self.instances(), 1)

    def test_done_but_failed(self):
        self.preset("done-but-failed")
        self.assertNotEqual(self.a30.smi("mig", "-i", "0", "-cgi", "14").returncode, 0)
        self.assertEqual(self.instances(), 1)

    def test_stale_devices(self):
        self.make()
        fresh = self.succeeds(self.a30.run(sys.executable, "-c", SESSION, LIBRARY)).splitlines()
        self.assertEqual(fresh, ["0 0", "0 0", "0 0"])
        self.preset("stale-devices")
        stale = self.succeeds(self.a30.run(sys.executable, "-c", SESSION, LIBRARY)).splitlines()
        self.assertEqual(stale, ["0 0", "0 6", "0 0"])

    def test_reset_refused(self):
        self.preset("reset-refused", "--gpu", "0")
        self.fails(self.a30.smi("--gpu-reset", "-i", "0"), UNKNOWN, "In use by another client")
        self.succeeds(self.a30.smi("--gpu-reset", "-i", "1"))
        self.succeeds(self.a30.migemu("reboot"))
        self.fails(self.a30.smi("--gpu-reset", "-i", "0"), UNKNOWN, "In use by another client")

    def test_mode_stuck(self):
        self.preset("mode-stuck", "--gpu", "0")
        self.succeeds(self.a30.smi("-mig", "0"))
        show = self.succeeds(self.a30.migemu("show"))
        self.assertIn("GPU 0: MIG enabled, pending disabled", show)
        self.assertIn("GPU 1: MIG disabled", show)
        self.assertNotEqual(self.a30.smi("--gpu-reset", "-i", "0").returncode, 0)
        self.succeeds(self.a30.migemu("reboot"))
        self.assertIn("GPU 0: MIG disabled,", self.succeeds(self.a30.migemu("show")))

    def test_denied(self):
        self.make()
        self.preset("monitor-denied")
        self.fails(self.a30.smi("mig", "-lci"), PERMISSION, "Insufficient Permissions")
        self.fails(self.a30.smi("mig", "-lgi"), PERMISSION)
        self.succeeds(self.a30.smi("mig", "-lgip"))
        self.succeeds(self.a30.migemu(["fault", "clear"]))
        self.preset("config-denied")
        self.succeeds(self.a30.smi("mig", "-lci"))
        self.fails(self.a30.smi("mig", "-dci"), PERMISSION)
        self.fails(self.a30.smi("mig", "-cgi", "14"), PERMISSION)
        self.succeeds(self.a30.migemu(["fault", "clear"]))
        self.preset("device-denied")
        self.assertEqual(self.succeeds(self.a30.smi("mig", "-lci")).count("1g.6gb"), 2)
        self.assertEqual(self.a30.smi("-L").stdout.count("MIG-"), 0)

    def test_gpu_lost(self):
        self.preset("gpu-lost", "--gpu", "0")
        self.fails(self.a30.smi("mig", "-i", "0", "-cgi", "14,14"), LOST)
        self.assertIn("GPU 0: fell off the bus", self.succeeds(self.a30.migemu("show")))
        self.fails(self.a30.smi("mig", "-i", "0", "-lgip"), LOST)
        self.succeeds(self.a30.smi("mig", "-i", "1", "-lgip"))

    def test_reset_required(self):
        self.make()
        self.succeeds(self.a30.smi("mig", "-dci"))
        self.preset("reset-required")
        self.assertNotEqual(self.a30.smi("mig", "-dgi").returncode, 0)
        show = self.succeeds(self.a30.migemu("show"))
        self.assertIn("GPU 0: needs a reset", show)
        self.assertIn("1 uncorrected", show)
        self.succeeds(self.a30.smi("--gpu-reset", "-i", "0"))
        self.succeeds(self.a30.smi("mig", "-i", "0", "-cgi", "14"))

    def test_library(self):
        self.preset("driver-mismatch", "--gpu", "0")
        self.fails(self.a30.smi(), MISMATCH)
        self.succeeds(self.a30.migemu(["fault", "clear"]))
        self.preset("driver-gone")
        self.fails(self.a30.smi(), NOT_LOADED)

    def test_xid_after_the_call(self):
        self.succeeds(self.a30.migemu(["fault", "add"],
                                      "DeviceCreateGpuInstance nth=1 after -> XID=48"))
        self.succeeds(self.a30.smi("mig", "-i", "0", "-cgi", "14"))
        self.assertNotEqual(self.a30.smi("mig", "-i", "0", "-cgi", "14").returncode, 0)
        self.assertEqual(self.instances(), 1)
        for rule in ("Init -> XID=0", "Init -> XID=x", "Init -> XID=65536"):
            self.fails(self.a30.migemu(["fault", "add"], rule), 2, "is not an XID")


if __name__ == "__main__":
    tap.main()
