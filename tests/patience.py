# SPDX-License-Identifier: Apache-2.0
"""Waiting for what other processes do, with a limit and a reason."""
import time

LIMIT_S = 60


def until(check, what, limit_s=LIMIT_S, pause_s=0.1):
    """Waits until `check` returns something true, and returns that."""
    deadline = time.monotonic() + limit_s
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {limit_s} s, not yet: {what() if callable(what) else what}")
        time.sleep(pause_s)
