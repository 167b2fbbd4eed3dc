# SPDX-License-Identifier: Apache-2.0
"""An emulated machine for tests: made in a temporary directory, gone at the end of the case.

MIG_BUILD is the build directory.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ.get("MIG_BUILD", "build")).resolve()
MIGEMU = str(BUILD / "src/emulator/migemu")
LIMIT_S = 60


def call(*command, **options):
    """Runs a command and returns the finished process, output as text."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=LIMIT_S, check=False, **options)


class Node:
    def __init__(self, path, *options):
        self.path = pathlib.Path(path)
        done = call(MIGEMU, "create", self.path, *options)
        if done.returncode:
            raise AssertionError(f"migemu create: {done.stderr}")
        self.environment = self.read_environment()

    def read_environment(self):
        lines = call("sh", "-c", f'eval "$({MIGEMU} env "$1")"; env -0', "sh", self.path).stdout
        return dict(line.split("=", 1) for line in lines.split("\0") if "=" in line)

    def run(self, *command, **options):
        """A command on the machine, library path only."""
        return call(*command, **{"env": self.environment, **options})

    def smi(self, *arguments):
        return self.run("nvidia-smi", *arguments)

    def migemu(self, verb, *arguments):
        """`migemu VERB NODE ARGUMENT...`; verbs of two words are a list."""
        words = verb if isinstance(verb, (list, tuple)) else [verb]
        return call(MIGEMU, *words, self.path, *arguments)


class NodeCase(unittest.TestCase):
    """A case with a scratch directory, and checked commands."""

    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="migemu-test-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def node(self, *options, name="node"):
        return Node(self.scratch / name, *options)

    def succeeds(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def fails(self, done, status, *texts):
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        for text in texts:
            self.assertIn(text, done.stdout + done.stderr)
