# SPDX-License-Identifier: Apache-2.0
"""Clients of an emulated node that tests tell what to call (nvml_worker.c), and nodes for them.

MIG_BUILD is the build directory.
"""
import os
import pathlib
import re
import subprocess

BUILD = pathlib.Path(os.environ.get("MIG_BUILD", "build")).resolve()
MIGEMU = BUILD / "src/emulator/migemu"
LIBRARY = BUILD / "src/emulator/libnvidia-ml.so.1"
WORKER = BUILD / "tests/emulated/nvml-worker"


class Difference(AssertionError):
    """The library and the model do not agree."""


def create(node, gpus, swapped=False, driver=None):
    """Makes a node of GPUs of the reference model; the UUIDs of the GPUs."""
    options = [word for gpu in gpus for word in ("--gpu", gpu.name)]
    options += ["--gi-numbering", "half-swapped" if swapped else "direct"]
    options += ["--driver", driver] if driver else []
    made = subprocess.run([MIGEMU, "create", node, *options], capture_output=True, text=True,
                          check=False)
    if made.returncode:
        raise Difference(f"migemu create: {made.stderr}")
    return re.findall(r"UUID: (GPU-[0-9a-f-]+)", made.stdout)


class Worker:
    """A client process, and the births of the instances that it has handles of."""

    def __init__(self, node, boards):
        self.process = subprocess.Popen([WORKER, LIBRARY, node], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.gis, self.cis = {}, {}
        lines = []
        for gpu, board in enumerate(boards):
            for profile in board.gpu.table.profiles:
                ids = " ".join(str(ci.id) for ci in profile.cis.profiles)
                lines.append(f"profile {gpu} {profile.id} {ids}")
        self.ask(lines)

    def send(self, lines):
        try:
            self.process.stdin.write("".join(line + "\n" for line in lines).encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it was killed early; its answers say how far it got

    def read(self):
        """The next answer, or None when the process has ended."""
        line = self.process.stdout.readline()
        return line[:-1].decode() if line.endswith(b"\n") else None

    def ask(self, lines):
        self.send(lines)
        answers = [self.read() for _ in lines]
        if None in answers:
            raise Difference(f"a client ended: status {self.process.wait()}")
        return answers

    def keep(self, line, number, boards):
        """It has made or asked for an instance, and has its handle."""
        word, gpu, gi = (line + " -").split(" ")[:3]
        if word.startswith("cgi") or word == "keep":
            self.gis[int(gpu), number] = boards[int(gpu)].gis[number].birth
        elif word.startswith("cci") or word == "keepci":
            ci = boards[int(gpu)].gis[int(gi)].cis[number]
            self.cis[int(gpu), int(gi), number] = ci.birth

    def end(self):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()
