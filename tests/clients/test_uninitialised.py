#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's own libnvidia-ml, which can be asked without a GPU as long as it is not initialised: ours answers the
same, for every function that it has, and calls every error by the same name."""
import csv
import json
import os
import re
import subprocess
import sys
import unittest

from client_case import BUILD, HERE, LIMIT_S, Client, call, tap

FACTS = HERE.parent.parent / "facts/nvml-functions.tsv"
# Looked up in a table that the library hands out, not called by its name.
APART = {"nvmlInternalGetExportTable", "nvmlErrorString"}


def functions_of(library):
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True,
                         text=True, timeout=LIMIT_S).stdout
    return set(re.findall(r" T (nvml\w+)$", out, re.M))


class Library(Client):
    """Every function before nvmlInit, with zeros and with room to write to; texts of all errors; nvmlInit
    without a driver"""
    client = "libnvidia-ml"
    branch = ""

    @classmethod
    def setUpClass(cls):
        cls.peer = f"nvidia-smi-{cls.branch}"
        super().setUpClass()
        if os.path.exists("/proc/driver/nvidia"):
            raise unittest.SkipTest("a driver is loaded: NVIDIA's library would find GPUs")
        cls.real = cls.home / "usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.1"
        cls.ours = BUILD / "src/emulator/libnvidia-ml.so.1"

    def answers(self, library, functions, **environment):
        environment = {name: value for name, value in {**os.environ, **environment}.items()
                       if name != "MIGEMU_NODE" or environment.get(name)}
        done = call(*self.shielded(), sys.executable, HERE / "programs/uninitialised.py", library,
                    *functions, env=environment)
        return json.loads(self.succeeds(done))

    def shielded(self):
        """As root, NVIDIA's nvmlInit makes device nodes; they go into a /dev of its own."""
        if os.geteuid() != 0:
            return []
        prefix = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /dev && exec \"$@\"", "sh"]
        if call(*prefix, "true").returncode:
            self.skipTest("no namespaces here: root would make /dev/nvidiactl")
        return prefix

    def test_same_answers(self):
        with open(FACTS, encoding="utf-8") as file:
            known = {row[0] for row in csv.reader(file, delimiter="\t")}
        functions = functions_of(self.real)
        self.assertGreater(len(functions), 300)
        self.assertEqual(functions - known, set())  # all 416 are exported, which a unit test holds
        functions = sorted(functions - APART)
        real, ours = (self.answers(library, functions) for library in (self.real, self.ours))
        for name in functions:
            with self.subTest(function=name):
                self.assertEqual(ours["codes"][name], real["codes"][name])
        self.assertEqual(ours["init"], real["init"])
        self.assertEqual(ours["version"][:3], real["version"][:3])
        for number, text in real["texts"].items():
            # names of newer errors are those of the newest library
            if text != "Unknown Error" or ours["texts"][number] == text:
                self.assertEqual(ours["texts"][number], text, number)

    def test_version_text(self):
        node = self.node("--gpu", "A30", "--driver", self.version())
        real = self.answers(self.real, [])
        ours = self.answers(self.ours, [], MIGEMU_NODE=str(node.path))
        self.assertEqual(ours["version"], real["version"])


class Library535(Library):
    __doc__ = Library.__doc__
    branch = "535"


class Library550(Library):
    __doc__ = Library.__doc__
    branch = "550"


del Library

if __name__ == "__main__":
    tap.main()
