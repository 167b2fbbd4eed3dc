#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A library per driver branch: what it exports, what it says, and which one a machine gets."""
import csv
import os
import pathlib
import shutil
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import BUILD, NodeCase, call  # noqa: E402

SOURCE = pathlib.Path(os.environ.get("MIG_SOURCE", "."))
LIBRARIES = BUILD / "src/emulator"
NEWEST = 610
PRIVATE = "migemu_reset_gpu"

ERROR_STRINGS = """
import ctypes, sys
nvml = ctypes.CDLL(sys.argv[1])
nvml.nvmlErrorString.restype = ctypes.c_char_p
for code in [*range(40), 999]:
    print(code, nvml.nvmlErrorString(code).decode())
"""


def facts():
    with open(SOURCE / "facts/nvml-branches.tsv", encoding="utf-8") as file:
        return {row["symbol"]: int(row["since"]) for row in csv.DictReader(file, delimiter="\t")}


def library_of(branch):
    folder = LIBRARIES if branch == NEWEST else LIBRARIES / f"r{branch}"
    return folder / "libnvidia-ml.so.1"


def exports(path):
    """Names a library defines for others, of its own only (a sanitizer adds some)."""
    if not shutil.which("nm"):
        raise unittest.SkipTest("no nm (binutils)")
    lines = call("nm", "-D", "--defined-only", path).stdout.splitlines()
    return {line.split()[-1] for line in lines if line.split()[-1].startswith(("nvml", "migemu"))}


class Branches(NodeCase):
    def test_exports(self):
        since = facts()
        branches = sorted(set(since.values()))
        self.assertEqual(branches[0], 535)
        self.assertEqual(branches[-1], NEWEST)
        for branch in branches:
            with self.subTest(branch=branch):
                expected = {symbol for symbol in since if since[symbol] <= branch}
                self.assertEqual(exports(library_of(branch)), expected | {PRIVATE})

    def test_symbols_have_no_version(self):
        lines = call("nm", "-D", "--defined-only", library_of(550)).stdout
        self.assertNotIn("nvmlInit_v2@", lines)

    def test_machine_gets_the_library_of_its_driver(self):
        for driver, folder in (("470.82.01", "r535"), ("535.129.03", "r535"), ("545.23.08", "r535"),
                               ("550.90.07", "r550"), ("565.57.01", "r560"), ("570.86.15", "r570"),
                               ("575.51.03", "r575"), ("580.65.06", "r580"), ("590.44.01", "r590"),
                               ("595.45.04", "r595"), ("610.1", "emulator")):
            with self.subTest(driver=driver):
                node = self.node("--gpu", "A30", "--driver", driver, name=driver)
                first = node.environment["LD_LIBRARY_PATH"].split(":")[0]
                self.assertEqual(pathlib.Path(first).name, folder)
                self.assertIn(driver, self.succeeds(node.smi("--version")))

    def test_all_work_alike(self):
        for driver in ("535.129.03", "550.90.07", "580.65.06"):
            with self.subTest(driver=driver):
                node = self.node("--gpu", "A30", "--mig", "on", "--driver", driver, name=driver)
                self.succeeds(node.smi("mig", "-cgi", "5,14", "-C"))
                self.assertEqual(self.succeeds(node.smi("-L")).count("MIG-"), 2)
                self.succeeds(node.smi("--gpu-reset", "-i", "0"))

    def test_error_strings_of_the_branch(self):
        said = {branch: self.succeeds(call(sys.executable, "-c", ERROR_STRINGS, library_of(branch)))
                .splitlines() for branch in (535, 550, NEWEST)}
        self.assertEqual(said[535][27], "27 System is not in ready state")
        self.assertEqual(said[535][28:31], ["28 Unknown Error", "29 Unknown Error", "30 Unknown Error"])
        self.assertEqual(said[550][28], "28 No supported GPUs were found")
        self.assertEqual(said[550], said[NEWEST])
        self.assertEqual(said[535][:28], said[550][:28])


class Peers(NodeCase):
    """NVIDIA's own libraries, where tests/clients/fetch-peers has got them."""

    def theirs(self, branch):
        peers = pathlib.Path(os.environ.get("MIGD_PEERS",
                                            pathlib.Path.home() / ".cache/migd-peers"))
        found = sorted((peers / f"nvidia-smi-{branch}").rglob(f"libnvidia-ml.so.{branch}.*"))
        if not found:
            raise unittest.SkipTest(f"NVIDIA's library {branch} has not been fetched")
        return found[0]

    def compare(self, branch):
        theirs = self.theirs(branch)
        self.assertEqual(exports(library_of(branch)) - {PRIVATE}, exports(theirs))
        said = [self.succeeds(call(sys.executable, "-c", ERROR_STRINGS, library))
                for library in (library_of(branch), theirs)]
        self.assertEqual(said[0], said[1])

    def test_535(self):
        self.compare(535)

    def test_550(self):
        self.compare(550)


if __name__ == "__main__":
    tap.main()
