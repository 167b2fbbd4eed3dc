#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/emulator.md says what is so: its sessions are run, its examples built and run.

A ```console block is a session: lines behind "$ " are commands, the others what they print. "..." stands
for any text within a line, and alone on a line for any lines. All blocks are one session, in order.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import BUILD, MIGEMU, NodeCase, call  # noqa: E402

SOURCE = pathlib.Path(os.environ.get("MIG_SOURCE", ".")).resolve()
DOCUMENT = SOURCE / "docs/emulator.md"
EXAMPLES = SOURCE / "examples/emulator"
LIMIT_S = 120


def sessions(text):
    """[(line number, command, expected output)] of all console blocks."""
    steps, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            steps.append((number, line[2:], []))
        elif inside and steps and steps[-1][1].endswith("\\") and not steps[-1][2]:
            steps[-1] = (steps[-1][0], steps[-1][1] + "\n" + line, [])
        elif inside:
            steps[-1][2].append(line)
    return steps


def pattern(lines):
    parts = []
    for line in lines:
        if line == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(part) for part in line.split("...")) + r"[ ]*\n")
    return "".join(parts)


class Document(NodeCase):
    def test_sessions(self):
        steps = sessions(DOCUMENT.read_text(encoding="utf-8"))
        self.assertGreater(len(steps), 10)
        mark = "=== {} ==="
        script = "".join(f"echo '{mark.format(i)}'\n{command}\n"
                         for i, (_, command, _) in enumerate(steps))
        environment = {"PATH": f"{BUILD}/src/emulator:{BUILD}/src/cli:/usr/bin:/bin",
                       "HOME": str(self.scratch), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(["bash"], input=script, env=environment, cwd=self.scratch, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
                              check=False)
        outputs = re.split(r"^=== \d+ ===\n", done.stdout, flags=re.M)[1:]
        self.assertEqual(len(outputs), len(steps), done.stdout[-2000:])
        for (number, command, expected), output in zip(steps, outputs):
            with self.subTest(line=number, command=command):
                self.assertRegex(output, r"\A" + pattern(expected) + r"\Z")

    def test_names_every_verb(self):
        listed = re.findall(r"^  ([a-z]+)  ", self.succeeds(call(MIGEMU, "--help")), flags=re.M)
        text = DOCUMENT.read_text(encoding="utf-8")
        self.assertGreater(len(listed), 15)
        for verb in listed:
            self.assertRegex(text, rf"`(migemu )?{verb}\b", verb)


    def test_names_every_preset(self):
        text = DOCUMENT.read_text(encoding="utf-8")
        for line in self.succeeds(call(MIGEMU, "fault", "presets")).splitlines():
            self.assertIn(f"| `{line.split()[0]}` | {line[17:]} |", text)


class Pages(NodeCase):
    """What is generated from migemu's help."""

    def verbs(self):
        return re.findall(r"^  ([a-z]+)  ", self.succeeds(call(MIGEMU, "--help")), flags=re.M)

    def test_man_page_has_all_of_the_help(self):
        page = (BUILD / "man/migemu.1.scd").read_text(encoding="utf-8").replace("\\", "")
        for verb in self.verbs():
            text = self.succeeds(call(MIGEMU, verb, "--help"))
            self.assertIn(f"\n## {verb}\n", page)
            for option in re.findall(r"^  (--?\S+|\S+=\S+)", text, flags=re.M):
                self.assertIn(f"\n*{option}", page)
        manual = BUILD / "man/migemu.1"
        if manual.exists():
            self.assertIn(".TH", manual.read_text(encoding="utf-8"))

    def test_bash_completes(self):
        def complete(*words):
            script = (f'source "{BUILD}/src/cli/completions/migemu"; COMP_WORDS=({" ".join(words)}); '
                      f'COMP_CWORD={len(words) - 1}; _migemu; printf "%s\\n" "${{COMPREPLY[@]}}"')
            return self.succeeds(call("bash", "-c", script)).split()
        self.assertEqual(sorted(complete("migemu", "''")), sorted(self.verbs()))
        self.assertEqual(complete("migemu", "cr"), ["create"])
        self.assertIn("--driver", complete("migemu", "create", "--d"))
        self.assertEqual(complete("migemu", "job", "sto"), ["stop"])
        self.assertEqual(complete("migemu", "set", "node", "gi-c"), ["gi-create-ms="])


class Examples(NodeCase):
    def test_c(self):
        if not shutil.which("cc"):
            raise unittest.SkipTest("no C compiler")
        node = self.node("--gpu", "A30", "--mig", "on")
        program = self.scratch / "slices"
        # NVML's own header is not here; ours has the same declarations
        (self.scratch / "nvml.h").write_text('#include "nvml/nvml_functions.h"\n')
        self.succeeds(call("cc", "-Wall", "-Werror", EXAMPLES / "slices.c", "-o", program,
                           f"-I{self.scratch}", f"-I{SOURCE}/src", f"-I{BUILD}/src/nvml",
                           f"-I{BUILD}/src", f"-L{BUILD}/src/emulator", "-l:libnvidia-ml.so.1"))
        self.assertEqual(self.succeeds(node.run(program)), "GPU 0 NVIDIA A30: 0 MIG devices\n")
        self.succeeds(node.smi("mig", "-cgi", "14,14", "-C"))
        listed = self.succeeds(node.run(program)).splitlines()
        self.assertEqual(listed[0], "GPU 0 NVIDIA A30: 2 MIG devices")
        self.assertRegex(listed[1], r"^  MIG-[0-9a-f-]{36} 5952 MiB$")

    def test_python(self):
        peers = pathlib.Path(os.environ.get("MIGD_PEERS",
                                            pathlib.Path.home() / ".cache/migd-peers"))
        path = peers / "python-peers"
        if not (path / "pynvml.py").exists():
            raise unittest.SkipTest("nvidia-ml-py has not been fetched")
        environment = {**os.environ, "PATH": f"{BUILD}/src/emulator:/usr/bin:/bin",
                       "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
        done = call(sys.executable, EXAMPLES / "test_slices.py", env=environment, cwd=self.scratch)
        self.succeeds(done)
        self.assertIn("OK", done.stderr)


if __name__ == "__main__":
    tap.main()
