#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""migemu root: a driver root for containers, as root and as an ordinary user."""
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import MIGEMU, NodeCase, call  # noqa: E402

LIBRARY = "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}


class Root(NodeCase):
    def setUp(self):
        super().setUp()
        self.a30 = self.node("--gpu", "A30*2", "--mig", "on")
        self.succeeds(self.a30.smi("mig", "-i", "0", "-cgi", "5,14", "-C"))
        self.directory = self.scratch / "root"

    def write(self):
        self.succeeds(self.a30.migemu("root", self.directory))
        with open(self.directory / "cdi/migemu.json", encoding="utf-8") as file:
            return json.load(file)

    def devices(self):
        lines = (self.directory / "devices.tsv").read_text(encoding="utf-8").splitlines()
        self.assertEqual(lines[0].split("\t"), ["path", "major", "minor", "mode", "gpu"])
        return {line.split("\t")[0]: line.split("\t")[1:] for line in lines[1:]}

    def test_driver_root_works_alone(self):
        self.write()
        library = self.directory / LIBRARY
        self.assertEqual(os.readlink(library), "libnvidia-ml.so.550.90.07")
        done = call(self.directory / "usr/bin/nvidia-smi", "-L",
                    env={"MIGEMU_NODE": str(self.a30.path), "LD_LIBRARY_PATH": str(library.parent)})
        self.assertEqual(self.succeeds(done), self.succeeds(self.a30.smi("-L")))
        version = (self.directory / "proc/driver/nvidia/version").read_text(encoding="utf-8")
        self.assertIn("550.90.07", version)
        capability = self.directory / "proc/driver/nvidia/capabilities/gpu0/mig/gi1/access"
        self.assertIn("DeviceFileMinor: 12\n", capability.read_text(encoding="utf-8"))
        self.assertTrue((self.directory / "sys/bus/pci/devices/0000:07:00.0/vendor").exists())

    def test_devices(self):
        self.write()
        devices = self.devices()
        self.assertEqual(devices["/dev/nvidia1"], ["195", "1", "0666", "1"])
        self.assertEqual(devices["/dev/nvidiactl"], ["195", "255", "0666", "-"])
        self.assertEqual(devices["/dev/nvidia-caps/nvidia-cap13"], ["238", "13", "0444", "0"])
        self.assertNotIn("/dev/nvidia-caps/nvidia-cap147", devices)
        for path, (major, minor, mode, _) in devices.items():
            there = os.lstat(f"{self.directory}{path}")
            if stat.S_ISCHR(there.st_mode):
                self.assertEqual(stat.S_IMODE(there.st_mode), int(mode, 8), path)
                self.assertEqual((os.major(there.st_rdev), os.minor(there.st_rdev)),
                                 (int(major), int(minor)), path)
            else:
                self.assertTrue(stat.S_ISREG(there.st_mode), path)

    def test_specification_mounts_what_is_there(self):
        specification = self.write()
        self.assertEqual(specification["kind"], "migemu/gpu")
        self.assertEqual([one["name"] for one in specification["devices"]], ["0", "1", "all"])
        common = specification["containerEdits"]
        mounts = common["mounts"] + [mount for one in specification["devices"]
                                     for mount in one["containerEdits"]["mounts"]]
        targets = {}
        for mount in mounts:
            self.assertTrue(os.path.exists(mount["hostPath"]), mount)
            self.assertIn("bind", mount["options"])
            # runc refuses mounts there
            self.assertFalse(mount["containerPath"].startswith(("/proc", "/sys")), mount)
            targets[mount["containerPath"]] = mount["hostPath"]
        inside = dict(one.split("=", 1) for one in common["env"])
        self.assertEqual(targets[inside["MIGEMU_NODE"]], str(self.a30.path))
        self.assertTrue(os.path.exists(f"{targets[inside['LD_LIBRARY_PATH']]}/libnvidia-ml.so.1"))
        of_gpu = {one["name"]: {mount["containerPath"] for mount in one["containerEdits"]["mounts"]}
                  for one in specification["devices"]}
        self.assertIn("/dev/nvidia-caps/nvidia-cap12", of_gpu["0"])
        self.assertEqual(of_gpu["1"], {"/dev/nvidia1"})
        self.assertEqual(of_gpu["all"], of_gpu["0"] | of_gpu["1"])

    def test_a_container_by_hand(self):
        """What a runtime does with the specification, with unshare and mount."""
        if not shutil.which("unshare") or call("unshare", "-m", "true").returncode:
            raise unittest.SkipTest("no mount namespaces here")
        specification = self.write()
        edits = specification["containerEdits"]
        script = ["set -e", "mount --make-rprivate /", "mount -t tmpfs migemu /run"]
        for mount in edits["mounts"]:
            if mount["containerPath"].startswith("/run/"):
                script += [f"mkdir -p {mount['containerPath']}",
                           f"mount --bind '{mount['hostPath']}' {mount['containerPath']}"]
        script.append("exec nvidia-smi mig -i 1 -cgi 14 -C")
        environment = dict(one.split("=", 1) for one in edits["env"])
        environment["PATH"] = f"{self.directory}/usr/bin:{os.environ['PATH']}"
        done = call("unshare", "-m", "sh", "-c", "\n".join(script), env=environment)
        self.succeeds(done)
        # the host sees what was done inside
        self.assertEqual(self.succeeds(self.a30.smi("-L")).count("MIG-"), 3)

    def test_follows_the_machine(self):
        self.write()
        self.succeeds(self.a30.smi("mig", "-i", "0", "-dci"))
        self.succeeds(self.a30.smi("mig", "-i", "0", "-dgi"))
        self.assertFalse((self.directory / "proc/driver/nvidia/capabilities/gpu0/mig/gi1").exists())
        self.write()
        self.assertNotIn("/dev/nvidia-caps/nvidia-cap12", self.devices())

    def test_ordinary_user(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root to become somebody else")
        self.scratch.chmod(0o777)
        subprocess.run([MIGEMU, "root", self.a30.path, self.directory], check=True, **NOBODY)
        self.assertTrue(stat.S_ISREG(os.lstat(self.directory / "dev/nvidia0").st_mode))

    def test_refuses_a_directory_with_other_things(self):
        self.directory.mkdir()
        (self.directory / "precious").write_text("x")
        self.fails(self.a30.migemu("root", self.directory), 1, "other things")
        self.assertEqual([one.name for one in self.directory.iterdir()], ["precious"])
        self.fails(self.a30.migemu("root"), 2)


if __name__ == "__main__":
    tap.main()
