# SPDX-License-Identifier: Apache-2.0
"""README.md shows real output: every console block in it is found again in what `make run` prints,
and the commands that it names exist."""
import os
import pathlib
import re
import subprocess
import sys
import unittest

SOURCE = pathlib.Path(os.environ["MIG_SOURCE"])
BUILD = pathlib.Path(os.environ["MIG_BUILD"])
sys.path.insert(0, str(SOURCE / "tests"))
import tap  # noqa: E402


def commands_of(text):
    """[(command line, output)] of a transcript."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.M)[1:]
    return list(zip(parts[::2], parts[1::2]))


def masked(output):
    """What differs from run to run: dates, durations, and spaces at the ends of lines."""
    output = re.sub(r"\b\d+\.\d+ s\b", "N s", output)
    return [line.rstrip() for line in output.splitlines() if line.strip()]


class Readme(unittest.TestCase):
    """The README against the programs."""

    @classmethod
    def setUpClass(cls):
        cls.readme = (SOURCE / "README.md").read_text(encoding="utf-8")
        result = subprocess.run([str(SOURCE / "tools" / "demo"), str(BUILD)], text=True, check=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                                env=dict(os.environ, LC_ALL="C.UTF-8", COLUMNS="100"))
        cls.demo = {}
        for command, output in commands_of(result.stdout):
            cls.demo.setdefault(command, output)

    def test_console_blocks_are_what_make_run_prints(self):
        blocks = re.findall(r"^```console\n(.*?)^```", self.readme, flags=re.M | re.S)
        self.assertTrue(blocks)
        for block in blocks:
            for command, output in commands_of(block):
                self.assertIn(command, self.demo)
                wanted = masked(output)
                got = masked(self.demo[command])
                self.assertEqual(wanted, got[:len(wanted)], command)

    def test_every_command_is_listed(self):
        text = subprocess.run([str(BUILD / "src/cli/migctl"), "--help"], capture_output=True,
                              text=True, check=True).stdout
        names = re.findall(r"^  ([a-z-]+)  +[a-z]", text.split("Options of")[0], flags=re.M)
        self.assertIn("status", names)
        for name in names:
            with self.subTest(name):
                self.assertIn(f"migctl {name}", self.readme)

    def test_files_that_are_linked_exist(self):
        for target in re.findall(r"\]\(([^)#:]+)\)", self.readme):
            with self.subTest(target):
                self.assertTrue((SOURCE / target).exists())


if __name__ == "__main__":
    tap.main()
