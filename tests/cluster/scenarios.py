#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the scenarios of tests/cluster and prints TAP.

    scenarios.py [MODULE[.CLASS[.CASE]] ...]        all test_*.py when none is named

What is named runs on one cluster, one after the other. All of them run on MIGD_CLUSTERS (2) clusters at
once: most of the time of a scenario is waiting. Each cluster belongs to a runner, a process that takes
a module at a time from standard input.
"""
import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import unittest

from layout import HERE, SOURCE

sys.path.insert(0, str(SOURCE / "tests"))
import cluster_case  # noqa: E402
import tap  # noqa: E402

CLUSTERS = 1 if "MIGD_CLUSTER_AT" in os.environ else int(os.environ.get("MIGD_CLUSTERS", "2"))
RUNNER = "--runner"
END = "# end of module\n"
# the longest first, so that no runner is left alone with one of them
FIRST = ("test_faults", "test_slices", "test_presets", "test_overlays", "test_kills")


def end_in_order(_number, _frame):
    """As Ctrl-C, which no test takes for its own failure: the cluster is taken down first."""
    raise KeyboardInterrupt


def run(names):
    """On a cluster of this process; the result."""
    result = tap.TapResult()
    unittest.defaultTestLoader.loadTestsFromNames(names).run(result)
    return result


def be_runner():
    for line in sys.stdin:
        run([line.strip()])
        print(END, end="", flush=True)


class Together:
    """Runners that share the modules, and what came of it."""

    def __init__(self, modules):
        self.todo = queue.SimpleQueue()
        for name in sorted(modules, key=lambda name: FIRST.index(name) if name in FIRST else 99):
            self.todo.put(name)
        self.lock = threading.Lock()
        self.count = 0
        self.failed = False
        self.runners = [subprocess.Popen([sys.executable, __file__, RUNNER], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                        for _ in range(CLUSTERS)]

    def tell(self, name, lines, took_s):
        """A module's lines, with the numbers that they have in the whole."""
        with self.lock:
            for line in lines:
                match = re.match(r"(not )?ok \d+ (.*)", line, re.S)
                if match:
                    self.count += 1
                    self.failed = self.failed or bool(match.group(1))
                    line = f"{match.group(1) or ''}ok {self.count} {match.group(2)}"
                print(line, end="")
            print(f"# {name} took {took_s:.0f} s", flush=True)

    def feed(self, runner):
        """Gives a runner module after module, until there is none, or the runner has ended."""
        alive = True
        while alive:
            try:
                name = self.todo.get_nowait()
            except queue.Empty:
                break
            begin = time.monotonic()
            lines = []
            with contextlib.suppress(BrokenPipeError):  # its output ends, too
                print(name, file=runner.stdin, flush=True)
            while not lines or lines[-1] not in (END, ""):
                lines.append(runner.stdout.readline())
            alive = lines.pop() == END
            if not alive:
                lines.append(f"not ok 0 - {name}: its runner has ended\n")
            self.tell(name, lines, time.monotonic() - begin)
        with contextlib.suppress(BrokenPipeError):
            runner.stdin.close()

    def run(self):
        threads = [threading.Thread(target=self.feed, args=(one,), daemon=True)
                   for one in self.runners]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            for runner in self.runners:
                runner.terminate()
            raise
        finally:
            for runner in self.runners:
                runner.wait()
        while not self.todo.empty():
            name = self.todo.get()
            self.tell(name, [f"not ok 0 - {name}: no runner is left\n"], 0)
        print(f"1..{self.count}", flush=True)
        return not self.failed


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_in_order)
    modules = sorted(path.stem for path in HERE.glob("test_*.py"))
    if len(sys.argv) == 1 and CLUSTERS > 1 and cluster_case.why_not() is None:
        sys.exit(0 if Together(modules).run() else 1)
    try:
        if sys.argv[1:] == [RUNNER]:
            be_runner()
            return
        result = run(sys.argv[1:] or modules)
    finally:
        cluster_case.end_shared()
    print(f"1..{result.count}", flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
