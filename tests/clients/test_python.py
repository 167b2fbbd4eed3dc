#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Python bindings of NVML, and the monitors made with them."""
import json
import re
import subprocess
import sys
import time

from client_case import HERE, LIMIT_S, MIGEMU, QUIET, Client, tap

TIMEOUT = 10
PROGRAMS = HERE / "programs"


class PythonClient(Client):
    def python(self, node, *arguments, **environment):
        """Python with the peer's modules, on the machine by library path."""
        return node.run(sys.executable, *arguments,
                        env={**node.environment, **QUIET, "PYTHONPATH": str(self.home),
                             "PYTHONDONTWRITEBYTECODE": "1", **environment})


class NvidiaMlPy(PythonClient):
    """Enables MIG, places and destroys instances, walks MIG devices by index and UUID, reads their memory
    and processes, waits for events and an XID of one instance"""
    client = "nvidia-ml-py"
    peer = "python-peers"
    package = "nvidia_ml_py"

    def test_a_small_mig_manager(self):
        node = self.node("--gpu", "H100 PCIe", "--gpu", "A30", "--driver", "550.163.01")
        seen = json.loads(self.succeeds(self.python(node, PROGRAMS / "ml_py.py", MIGEMU, node.path)))
        self.assertEqual((seen["driver"], seen["count"]), ("550.163.01", 2))
        self.assertEqual(seen["profiles_off"]["MIG 3g.40gb"], [9, 2, 40448])
        self.assertEqual(len(seen["profiles_off"]), 7)
        self.assertEqual((seen["activation"], seen["mode"]), (0, [1, 1]))
        self.assertEqual(seen["errors"], {"early": 1, "create_off": 3, "taken": 23, "unaligned": 2,
                                          "in_use": 19, "has_compute": 19, "wait": TIMEOUT,
                                          "gone": 6})
        half, small = seen["devices"]
        self.assertEqual((half["name"], half["gi"], half["ci"], half["sms"], half["memory"]),
                         ("NVIDIA H100 PCIe MIG 3g.40gb", 2, 0, 46, 40448))
        self.assertEqual((half["total"], half["same"], half["parent"]), (40448, True, 0))
        self.assertEqual([row[1:] for row in half["processes"]], [[2048, 2, 0]])
        self.assertLess(half["free"], 40448 - 2048)
        self.assertEqual((small["gi"], small["processes"]), (7, []))
        self.assertRegex(half["uuid"], "^MIG-[0-9a-f]{8}-")
        self.assertEqual(seen["left"], 1)
        self.assertGreaterEqual(seen["waited"], 0.3)
        self.assertEqual(seen["event"], [8, 94, 2, 0])
        self.assertEqual((seen["rest"], seen["instances"]), ([7], [7]))


class NvidiaMlPy3(PythonClient):
    """Process lists, PCI data and events through the structs of 2015, three processes on one GPU"""
    client = "nvidia-ml-py3"
    peer = "python-ml-py3"
    package = "nvidia_ml_py3"

    def test_old_structs(self):
        node = self.node("--gpu", "A30*2")
        seen = json.loads(self.succeeds(self.python(node, PROGRAMS / "ml_py3.py", MIGEMU,
                                                    node.path)))
        first, second = seen["gpus"]
        self.assertEqual((first["name"], first["id"], first["total"]),
                         ("NVIDIA A30", 0x20b710de, 24576))
        self.assertRegex(first["bus"], r"^0000:07:00\.0$")
        self.assertEqual([row[1] for row in first["processes"]], [1024, 2048, 3072])
        self.assertEqual(second["processes"], [])
        self.assertEqual((seen["event"], seen["after"]), ([8, 31], TIMEOUT))


class Nvitop(PythonClient):
    """Shows the GPUs, their MIG devices by GI and CI, and a process on one, in one shot; walks MIG devices
    through its API"""
    client = "nvitop"
    peer = "python-peers"
    package = "nvitop"

    def setUp(self):
        super().setUp()
        self.machine = self.node("--gpu", "A100-SXM4-40GB*2")
        self.succeeds(self.machine.smi("-mig", "1", "-i", "0"))
        self.succeeds(self.machine.smi("mig", "-cgi", "9,14", "-C", "-i", "0"))

    def start(self, place, *command):
        """A process of this host on a place, for nvitop looks its owner and command up."""
        job = subprocess.Popen([MIGEMU, "job", "start", self.machine.path, "--on", place, "--",
                                *command], stdout=subprocess.DEVNULL)
        self.addCleanup(job.wait)
        self.addCleanup(job.kill)
        limit = time.monotonic() + LIMIT_S
        while command[0] not in self.machine.migemu("ps").stdout:
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.05)

    def test_one_shot(self):
        self.start("0:2:0", "sleep", "60")
        out = self.succeeds(self.python(self.machine, "-m", "nvitop", "-1", "--ascii",
                                        LC_ALL="C.UTF-8", TERM="dumb"))
        self.assertRegex(out, r"0:0 +3g\.20gb @ GI/CI: 2/0 \| +295\.0MiB / 19968MiB")
        self.assertRegex(out, r"0:0 +\d+ C +\w+ +256\.0MiB .* sleep 60")
        self.assertRegex(out, r"0:1 +2g\.10gb @ GI/CI: 3/0")
        self.assertRegex(out, r"1 +A100-SXM4-40GB +Off .*Disabled")

    def test_processes_of_a_mig_device(self):
        self.job(self.machine, "0:3:0", "virtual", "1G")
        script = """
import json, nvitop
gpus = nvitop.Device.all()
print(json.dumps([[device.index, device.gpu_instance_id(), device.memory_total() >> 20,
                   sorted(device.processes())] for device in gpus[0].mig_devices()]))
print(json.dumps([gpu.is_mig_mode_enabled() for gpu in gpus]))
"""
        devices, modes = map(json.loads, self.succeeds(
            self.python(self.machine, "-c", script)).splitlines())
        self.assertEqual([row[:3] for row in devices], [[[0, 0], 2, 19968], [[0, 1], 3, 9856]])
        self.assertEqual(devices[0][3], [])
        self.assertEqual(len(devices[1][3]), 1)
        self.assertEqual(modes, [True, False])


class Gpustat(PythonClient):
    """JSON and table of a node whose GPUs are with and without MIG, with a process on one"""
    client = "gpustat"
    peer = "python-peers"
    package = "gpustat"

    def test_json_and_table(self):
        node = self.node("--gpu", "H100 PCIe*2")
        self.succeeds(node.smi("-mig", "1", "-i", "1"))
        self.succeeds(node.smi("mig", "-cgi", "0", "-C", "-i", "1"))
        self.job(node, "0", "train.py", "5G")
        seen = json.loads(self.succeeds(self.python(node, "-m", "gpustat", "--json")))
        plain, split = seen["gpus"]
        self.assertEqual((plain["name"], plain["memory.total"], plain["utilization.gpu"]),
                         ("NVIDIA H100 PCIe", 81559, 0))
        self.assertIsNone(split["utilization.gpu"])  # MIG GPUs have none
        self.assertGreaterEqual(plain["memory.used"], 5120)
        table = self.succeeds(self.python(node, "-m", "gpustat", "--no-color"))
        self.assertEqual(len(re.findall(r"^\[\d\] NVIDIA H100 PCIe", table, re.M)), 2)


del PythonClient

if __name__ == "__main__":
    tap.main()
