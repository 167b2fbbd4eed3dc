#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares migctl with nvidia-mig-parted on the same emulated node of eight A100s.

    tests/bench/bench.py BUILD [--runs N] [--json FILE]

Both programs get the same files, node and driver. A row is one job from one starting state; wall and
CPU time are medians over the runs, creates and destroys are counted by the emulated driver. Ratios within
one run are the result; absolute times say little about another machine. The peer comes from
tests/clients/fetch-peers, which builds it when Go is there (or from $NVIDIA_MIG_PARTED); without it our
side is shown alone.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

GPU = "A100-SXM4-40GB*8"

CONFIG = """version: v1
mig-configs:
  empty:
    - devices: all
      mig-enabled: true
      mig-devices: {}
  all-1g:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb": 7
  all-balanced:
    - devices: all
      mig-enabled: true
      mig-devices:
        "1g.5gb": 2
        "2g.10gb": 1
        "3g.20gb": 1
  over-subscribed:
    - devices: [0]
      mig-enabled: true
      mig-devices:
        "1g.5gb": 4
        "2g.10gb": 2
        "3g.20gb": 1
  over-subscribed-7920:
    - devices: [0]
      mig-enabled: true
      mig-devices:
        "1g.5gb": 7
        "2g.10gb": 3
        "3g.20gb": 2
"""

# name, state before, config that is applied, expected to work
JOBS = [
    ("no-op apply", "all-balanced", "all-balanced", True),
    ("all-balanced from empty", "empty", "all-balanced", True),
    ("all-1g to all-balanced", "all-1g", "all-balanced", True),
    ("over-subscribed, 105 orders", "empty", "over-subscribed", False),
    ("over-subscribed, 7,920 orders", "empty", "over-subscribed-7920", False),
]


def find_peer():
    """The peer's path, or None and the reason."""
    given = os.environ.get("NVIDIA_MIG_PARTED")
    if given:
        return given, ""
    peers = pathlib.Path(os.environ.get("MIGD_PEERS") or
                         pathlib.Path.home() / ".cache" / "migd-peers")
    fetch = pathlib.Path(__file__).resolve().parent.parent / "clients" / "fetch-peers"
    subprocess.run([str(fetch), str(peers), "mig-parted"], stdout=subprocess.DEVNULL, check=False)
    program = peers / "mig-parted" / "nvidia-mig-parted"
    if program.exists():
        return str(program), ""
    missing = peers / "mig-parted.missing"
    return None, missing.read_text().strip() if missing.exists() else "it could not be fetched"


def measure(command, limit=600):
    """
    Runs once: (exit code, wall s, CPU s, peak RSS MiB). GNU time stands between, since a child of this
    program would have its peak RSS, not its own, until it executes something.
    """
    peak = tempfile.NamedTemporaryFile(mode="r", suffix=".rss")
    begin = time.perf_counter()
    process = subprocess.Popen(["/usr/bin/time", "-q", "-f", "%M", "-o", peak.name, *command],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = begin + limit
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.perf_counter() > deadline:
            process.kill()
            pid, status, usage = os.wait4(process.pid, 0)
            break
        time.sleep(0.0005)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begin
    with peak:
        rss = int(peak.read().split()[-1] or 0)
    return process.returncode, wall, usage.ru_utime + usage.ru_stime, rss / 1024


class Node:
    """An emulated node; runs inside `migemu run`, so that the peer finds the files of a driver."""

    def __init__(self, build, path):
        self.migemu = str(build / "src/emulator/migemu")
        self.path = path

    def control(self, *arguments):
        return subprocess.run([self.migemu, *arguments], check=True, capture_output=True,
                              text=True).stdout

    def counters(self):
        stats = json.loads(self.control("stats", self.path, "--json"))
        return stats["creates"], stats["destroys"]


def run_job(node, apply, setup, before, config, runs):
    rows = []
    for _ in range(runs):
        subprocess.run(setup(before), check=True, stdout=subprocess.DEVNULL)
        creates, destroys = node.counters()
        code, wall, cpu, rss = measure(apply(config))
        creates_after, destroys_after = node.counters()
        rows.append((code, wall, cpu, rss, creates_after - creates, destroys_after - destroys))
    return {"exit": rows[-1][0], "wall_s": statistics.median(row[1] for row in rows),
            "cpu_s": statistics.median(row[2] for row in rows),
            "rss_mib": max(row[3] for row in rows), "creates": rows[-1][4],
            "destroys": rows[-1][5]}


def ratio(theirs, ours):
    return f"{theirs / ours:6.1f}x" if ours else ("   =" if theirs == ours else "   inf")


def show(name, ours, peer):
    def line(who, row):
        print(f"  {who:18} exit {row['exit']}  wall {row['wall_s'] * 1e3:9.1f} ms  "
              f"CPU {row['cpu_s'] * 1e3:9.1f} ms  RSS {row['rss_mib']:6.1f} MiB  "
              f"creates {row['creates']:6}  destroys {row['destroys']:6}")
    print(name)
    line("migctl", ours)
    if peer:
        line("nvidia-mig-parted", peer)
        print(f"  {'ratio':18}         wall {ratio(peer['wall_s'], ours['wall_s'])}"
              f"    CPU {ratio(peer['cpu_s'], ours['cpu_s'])}"
              f"     RSS {ratio(peer['rss_mib'], ours['rss_mib'])}")


def inside(arguments):
    build = pathlib.Path(arguments.build).resolve()
    node = Node(build, os.environ["MIGEMU_NODE"])
    migctl = str(build / "src/cli/migctl")
    config = os.path.join(os.path.dirname(node.path), "config.yaml")
    peer, reason = arguments.peer, arguments.reason

    def ours(name):
        return [migctl, "apply", "-f", config, "-c", name]

    def theirs(name):
        return [peer, "apply", "-f", config, "-c", name]

    if peer:
        version = subprocess.run([peer, "--version"], capture_output=True, text=True, check=False)
        print("The peer:", " ".join(version.stdout.split()[:3]) or peer)
    print(f"Eight emulated A100 40GB, driver latency 0, {arguments.runs} runs, medians:")
    results = {}
    for name, before, wanted, works in JOBS:
        mine = run_job(node, ours, ours, before, wanted, arguments.runs)
        if (mine["exit"] == 0) != works:
            sys.exit(f"bench: {name}: migctl ended with {mine['exit']}")
        other = None
        if peer:
            runs = arguments.runs if works else 1
            other = run_job(node, theirs, ours, before, wanted, runs)
        results[name] = {"migctl": mine, "nvidia-mig-parted": other}
        show(name, mine, other)
    if not peer:
        print(f"nvidia-mig-parted is not compared: {reason}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as output:
            json.dump(results, output, indent=2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--reason", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(arguments)
        return 0
    build = pathlib.Path(arguments.build).resolve()
    peer, reason = find_peer()
    with tempfile.TemporaryDirectory() as directory:
        node = os.path.join(directory, "node")
        with open(os.path.join(directory, "config.yaml"), "w", encoding="utf-8") as output:
            output.write(CONFIG)
        migemu = str(build / "src/emulator/migemu")
        subprocess.run([migemu, "create", node, "--gpu", GPU, "--mig", "on"], check=True,
                       stdout=subprocess.DEVNULL)
        command = [migemu, "run", node, "--", sys.executable, os.path.abspath(__file__), str(build),
                   "--inside", "--runs", str(arguments.runs), "--reason", reason]
        if peer:
            command += ["--peer", peer]
        if arguments.json:
            command += ["--json", os.path.abspath(arguments.json)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
