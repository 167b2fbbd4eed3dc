# SPDX-License-Identifier: Apache-2.0
"""The installed tree: everything is there, programs run from it, and others can build against it."""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from node import BUILD, MIGCTL, PLAIN, run  # noqa: E402

PROGRAM = """#include <mig/mig.h>
#include <stdio.h>
int main(void) { puts(mig_catalog_get(0)->name); return mig_catalog_count() == 0; }
"""

# Nobody listens there.
KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: ""}}]
current-context: none
"""


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="mig-install-")
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir",
                        cls.top], capture_output=True, timeout=120, check=True)
        cls.files = {}
        for directory, _, names in os.walk(cls.top):
            for name in names if os.path.basename(directory) != "completions" else ():
                cls.files[name] = os.path.join(directory, name)
        cls.env = dict(PLAIN, LD_LIBRARY_PATH=os.path.dirname(cls.files["libmig.so.0"]))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top, ignore_errors=True)

    def test_what_is_there(self):
        commands = re.findall(r"^  (\S+) ", run([MIGCTL, "help"]).stdout.split("\n\n")[2], re.M)
        wanted = {"migctl", "migemu", "nvidia-smi", "nvidia-mig-parted", "libmig.so", "libmig.so.0",
                  "libnvidia-ml.so.1", "libmig.pc", "config.yaml", "mig.h", "_migctl",
                  "migctl.fish", "migctl.1", "migemu.1", "migd", "nvidia-mig-manager", "_migd",
                  "migd.fish", "migd.8", "migd.service", "migd-helper"}
        wanted |= {f"migctl-{name}.1" for name in commands}
        self.assertGreater(len(commands), 10)
        self.assertEqual(wanted - set(self.files), set())

    def test_programs_run_from_it(self):
        node = os.path.join(self.top, "node")
        done = run([self.files["migemu"], "create", node, "--gpu", "A30"], self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        env = dict(self.env)
        for line in run([self.files["migemu"], "env", node], self.env).stdout.splitlines():
            name, value = shlex.split(line)[1].split("=", 1)
            env[name] = re.sub(r"\$\{?(\w+)[^}:]*\}?", lambda m: env.get(m.group(1), ""), value)
        self.assertIn(os.path.dirname(self.files["libnvidia-ml.so.1"]), env["LD_LIBRARY_PATH"])
        env["LD_LIBRARY_PATH"] += ":" + self.env["LD_LIBRARY_PATH"]
        done = run([self.files["migctl"], "apply", "-f", self.files["config.yaml"], "-c",
                    "all-balanced"], env)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = run(["nvidia-smi", "-L"], env)
        self.assertEqual(done.stdout.count("MIG-"), 3, done.stderr)

    def test_the_other_name(self):
        path = self.files["nvidia-mig-parted"]
        self.assertEqual(os.path.realpath(path), os.path.realpath(self.files["migctl"]))
        done = subprocess.run([path, "--version"], env=self.env, capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertIn("nvidia-mig-parted version", done.stdout)

    def test_migd_finds_its_helper(self):
        node = os.path.join(self.top, "node-of-migd")
        os.chmod(self.top, 0o755)  # the agent is another user
        done = run([self.files["migemu"], "create", node, "--gpu", "A30"], self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        kubeconfig = os.path.join(self.top, "kubeconfig")
        with open(kubeconfig, "w", encoding="utf-8") as out:
            out.write(KUBECONFIG)
        options = {"migd": ["--config", "all-balanced"],
                   "nvidia-mig-manager": ["--node-name", "n", "--kubeconfig", kubeconfig]}
        for name, more in options.items():
            argv = [self.files["migemu"], "run", node, "--", self.files[name], "--listen", "",
                    "--state-dir", os.path.join(self.top, "state-of-" + name), *more]
            with subprocess.Popen(argv, env=self.env, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True) as process:
                said = ""
                for line in process.stderr:
                    said += line
                    if "the privileged process runs" in line:
                        process.terminate()
                self.assertIn("the privileged process runs", said)

    def test_others_can_build_against_it(self):
        if not shutil.which("pkg-config") or not shutil.which("cc"):
            self.skipTest("needs pkg-config and cc")
        program = os.path.join(self.top, "program")
        env = dict(PLAIN, PKG_CONFIG_PATH=os.path.dirname(self.files["libmig.pc"]),
                   PKG_CONFIG_SYSROOT_DIR=self.top)
        flags = run(["pkg-config", "--cflags", "--libs", "libmig"], env)
        self.assertEqual(flags.returncode, 0, flags.stderr)
        with open(program + ".c", "w", encoding="utf-8") as out:
            out.write(PROGRAM)
        done = run(["cc", "-o", program, program + ".c", *flags.stdout.split()], env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("NVIDIA", run([program], self.env).stdout)


if __name__ == "__main__":
    tap.main()
