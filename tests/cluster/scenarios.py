#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the scenarios of tests/cluster on one cluster and prints TAP.

    scenarios.py [MODULE[.CLASS[.CASE]] ...]        all test_*.py when none is named
"""
import signal
import sys
import unittest

from layout import HERE, SOURCE

sys.path.insert(0, str(SOURCE / "tests"))
import cluster_case  # noqa: E402
import tap  # noqa: E402


def end_in_order(_number, _frame):
    """As Ctrl-C, which no test takes for its own failure: the cluster is taken down first."""
    raise KeyboardInterrupt


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_in_order)
    loader = unittest.defaultTestLoader
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("test_*.py"))
    result = tap.TapResult()
    try:
        loader.loadTestsFromNames(names).run(result)
    finally:
        cluster_case.end_shared()
    print(f"1..{result.count}", flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
