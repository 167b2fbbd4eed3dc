#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the NVIDIA driver and container runtime do for a container, on an emulated node.

An OCI createContainer hook: it runs in the container's mount namespace before its root is entered.

- every container sees /proc/driver/nvidia, because a kernel with the driver shows it in every /proc;
- one that asks by NVIDIA_VISIBLE_DEVICES (all, or indexes and UUIDs of GPUs and MIG devices) gets
  the library, nvidia-smi and the device nodes, as from NVIDIA's runtime.

CDI devices need nothing from here: containerd puts them in.
"""
import ctypes
import json
import os
import pathlib
import stat
import subprocess
import sys

DRIVER_ROOT = pathlib.Path("/run/nvidia/driver")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
NODE = "/run/migemu/node"
COMMON = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")


def mount(*argv):
    subprocess.run(["mount", *map(str, argv)], check=True)


def show_proc(root):
    target = root / "proc/driver"
    if not target.is_dir():
        return
    mount("-t", "tmpfs", "-o", "mode=755,nosuid,nodev,noexec", "tmpfs", target)
    for name in ("nvidia", "nvidia-caps"):
        (target / name).mkdir()
        mount("--bind", f"/proc/driver/{name}", target / name)


def bind_file(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
    mount("--bind", source, target)
    mount("-o", "remount,bind,ro", target)


def show_library(root):
    library = (DRIVER_ROOT / LIBRARIES / "libnvidia-ml.so.1").resolve()
    bind_file(library, root / LIBRARIES / "libnvidia-ml.so.1")
    bind_file(DRIVER_ROOT / "usr/bin/nvidia-smi", root / "usr/bin/nvidia-smi")


def show_device(root, name):
    source = pathlib.Path("/dev") / name
    target = root / "dev" / name
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        status = source.stat()
        os.mknod(target, status.st_mode, status.st_rdev)
        os.chmod(target, stat.S_IMODE(status.st_mode))


class Nvml:
    """The few calls that tell which device nodes belong to a GPU or MIG device."""

    def __init__(self):
        os.environ["MIGEMU_NODE"] = NODE
        self.library = ctypes.CDLL(str(DRIVER_ROOT / LIBRARIES / "libnvidia-ml.so.1"))
        self.call("nvmlInit_v2")

    def call(self, name, *arguments):
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name}: error {status}")

    def number(self, name, handle):
        value = ctypes.c_uint()
        self.call(name, handle, ctypes.byref(value))
        return value.value

    def handle(self, word):
        handle = ctypes.c_void_p()
        if word.isdigit():
            self.call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(word)),
                      ctypes.byref(handle))
        else:
            self.call("nvmlDeviceGetHandleByUUID", word.encode(), ctypes.byref(handle))
        return handle

    def nodes(self, word):
        """Names below /dev for `0`, `GPU-...`, `0:1` (GPU and MIG index) or `MIG-...`."""
        if ":" in word:
            gpu, index = word.split(":")
            handle = ctypes.c_void_p()
            self.call("nvmlDeviceGetMigDeviceHandleByIndex", self.handle(gpu),
                      ctypes.c_uint(int(index)), ctypes.byref(handle))
        else:
            handle = self.handle(word)
        if not self.number("nvmlDeviceIsMigDeviceHandle", handle):
            return [f"nvidia{self.number('nvmlDeviceGetMinorNumber', handle)}"]
        parent = ctypes.c_void_p()
        self.call("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle, ctypes.byref(parent))
        gpu = self.number("nvmlDeviceGetMinorNumber", parent)
        gi = self.number("nvmlDeviceGetGpuInstanceId", handle)
        ci = self.number("nvmlDeviceGetComputeInstanceId", handle)
        return [f"nvidia{gpu}", *capabilities(f"gpu{gpu}/gi{gi}/access",
                                              f"gpu{gpu}/gi{gi}/ci{ci}/access")]


def capabilities(*names):
    minors = {}
    with open("/proc/driver/nvidia-caps/mig-minors", encoding="utf-8") as file:
        for line in file:
            name, minor = line.split()
            minors[name] = minor
    return [f"nvidia-caps/nvidia-cap{minors[name]}" for name in names]


def all_nodes():
    return [one.name for one in pathlib.Path("/dev").glob("nvidia[0-9]*")] + \
        [f"nvidia-caps/{one.name}" for one in pathlib.Path("/dev/nvidia-caps").iterdir()]


def show_gpus(root, environment):
    wanted = environment.get("NVIDIA_VISIBLE_DEVICES", "")
    if wanted in ("", "void"):
        return
    show_library(root)
    if wanted == "none":
        return
    names = list(COMMON)
    if wanted == "all":
        names += all_nodes()
    else:
        nvml = Nvml()
        for word in wanted.split(","):
            names += nvml.nodes(word)
    for which in ("config", "monitor"):
        if environment.get(f"NVIDIA_MIG_{which.upper()}_DEVICES") == "all":
            names += capabilities(which)
    for name in names:
        show_device(root, name)


def main():
    bundle = pathlib.Path(json.load(sys.stdin)["bundle"])
    document = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    root = bundle / document["root"]["path"]
    environment = dict(one.split("=", 1) for one in document["process"].get("env", [])
                       if "=" in one)
    show_proc(root)
    show_gpus(root, environment)


if __name__ == "__main__":
    main()
