#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs of the system that look for GPUs: a monitor on the terminal, the topology of the machine, the
job scheduler."""
import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time
import xml.etree.ElementTree as xml

from client_case import HERE, LIMIT_S, MIGEMU, QUIET, Client, tap

LIBRARIES = "usr/lib/x86_64-linux-gnu"


class Nvtop(Client):
    """Runs on a terminal for two rounds, shows the GPUs and takes three processes through the 16-byte entries
    of the unversioned call"""
    client = "nvtop"
    peer = "nvtop"

    def on_terminal(self, node, *command, seconds=2.5):
        """What a program writes to a terminal of 160 columns until it is told to quit; and its status."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(MIGEMU, [MIGEMU, "run", str(node.path), "--", *map(str, command)],
                      {**os.environ, **QUIET, "TERM": "xterm", "LC_ALL": "C.UTF-8",
                       "HOME": str(self.scratch)})
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        seen, quit_at, limit = b"", time.monotonic() + seconds, time.monotonic() + LIMIT_S
        while time.monotonic() < limit:
            if quit_at and time.monotonic() > quit_at:
                os.write(terminal, b"q")
                quit_at = None
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    more = os.read(terminal, 65536)
                except OSError:
                    break
                if not more:
                    break
                seen += more
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        text = re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>])", " ", seen.decode(errors="replace"))
        return os.waitstatus_to_exitcode(status), text

    def test_shows_gpus_and_processes(self):
        node = self.node("--gpu", "H100 PCIe*2")
        for name in ("one", "two", "three"):
            self.job(node, "0", name)
        self.inside(node, "true")  # skips where there are no namespaces
        status, text = self.on_terminal(node, self.home / "usr/bin/nvtop", "-d", "5")
        self.assertEqual(status, 0, text[-2000:])
        self.assertEqual(len(set(re.findall(r"Device (\d) +\[NVIDIA H100 PCIe\]", text))), 2)
        calls = {json.loads(line)["function"]
                 for line in node.migemu("trace", "--json").stdout.splitlines()}
        self.assertIn("nvmlDeviceGetComputeRunningProcesses", calls)
        self.assertIn("nvmlShutdown", calls)


class Hwloc(Client):
    """lstopo with its NVML plugin puts each GPU below its PCI device, with model, serial number and UUID"""
    client = "hwloc"
    peer = "hwloc"

    def test_gpus_sit_on_their_pci_devices(self):
        node = self.node("--gpu", "A30*2", "--gpu", "H100 PCIe", "--mig", "on")
        libraries = self.home / LIBRARIES
        out = self.succeeds(self.inside(
            node, "env", f"LD_LIBRARY_PATH={node.environment['LD_LIBRARY_PATH']}:{libraries}",
            f"HWLOC_PLUGINS_PATH={libraries}/hwloc", self.home / "usr/bin/lstopo-no-graphics",
            "--of", "xml"))
        found = {}
        for device in xml.fromstring(out).iter("object"):
            if device.get("type") != "PCIDev":
                continue
            for gpu in device.iter("object"):
                if gpu.get("subtype") == "NVML":
                    info = {one.get("name"): one.get("value") for one in gpu.iter("info")}
                    found[gpu.get("name")] = (device.get("pci_busid"), info["GPUModel"],
                                              info["NVIDIAUUID"])
        wanted = [line.split(", ") for line in self.succeeds(
            node.smi("--query-gpu=index,pci.bus_id,name,uuid", "--format=csv,noheader")).splitlines()]
        self.assertEqual(found, {f"nvml{index}": (bus.lower()[4:], name, uuid)
                                 for index, bus, name, uuid in wanted})


class Slurm(Client):
    """Its gpu/nvml plugin, in a small host, finds full GPUs and MIG devices with their device and capability
    files"""
    client = "Slurm (gpu/nvml plugin)"
    peer = "slurm"

    def test_autodetect(self):
        node = self.node("--gpu", "A100-SXM4-40GB*2")
        self.succeeds(node.smi("-mig", "1", "-i", "0"))
        self.succeeds(node.smi("mig", "-cgi", "9,14", "-C", "-i", "0"))
        plugins = self.home / LIBRARIES / "slurm-wlm"
        path = f"{node.environment['LD_LIBRARY_PATH']}:{plugins}:{self.home / LIBRARIES}"
        out = self.succeeds(self.inside(node, "env", f"LD_LIBRARY_PATH={path}", sys.executable,
                                        HERE / "programs/slurm_host.py", plugins))
        found = {one["id"]: one for one in json.loads(out)}
        self.assertEqual(len(found), 3)
        listed = self.succeeds(node.smi("-L"))
        half, quarter = re.findall(r"MIG-[0-9a-f-]+", listed)
        plain = re.findall(r"GPU-[0-9a-f-]+", listed)[1]
        self.assertEqual(found[half]["type"], "nvidia_a100_3g.20gb")
        self.assertEqual(found[half]["file"], "/dev/nvidia0,/dev/nvidia-caps/nvidia-cap21,"
                                              "/dev/nvidia-caps/nvidia-cap22")
        self.assertEqual(found[quarter]["file"], "/dev/nvidia0,/dev/nvidia-caps/nvidia-cap30,"
                                                 "/dev/nvidia-caps/nvidia-cap31")
        whole = found.get(plain) or found.get("")
        self.assertEqual((whole["type"], whole["file"]),
                         ("nvidia_a100-sxm4-40gb", "/dev/nvidia1"))


if __name__ == "__main__":
    tap.main()
