#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""migemu run: what a command sees, as root and as an ordinary user, and that nothing is left."""
import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import MIGEMU, NodeCase, call  # noqa: E402

NOBODY = {"user": 65534, "group": 65534}


def namespaces_work(**user):
    return call("unshare", "-Urm" if user else "-m", "true", **user).returncode == 0


class Run:
    """What both kinds of users see; `user` says who runs."""
    user = {}

    def setUp(self):
        super().setUp()
        self.scratch.chmod(0o755)
        self.a30 = self.node("--gpu", "A30*2", "--mig", "on", "--permission", "open")
        self.succeeds(self.a30.smi("mig", "-i", "0", "-cgi", "5,14", "-C"))

    def inside(self, *command):
        # Where the kernel has no /proc/modules, /proc is made of links, in which a leak checker
        # does not find the processes that it starts.
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
        return call(MIGEMU, "run", self.a30.path, "--", *command, env=environment, **self.user)

    def shell(self, script):
        return self.succeeds(self.inside("sh", "-c", script))

    def test_proc(self):
        driver = "/proc/driver/nvidia"
        self.assertIn("550.90.07", self.shell(f"cat {driver}/version"))
        self.assertIn("Device Minor: \t 1", self.shell(f"cat {driver}/gpus/0000:0f:00.0/information"))
        self.assertEqual(self.shell("sed -n 's/^gpu6.gi11.ci7.access //p; s/^gpu31.gi14.ci7.access "
                                    "//p' /proc/driver/nvidia-caps/mig-minors"), "920\n4322\n")
        self.assertRegex(self.shell("cat /proc/modules"), r"(?m)^nvidia \d+ ")
        self.assertRegex(self.shell("cat /proc/devices"), r"(?m)^195 nvidia\n")
        self.assertEqual(self.shell("cat /proc/$$/comm; readlink /proc/self/exe").split()[0], "sh")

    def test_capabilities_follow(self):
        tree = "/proc/driver/nvidia/capabilities/gpu0/mig"
        self.assertEqual(self.shell(f"cd {tree}; echo gi*"), "gi1 gi5\n")
        self.assertIn("DeviceFileMinor: 12", self.shell(f"cat {tree}/gi1/access"))
        self.assertIn("DeviceFileMinor: 49", self.shell(f"cat {tree}/gi5/ci0/access"))
        watcher = subprocess.Popen([MIGEMU, "run", str(self.a30.path), "--", "sh", "-c",
                                    f"cd {tree}; read line; echo gi*"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, **self.user)
        time.sleep(0.2)
        self.succeeds(self.a30.smi("mig", "-i", "0", "-gi", "5", "-dci"))
        self.succeeds(self.a30.smi("mig", "-i", "0", "-gi", "5", "-dgi"))
        self.assertEqual(watcher.communicate("\n", timeout=30)[0], "gi1\n")

    def test_sys(self):
        device = "/sys/bus/pci/devices/0000:07:00.0"
        self.assertEqual(self.shell(f"cat {device}/vendor {device}/device {device}/class "
                                    f"{device}/numa_node"), "0x10de\n0x20b7\n0x030200\n0\n")
        self.assertEqual(self.shell(f"wc -c < {device}/config; wc -lw < {device}/resource").split(),
                         ["256", "13", "39"])
        others = self.shell("cat /sys/bus/pci/devices/*/vendor").split()
        self.assertEqual(others.count("0x10de"), 2)
        self.assertEqual(self.shell("cat /sys/module/nvidia/initstate"), "live\n")

    def test_dev(self):
        names = self.shell("cd /dev; echo nvidia*").split()
        for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
            self.assertIn(name, names)
        self.succeeds(self.inside("sh", "-c", "for node in /dev/nvidia0 /dev/nvidiactl "
                                  "/dev/nvidia-caps/nvidia-cap12; do test -c $node || exit 1; done"))
        self.succeeds(self.inside("sh", "-c", "echo x > /dev/null; head -c 4 /dev/urandom >/dev/null; "
                                  "test -d /dev/shm -o ! -d /dev/pts"))

    def test_smi_and_identity(self):
        self.assertEqual(self.shell("nvidia-smi -L").count("  MIG"), 2)
        self.assertEqual(self.shell("id -u").strip(), str(self.user.get("user", os.geteuid())))

    def test_real_process_inside(self):
        script = f"{MIGEMU} job start {self.a30.path} --on 0:1 -- sleep 30 & " \
                 "pid=$!; n=0; until nvidia-smi | grep -q \" $pid \"; do n=$((n+1)); " \
                 "[ $n -lt 100 ] || exit 1; sleep 0.05; done; " \
                 "nvidia-smi mig -i 0 -gi 1 -dci; echo $?; kill $pid; wait; " \
                 "nvidia-smi mig -i 0 -gi 1 -dci >/dev/null; echo $?"
        self.assertEqual(self.shell(script).split()[-1], "0")

    def test_exit_status(self):
        self.assertEqual(self.inside("sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(self.inside("/nonexistent").returncode, 127)

    def test_nothing_is_left(self):
        before = pathlib.Path("/proc/self/mountinfo").read_text()
        self.succeeds(self.inside("true"))
        self.assertEqual(before, pathlib.Path("/proc/self/mountinfo").read_text())
        self.assertFalse(pathlib.Path("/dev/nvidia-caps").exists())
        self.assertEqual(list((self.a30.path / "run").iterdir()), [])

    def test_two_at_once(self):
        other = self.node("--gpu", "NVIDIA H100 PCIe", name="other")
        command = ["sh", "-c", "read line; nvidia-smi -L; cat /proc/driver/nvidia/gpus/*/information"]
        runs = [subprocess.Popen([MIGEMU, "run", str(node.path), "--", *command],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                 **self.user) for node in (self.a30, other)]
        texts = [run.communicate("\n", timeout=30)[0] for run in runs]
        self.assertEqual(["A30" in texts[0], "H100" in texts[0]], [True, False])
        self.assertEqual(["A30" in texts[1], "H100" in texts[1]], [False, True])


@unittest.skipUnless(os.geteuid() == 0 and namespaces_work(), "needs root and mount namespaces")
class AsRoot(Run, NodeCase):
    def test_device_numbers(self):
        script = "stat -c '%t:%T' /dev/nvidia1 /dev/nvidiactl /dev/nvidia-caps/nvidia-cap12"
        out = self.shell(script)
        if "1:3" in out:
            self.skipTest("device nodes cannot be made here")
        self.assertEqual(out, "c3:1\nc3:ff\nee:c\n")
        mode = self.shell("stat -c %a /dev/nvidia-caps/nvidia-cap1 /dev/nvidia0")
        self.assertEqual(mode, "400\n666\n")


@unittest.skipUnless(os.geteuid() != 0 or namespaces_work(**NOBODY), "needs user namespaces")
class Rootless(Run, NodeCase):
    user = NOBODY if os.geteuid() == 0 else {}


class WithoutNamespace(NodeCase):
    def test_library_path_only(self):
        node = self.node("--gpu", "A30")
        done = call(MIGEMU, "run", node.path, "--no-namespace", "--", "sh", "-c",
                    "nvidia-smi -L; test -e /proc/driver/nvidia; echo $?")
        self.assertRegex(self.succeeds(done), r"^GPU 0: NVIDIA A30 .*\n1\n$")

    def test_usage(self):
        node = self.node("--gpu", "A30")
        self.fails(call(MIGEMU, "run", node.path), 2, "too few arguments")
        self.fails(call(MIGEMU, "run", self.scratch, "--", "true"), 1, "holds no emulated machine")

    def test_environment_of_odd_names(self):
        node = self.node("--gpu", "A30", name="it's a $node")
        out = self.succeeds(call("sh", "-c", f'eval "$({MIGEMU} env "$1")"; nvidia-smi -L; '
                                 'printf %s "$MIGEMU_NODE|$MIGD_STATE_DIR"', "sh", node.path))
        self.assertTrue(out.endswith(f"{node.path}|{node.path}/migd"), out)


if __name__ == "__main__":
    tap.main()
