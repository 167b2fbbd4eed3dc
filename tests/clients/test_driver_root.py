#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The driver root that migemu writes, with programs that take one."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from client_case import Client, tap  # noqa: E402


class DriverRoot(Client):
    def setUp(self):
        super().setUp()
        self.a30 = self.node("--gpu", "A30*2", "--mig", "on")
        self.succeeds(self.a30.smi("mig", "-i", "0", "-cgi", "5,14,14", "-C"))
        self.directory = self.scratch / "root"
        self.succeeds(self.a30.migemu("root", self.directory))


class ContainerToolkit(DriverRoot):
    """`nvidia-ctk cdi generate --driver-root` describes the library, nvidia-smi and every MIG device of an exported root"""
    client, peer = "nvidia-ctk with a driver root", "container-toolkit"

    def test_cdi_generate(self):
        done = self.inside(self.a30, self.home / "nvidia-ctk", "--quiet", "cdi", "generate", "--format",
                           "json", "--driver-root", self.directory, "--dev-root", "/")
        specification = json.loads(self.succeeds(done))
        names = [one["name"] for one in specification["devices"]]
        self.assertEqual([name for name in names if not name.startswith("MIG-")],
                         ["0:0", "0:1", "0:2", "all"])
        mounts = {mount["containerPath"]: mount["hostPath"]
                  for mount in specification["containerEdits"]["mounts"]}
        library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.550.90.07"
        self.assertEqual(mounts[library], f"{self.directory}{library}")
        self.assertEqual(mounts["/usr/bin/nvidia-smi"], f"{self.directory}/usr/bin/nvidia-smi")
        nodes = {node["path"] for one in specification["devices"]
                 for node in one["containerEdits"]["deviceNodes"]}
        self.assertLessEqual({"/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap12",
                              "/dev/nvidia-caps/nvidia-cap13"}, nodes)


class Plugin(DriverRoot):
    """gpu-feature-discovery labels an exported driver root"""
    client, peer = "gpu-feature-discovery with a driver root", "device-plugin"

    def test_labels(self):
        labels = self.scratch / "labels"
        done = self.inside(self.a30, self.home / "gpu-feature-discovery", "--oneshot",
                           "--no-timestamp", "--mig-strategy", "mixed", "--output-file", labels,
                           "--driver-root-ctr-path", self.directory)
        self.succeeds(done)
        found = dict(line.split("=", 1) for line in labels.read_text(encoding="utf-8").splitlines())
        self.assertEqual(found["nvidia.com/mig-2g.12gb.count"], "1")
        self.assertEqual(found["nvidia.com/mig-1g.6gb.count"], "2")
        self.assertEqual(found["nvidia.com/cuda.driver-version.full"], "550.90.07")


if __name__ == "__main__":
    tap.main()
