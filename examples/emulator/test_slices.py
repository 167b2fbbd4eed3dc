#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of code that uses nvidia-ml-py, each on a machine of its own: no GPU, no driver, no root.

migemu must be on PATH; `pip install nvidia-ml-py`. The dynamic loader reads LD_LIBRARY_PATH only when
a process starts, so the test starts itself anew on the machine (`migemu run`).
"""
import os
import subprocess
import sys
import tempfile
import unittest

NODE = os.environ.get("MIGEMU_NODE")


def migemu(*words):
    return subprocess.run(["migemu", *words], check=True, capture_output=True, text=True).stdout


class Slices(unittest.TestCase):
    def setUp(self):
        import pynvml
        self.nvml = pynvml
        migemu("reboot", NODE)  # ends every process, removes every instance
        migemu("fault", "clear", NODE)
        pynvml.nvmlInit()
        self.addCleanup(pynvml.nvmlShutdown)
        self.gpu = pynvml.nvmlDeviceGetHandleByIndex(0)

    def create(self, profile):
        info = self.nvml.nvmlDeviceGetGpuInstanceProfileInfo(self.gpu, profile)
        gi = self.nvml.nvmlDeviceCreateGpuInstance(self.gpu, info.id)
        part = self.nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(gi, 0, 0)
        ci = self.nvml.nvmlGpuInstanceCreateComputeInstance(gi, part.id)
        return gi, ci

    def test_a_slice_in_use_stays(self):
        gi, ci = self.create(self.nvml.NVML_GPU_INSTANCE_PROFILE_1_SLICE)
        slice_ = self.nvml.nvmlDeviceGetMigDeviceHandleByIndex(self.gpu, 0)
        migemu("job", "start", NODE, "--on", self.nvml.nvmlDeviceGetUUID(slice_))
        with self.assertRaises(self.nvml.NVMLError_InUse):
            self.nvml.nvmlComputeInstanceDestroy(ci)
        migemu("job", "stop", NODE, "all")
        self.nvml.nvmlComputeInstanceDestroy(ci)
        self.nvml.nvmlGpuInstanceDestroy(gi)

    def test_the_second_create_fails(self):
        migemu("fault", "add", NODE, "DeviceCreateGpuInstance nth=2 -> INSUFFICIENT_RESOURCES")
        self.create(self.nvml.NVML_GPU_INSTANCE_PROFILE_1_SLICE)
        with self.assertRaises(self.nvml.NVMLError_InsufficientResources):
            self.create(self.nvml.NVML_GPU_INSTANCE_PROFILE_1_SLICE)


if __name__ == "__main__":
    if NODE:
        unittest.main()
    with tempfile.TemporaryDirectory() as directory:
        node = os.path.join(directory, "node")
        migemu("create", node, "--gpu", "A30", "--mig", "on")
        command = ["migemu", "run", node, "--no-namespace", "--", sys.executable, *sys.argv]
        sys.exit(subprocess.run(command, check=False).returncode)
