#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""nvidia-smi for emulated hosts: selections, refusals and their exit status, queries."""
import os
import pathlib
import sys
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import BUILD, NodeCase, call  # noqa: E402

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, IN_USE, NO_RESOURCES = 3, 4, 6, 19, 23
NO_DRIVER, NO_LIBRARY, GPU_LOST, RESET_REFUSED = 9, 12, 15, 255


class Selection(NodeCase):
    def setUp(self):
        super().setUp()
        self.two = self.node("--gpu", "A30*2", "--mig", "on")

    def list(self, which):
        done = self.two.smi("--query-gpu=index,uuid,pci.bus_id", "--format=csv,noheader", "-i",
                            which)
        return [line.split(", ") for line in self.succeeds(done).splitlines()]

    def test_by_index_uuid_and_bus(self):
        (_, uuid, bus), = self.list("1")
        for name in ("1", uuid, bus, bus.lower(), bus[4:]):
            with self.subTest(name=name):
                self.assertEqual(self.list(name), [["1", uuid, bus]])

    def test_lists(self):
        self.assertEqual([row[0] for row in self.list("1,0")], ["1", "0"])
        self.assertEqual([row[0] for row in self.list("0,0")], ["0"])

    def test_nothing_there(self):
        for name in ("2", "GPU-00000000-0000-0000-0000-000000000000", "00000000:FF:00.0", "x", "",
                     "0,", "0,,1", "9" * 200):
            with self.subTest(name=name):
                done = self.two.smi("-q", "-i", name)
                if name == "0,":
                    self.succeeds(done)
                else:
                    self.fails(done, NOT_FOUND, "No devices were found")

    def test_instances(self):
        self.succeeds(self.two.smi("mig", "-cgi", "14,14", "-C"))
        self.fails(self.two.smi("mig", "-lci", "-gi", "5"), NOT_FOUND,
                   "No GPU instances found: Not Found")
        self.assertEqual(self.succeeds(self.two.smi("mig", "-lci", "-i", "1", "-gi", "4"))
                         .count("MIG 1g.6gb"), 1)
        self.succeeds(self.two.smi("mig", "-dci", "-i", "0", "-gi", "3", "-ci", "0"))
        self.fails(self.two.smi("mig", "-dci", "-i", "0", "-gi", "3"), NOT_FOUND,
                   "No compute instances found: Not Found")

    def test_placement_and_names(self):
        out = self.succeeds(self.two.smi("mig", "-i", "0", "-cgi", "1g.6gb:3,MIG 2g.12gb:0", "-C"))
        self.assertIn("GPU instance ID  6 on GPU  0 using profile MIG 1g.6gb (ID 14)", out)
        self.assertIn("GPU instance ID  1 on GPU  0 using profile MIG 2g.12gb (ID  5)", out)

    def test_compute_instances(self):
        self.succeeds(self.two.smi("mig", "-i", "0", "-cgi", "0"))
        out = self.succeeds(self.two.smi("mig", "-i", "0", "-cci", "1c.4g.24gb:2,0"))
        self.assertIn("compute instance ID  0 on GPU  0 GPU instance ID  0", out)
        listed = self.succeeds(self.two.smi("mig", "-i", "0", "-lci"))
        self.assertIn("2:1", listed)
        self.fails(self.two.smi("mig", "-i", "0", "-cci"), NO_RESOURCES,
                   "using profile default: Insufficient Resources",
                   "Failed to create compute instances: Insufficient Resources")
        self.fails(self.two.smi("mig", "-i", "1", "-cci"), NOT_FOUND, "No GPU instances found")


class Refusals(NodeCase):
    def test_no_driver_no_library(self):
        environment = dict(os.environ, LD_LIBRARY_PATH=str(BUILD / "src/emulator"),
                           MIGEMU_NODE="/nonexistent")
        smi = BUILD / "src/emulator/nvidia-smi"
        self.fails(call(smi, env=environment), NO_DRIVER, "couldn't communicate")
        environment["LD_LIBRARY_PATH"] = "/nonexistent"
        self.fails(call(smi, "-L", env=environment), NO_LIBRARY, "couldn't find libnvidia-ml.so")

    def test_usage(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        for arguments in (["-mig", "2"], ["-x"], ["-r", "-pm", "1"], ["-L", "-i", "0"],
                          ["--query-gpu=nonsense", "--format=csv"], ["--query-gpu=name",
                          "--format=xml"], ["--query-gpu=name"], ["mig", "--nonsense"],
                          ["mig", "-cgi"], ["mig", "-C"], ["mig", "-lgi", "-lci"],
                          ["mig", "-cgi", "14:x"], ["mig", "-cgi", ","], ["mig", "-gi", "x", "-lgi"]):
            with self.subTest(arguments=arguments):
                self.fails(node.smi(*arguments), 2)
        for arguments in (["--nonsense"], ["-i"], ["--format=csv"]):
            with self.subTest(arguments=arguments):
                self.fails(node.smi(*arguments), 255, "ERROR: Option " + arguments[0][:8])

    def test_mig_off(self):
        node = self.node("--gpu", "A30")
        self.assertIn("4/4", self.succeeds(node.smi("mig", "-lgip")))
        self.assertIn("No MIG-enabled devices found.",
                      self.succeeds(node.smi("mig", "-cgi", "14")))
        old = self.node("--gpu", "A30", "--driver", "535.161.08", name="old")
        self.fails(old.smi("mig", "-lgip"), NOT_FOUND, "No MIG-enabled devices found.")
        self.fails(old.smi("mig", "-cgi", "14"), NOT_FOUND, "No MIG-enabled devices found.")

    def test_unknown_and_full(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.fails(node.smi("mig", "-cgi", "99"), 2,
                   "Unable to create a GPU instance on GPU  0 using profile 99: Invalid Argument")
        self.fails(node.smi("mig", "-cgi", "9g.1gb"), 2, "using profile 9g.1gb: Invalid Argument")
        self.fails(node.smi("mig", "-cgi", "14:4"), 2, "Invalid Argument")
        self.fails(node.smi("mig", "-cgi", "5,5,14"), NO_RESOURCES,
                   "Successfully created GPU instance",
                   "Unable to create a GPU instance on GPU  0 using profile 14: "
                   "Insufficient Resources",
                   "Failed to create GPU instances: Insufficient Resources")
        self.fails(node.smi("mig", "-cgi", "14:0"), NO_RESOURCES, "Insufficient Resources")

    def test_in_use(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "14", "-C"))
        self.fails(node.smi("mig", "-dgi"), IN_USE,
                   "Unable to destroy GPU instance ID  3 from GPU  0: In use by another client",
                   "Failed to destroy GPU instances: In use by another client")
        self.succeeds(node.migemu(["job", "start"], "--on", "0:3"))
        self.fails(node.smi("mig", "-dci"), IN_USE,
                   "Unable to destroy compute instance ID  0 from GPU  0 GPU instance ID  3: "
                   "In use by another client",
                   "Failed to destroy compute instances: In use by another client")
        self.fails(node.smi("-r", "-i", "0"), RESET_REFUSED,
                   "The following GPUs could not be reset:",
                   "In use by another client", "1 device is currently being used")
        self.succeeds(node.migemu(["job", "stop"], "all"))
        self.assertIn("was successfully reset.\nAll done.",
                      self.succeeds(node.smi("--gpu-reset", "-i", "0")))
        self.fails(node.smi("mig", "-lgi"), NOT_FOUND)

    def test_reset_spares_others(self):
        node = self.node("--gpu", "A30*2", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "14", "-C"))
        self.succeeds(node.smi("-r", "-i", "1"))
        listed = self.succeeds(node.smi("-L")).splitlines()
        self.assertEqual([line[:5] for line in listed], ["GPU 0", "  MIG", "GPU 1"])

    def test_gpu_lost(self):
        node = self.node("--gpu", "A30*2")
        self.succeeds(node.migemu("set", "--gpu", "1", "lost=on"))
        self.fails(node.smi(), GPU_LOST, "GPU is lost.  Reboot the system to recover this GPU")
        self.succeeds(node.smi("-i", "0"))

    def test_permission(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become another user")
        node = self.node("--gpu", "A30", "--mig", "on")
        self.scratch.chmod(0o755)
        nobody = {"user": 65534, "group": 65534}
        done = node.run("nvidia-smi", "mig", "-cgi", "14", **nobody)
        self.fails(done, NO_PERMISSION, "Insufficient Permissions")
        done = node.run("nvidia-smi", "-mig", "0", **nobody)
        self.fails(done, NO_PERMISSION, "Unable to disable MIG Mode", "Terminating early")
        self.succeeds(node.run("nvidia-smi", "-L", **nobody))

    def test_pending_mode(self):
        node = self.node("--gpu", "A30")
        self.succeeds(node.migemu("set", "mode-blocked=RESET_REQUIRED"))
        self.assertIn("Warning: MIG mode is in pending enable state",
                      self.succeeds(node.smi("-mig", "1")))
        row = self.succeeds(node.smi("--query-gpu=mig.mode.current,mig.mode.pending",
                                     "--format=csv,noheader"))
        self.assertEqual(row, "Disabled, Enabled\n")
        self.assertIn("Enabled* |", node.smi().stdout)
        self.succeeds(node.smi("-r", "-i", "0"))
        self.assertNotIn("Disabled", self.succeeds(node.smi("--query-gpu=mig.mode.current",
                                                            "--format=csv,noheader")))


class Queries(NodeCase):
    def test_csv(self):
        node = self.node("--gpu", "A30")
        self.assertEqual(
            self.succeeds(node.smi("--query-gpu=index,memory.total,utilization.gpu",
                                   "--format=csv")),
            "index, memory.total [MiB], utilization.gpu [%]\n0, 24576 MiB, 0 %\n")
        self.assertEqual(
            self.succeeds(node.smi("--query-gpu=gpu_name,memory.total,fan.speed",
                                   "--format=csv,noheader,nounits")),
            "NVIDIA A30, 24576, [N/A]\n")

    def test_processes(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "5", "-C"))
        self.succeeds(node.migemu(["job", "start"], "--on", "0:1", "--memory", "2G", "--name",
                                  "/opt/some/rather/long/path/to/an/interpreter/bin/python3.11"))
        rows = self.succeeds(node.smi("--query-compute-apps=pid,name,used_memory",
                                      "--format=csv,noheader"))
        self.assertRegex(rows, r"^\d+, /opt/some/\S+, 2048 MiB\n$")
        table = self.succeeds(node.smi())
        self.assertRegex(table, r"\|    0    1    0 +\d+      C   \.\.\.\S+/bin/python3\.11 +2048MiB \|")
        self.assertEqual({len(line) for line in table.splitlines() if line.startswith(("|", "+"))}, {91})

    def test_wide_numbers_keep_the_frame(self):
        node = self.node("--gpu", "NVIDIA H200", "--mig", "on", "--driver", "570.86.15")
        self.succeeds(node.smi("mig", "-cgi", "0", "-C"))
        table = self.succeeds(node.smi())
        self.assertEqual({len(line) for line in table.splitlines() if line.startswith(("|", "+"))}, {91})
        self.assertIn("/ 143", table)

    def test_full_and_xml(self):
        node = self.node("--gpu", "A30*2", "--mig", "on")
        self.succeeds(node.smi("mig", "-i", "0", "-cgi", "5,14,14", "-C"))
        text = self.succeeds(node.smi("-q"))
        self.assertEqual(text.count("MIG Device\n"), 3)
        self.assertIn("    MIG Mode\n        Current                           : Enabled\n", text)
        log = xml.etree.ElementTree.fromstring(self.succeeds(node.smi("-q", "-x")))
        gpus = log.findall("gpu")
        self.assertEqual(len(gpus), 2)
        self.assertEqual([int(device.findtext("gpu_instance_id"))
                          for device in gpus[0].iter("mig_device")], [1, 5, 6])
        self.assertEqual(gpus[1].findall("mig_devices/mig_device"), [])

    def test_version_and_help(self):
        node = self.node("--gpu", "A30", "--driver", "535.183.01")
        self.assertIn("535.183.01", self.succeeds(node.smi("--version")))
        self.assertIn("nvidia-smi mig", self.succeeds(node.smi("-h")))
        self.assertIn("-lgipp", self.succeeds(node.smi("mig", "-h")))

    def test_mode_and_persistence(self):
        node = self.node("--gpu", "A30")
        self.assertIn("Enabled persistence mode for GPU", self.succeeds(node.smi("-pm", "1")))
        self.assertEqual(self.succeeds(node.smi("-mig", "1")).count("\n"), 2)
        self.assertIn("Disabled MIG Mode", self.succeeds(node.smi("-i", "0", "-mig", "0")))


if __name__ == "__main__":
    tap.main()
