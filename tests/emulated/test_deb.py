# SPDX-License-Identifier: Apache-2.0
"""The Debian package: what is in it, what it needs, that programs run from it, and that installing, changing
the config and removing it does what a Debian package does. Installed into a folder, never into the machine."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from node import BUILD, PLAIN, SOURCE, run  # noqa: E402

MAKER = os.path.join(SOURCE, "packaging/deb/build")
TOOLS = ("dpkg-deb", "dpkg-shlibdeps", "strip")


def make(directory):
    env = dict(PLAIN, PATH=os.environ["PATH"], SOURCE_DATE_EPOCH="1700000000")
    done = subprocess.run([MAKER, BUILD, directory], env=env, capture_output=True, text=True,
                          timeout=200, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout.strip()


@unittest.skipIf(any(not shutil.which(tool) for tool in TOOLS), "needs dpkg-dev and binutils")
class Deb(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.top = tempfile.mkdtemp(prefix="mig-deb-")
        cls.package = make(os.path.join(cls.top, "out"))
        cls.tree = os.path.join(cls.top, "tree")
        subprocess.run(["dpkg-deb", "-x", cls.package, cls.tree], check=True, timeout=60)
        cls.files = {os.path.relpath(path, cls.tree): path
                     for path in glob.glob(cls.tree + "/**", recursive=True)
                     if not os.path.isdir(path)}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.top, ignore_errors=True)

    def find(self, ending):
        found = [path for name, path in self.files.items() if name.endswith(ending)]
        self.assertEqual(len(found), 1, ending)
        return found[0]

    def field(self, name):
        return run(["dpkg-deb", "-f", self.package, name]).stdout.strip()

    def test_what_is_there(self):
        for ending in ("/bin/migctl", "/bin/migemu", "/sbin/migd", "/libmig.so.0.1.0",
                       "/libmig.so.0", "/libexec/migd/bin/nvidia-mig-parted",
                       "/libexec/migd/migd-helper",
                       "/man8/migd.8.gz", "/man1/migctl.1.gz", "/completions/migctl",
                       "/site-functions/_migd", "/vendor_completions.d/migd.fish",
                       "share/migd/config.yaml", "share/migd/examples/migd.yaml"):
            self.find(ending)
        for name in ("lib/systemd/system/migd.service", "etc/migd/config.yaml",
                     "usr/share/doc/migd/copyright", "usr/share/doc/migd/changelog.gz"):
            self.assertIn(name, self.files)
        # a stand-in for the driver's files must not be where the driver's are
        for name in self.files:
            if os.path.basename(name).startswith(("nvidia-smi", "libnvidia-ml")):
                self.assertIn("/migemu/", name)
        # until somebody says which geometry is wanted the service does nothing
        self.assertNotIn("etc/migd/migd.yaml", self.files)
        self.assertFalse([name for name in self.files if ".wants/" in name])

    def test_what_it_needs(self):
        self.assertEqual(self.field("Package"), "migd")
        self.assertEqual(os.path.basename(self.package),
                         f"migd_{self.field('Version')}_{self.field('Architecture')}.deb")
        depends = re.findall(r"(?:^|, )([a-z0-9.+-]+)", self.field("Depends"))
        for name in ("libc6", "libyaml", "libjansson", "libuv1", "libssl", "libnghttp2"):
            self.assertTrue(any(one.startswith(name) for one in depends), (name, depends))
        self.assertNotIn("migd", depends)

    def test_programs_run_from_it(self):
        libmig = os.path.dirname(self.find("/libmig.so.0"))
        env = dict(PLAIN, LD_LIBRARY_PATH=libmig)
        done = run([self.find("/bin/migctl"), "version"], env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(self.field("Version"), done.stdout)
        done = run([self.find("/bin/migctl"), "validate",
                    os.path.join(self.tree, "etc/migd/config.yaml")], env)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = run([self.find("/sbin/migd"), "--version"], env)
        self.assertEqual(done.stdout.strip(), f"migd {self.field('Version')}", done.stderr)
        done = run([self.find("/libexec/migd/migd-helper"), "--version"])
        self.assertIn(f"migd-helper {self.field('Version')},", done.stdout, done.stderr)

    def test_the_same_again(self):
        again = make(os.path.join(self.top, "again"))
        with open(self.package, "rb") as one, open(again, "rb") as other:
            self.assertTrue(one.read() == other.read(), "two packages of one build differ")

    def dpkg(self, *arguments):
        root = os.path.join(self.top, "root")
        for directory in ("info", "updates"):
            os.makedirs(os.path.join(root, "var/lib/dpkg", directory), exist_ok=True)
        with open(os.path.join(root, "var/lib/dpkg/status"), "ab"):
            pass
        # nothing it depends on is there, and no shell that scripts could run with
        env = dict(PLAIN, PATH="/usr/sbin:/usr/bin:/sbin:/bin", DEBIAN_FRONTEND="noninteractive")
        done = run(["dpkg", f"--root={root}", "--log=/dev/null", "--force-depends",
                    "--force-not-root", "--force-script-chrootless", "--force-confold",
                    *arguments], env)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return root

    def test_install_change_and_remove(self):
        if os.geteuid() != 0:
            self.skipTest("dpkg sets owners: needs root")
        root = self.dpkg("-i", self.package)
        config = os.path.join(root, "etc/migd/config.yaml")
        with open(config, "a", encoding="utf-8") as out:
            out.write("# mine\n")
        self.dpkg("-i", self.package)
        with open(config, encoding="utf-8") as file:
            self.assertTrue(file.read().endswith("# mine\n"), "a changed config was overwritten")
        state = os.path.join(root, "var/lib/migd")
        os.makedirs(state)
        self.dpkg("-r", "migd")
        self.assertTrue(os.path.exists(config) and os.path.exists(state))
        self.assertEqual(glob.glob(root + "/**/migctl", recursive=True), [])
        self.dpkg("-P", "migd")
        self.assertFalse(os.path.exists(config) or os.path.exists(state))


if __name__ == "__main__":
    tap.main()
