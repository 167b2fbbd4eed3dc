# SPDX-License-Identifier: Apache-2.0
"""Emulated nodes for tests: made in a temporary directory, with the environment to run programs on.

    with Node("A30*2") as node:
        code, document = node.json("status")

Where the build is comes from MIG_BUILD (the build directory), where the sources are from MIG_SOURCE.
"""
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile

BUILD = os.environ.get("MIG_BUILD", "build")
SOURCE = os.environ.get("MIG_SOURCE", ".")
MIGCTL = os.path.join(BUILD, "src/cli/migctl")
MIGEMU = os.path.join(BUILD, "src/emulator/migemu")
CONFIG = os.path.join(SOURCE, "examples/config.yaml")
TIMEOUT_S = 60

# Nothing of the tester's own settings; sanitizers may have their options.
PLAIN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TERM": "xterm",
         **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}}


def run(argv, env=None, text_input=None):
    """Runs a program; returns the completed process with text output."""
    return subprocess.run(argv, env=env or PLAIN, input=text_input, capture_output=True, text=True,
                          timeout=TIMEOUT_S, check=False)


class Node:
    """One emulated machine."""

    def __init__(self, *gpus, options=()):
        self.directory = tempfile.mkdtemp(prefix="migctl-test-")
        self.path = os.path.join(self.directory, "node")
        argv = [MIGEMU, "create", self.path]
        for gpu in gpus:
            argv += ["--gpu", gpu]
        made = run(argv + list(options))
        if made.returncode != 0:
            self.close()
            raise RuntimeError("could not make a node: " + made.stderr)
        self.env = dict(PLAIN)
        for line in self.migemu("env").stdout.splitlines():
            name, value = shlex.split(line)[1].split("=", 1)
            self.env[name] = value.replace("$PATH", PLAIN["PATH"]).replace("${PATH}", PLAIN["PATH"])

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        shutil.rmtree(self.directory, ignore_errors=True)

    def migemu(self, verb, *rest):
        """`migemu VERB NODE ...`; verbs of two words are given as one text."""
        done = run([MIGEMU, *verb.split(), self.path, *rest])
        if done.returncode != 0:
            raise RuntimeError(f"migemu {verb}: {done.stderr}")
        return done

    def migctl(self, *argv, **env):
        return run([MIGCTL, *argv], dict(self.env, **env))

    def json(self, *argv, **env):
        """Exit code and document of a command with -o json."""
        done = self.migctl(*argv, "-o", "json", **env)
        return done.returncode, json.loads(done.stdout)

    def apply(self, name):
        done = self.migctl("apply", "-f", CONFIG, "-c", name)
        if done.returncode != 0:
            raise RuntimeError(f"could not apply {name}: {done.stderr}")
        return done

    def instances(self, gpu=0):
        """(gi id, profile, start) of a GPU, by id."""
        document = self.json("status")[1]
        return sorted((one["gi_id"], one["profile"], one["start"])
                      for one in document["gpus"][gpu]["instances"])

    def job(self, place, name="train.py"):
        """Starts a virtual process on a place; returns its pid."""
        done = self.migemu("job start", "--on", place, "--name", name)
        return int(re.search(r"\d+", done.stdout).group())
