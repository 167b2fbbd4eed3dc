# SPDX-License-Identifier: Apache-2.0
"""Tests of programs of others on emulated machines.

A class is one client. `peer` is its folder in the cache that tests/clients/fetch-peers fills; where the
client could not be had, the class is skipped with the reason. The class's docstring is the scenario,
which tests/clients/matrix writes into docs/clients.md beside the verdict.

MIGD_PEERS is the cache (~/.cache/migd-peers), MIG_BUILD the build directory.
"""
import os
import pathlib
import re
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "emulated")]
import tap  # noqa: E402,F401
from machine_case import BUILD, LIMIT_S, MIGEMU, NodeCase, call  # noqa: E402,F401

PEERS = pathlib.Path(os.environ.get("MIGD_PEERS") or
                     os.path.expanduser("~/.cache/migd-peers"))
# Where the kernel has no /proc/modules, migemu run makes /proc of links, which no leak checker likes.
QUIET = {"ASAN_OPTIONS": "detect_leaks=0"}


def peer_path(name):
    """Folder of a fetched peer; SkipTest with the reason where there is none."""
    folder = PEERS / name
    if folder.is_dir():
        return folder
    note = PEERS / f"{name}.missing"
    reason = note.read_text(encoding="utf-8").strip() if note.exists() else \
        "run tests/clients/fetch-peers to get it"
    raise unittest.SkipTest(f"{name} is not here: {reason}")


def python_version(folder, package):
    """Version of an installed package by its metadata."""
    found = sorted(folder.glob(f"{package}-*.dist-info"))
    return found[0].name[len(package) + 1:-len(".dist-info")] if found else "?"


class Client(NodeCase):
    maxDiff = None
    client = ""  # its name in the matrix
    peer = ""
    package = ""  # of a Python peer

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = peer_path(cls.peer)

    @classmethod
    def version(cls):
        if cls.package:
            return python_version(cls.home, cls.package)
        note = cls.home / "version"
        return note.read_text(encoding="utf-8").strip() if note.exists() else "?"

    def inside(self, node, *command, **environment):
        """A command in the machine's namespace, with its /proc, /sys and /dev."""
        done = call(MIGEMU, "run", node.path, "--", *command,
                    env={**os.environ, **QUIET, **environment})
        if done.returncode and "migemu: " in done.stderr and "namespace" in done.stderr:
            self.skipTest("no namespaces here: " + done.stderr.splitlines()[0])
        return done

    def job(self, node, place, name="train.py", memory="1G"):
        """Starts a virtual process on a place; returns its pid as text."""
        out = self.succeeds(node.migemu(["job", "start"], "--on", place, "--name", name,
                                        "--memory", memory))
        return re.search(r"process (\d+)", out).group(1)
