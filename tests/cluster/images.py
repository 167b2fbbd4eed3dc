# SPDX-License-Identifier: Apache-2.0
"""Container images for the test cluster, made from files of this machine without a daemon."""
import subprocess
import sys

from layout import SOURCE

sys.path.insert(0, str(SOURCE / "tools"))
from oci import Image  # noqa: E402  (after the path is set)

BUSYBOX = "/bin/busybox"
BUSYBOX_IMAGE = "migd.test/busybox:1"
PEERS_IMAGE = "migd.test/nvidia:1"


def add_busybox(image, names=()):
    """Static busybox, with a link for each of its programs, or only the named ones."""
    image.file("/bin/busybox", BUSYBOX, 0o755)
    if not names:
        listed = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
        names = listed.stdout.split()
    for name in names:
        if name != "busybox":
            image.link(f"/bin/{name}", "busybox")


def busybox(path):
    """The image of test pods, and of pod sandboxes: by default it waits for ever.

    It has a C library, because nvidia-smi comes from outside, as into any CUDA image.
    """
    image = Image(BUSYBOX_IMAGE)
    add_busybox(image)
    image.loader()
    for name in ("/tmp", "/proc", "/sys", "/dev", "/run", "/etc"):
        image.directory(name, 0o1777 if name == "/tmp" else 0o755)
    image.save(path, command=["/bin/sleep", "2147483647"],
               environment={"PATH": "/usr/local/bin:/usr/bin:/bin"})


def peers(path, directory):
    """NVIDIA's device plugin and feature discovery, as tests/clients/fetch-peers built them."""
    image = Image(PEERS_IMAGE)
    add_busybox(image)
    image.directory("/tmp", 0o1777)
    for name in ("nvidia-device-plugin", "gpu-feature-discovery"):
        image.program(f"/usr/bin/{name}", directory / "device-plugin" / name)
    image.loader()
    image.save(path, command=["/usr/bin/nvidia-device-plugin"],
               environment={"PATH": "/usr/local/bin:/usr/bin:/bin",
                            "NVIDIA_VISIBLE_DEVICES": "all",
                            "NVIDIA_MIG_MONITOR_DEVICES": "all",
                            "NVIDIA_DRIVER_CAPABILITIES": "utility"})
