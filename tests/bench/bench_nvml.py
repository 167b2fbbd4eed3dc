#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cost of NVML calls on the emulated driver, and on another library where there is one.

    tests/bench/bench_nvml.py BUILD [--against LIBRARY] [--json FILE]

Calls per second and, with valgrind, instructions per call (the difference of two runs, so that loading counts
for nothing) of the ten calls that clients make most, and of creating and destroying an instance. The other
library is NVIDIA's own mock (k8s-test-infra), when the Go module proxy gives it, or the one of --against. What any
library written in Go costs at least is shown by an empty function exported from Go.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MOCK = "github.com/NVIDIA/k8s-test-infra"
MOCK_VERSION = "1f5c0e9eaf8cdd7856c388c7d24bf90adc1c3e8b"
MOCK_PACKAGE = MOCK + "/pkg/gpu/mocknvml/bridge"
COUNT = 1000
SLOW = {"create and destroy"}

EMPTY_GO = """package main

import "C"

//export nvmlInit_v2
func nvmlInit_v2() C.int { return 0 }

//export empty
func empty(number C.uint, text *C.char) C.int { return 0 }

func main() {}
"""
EMPTY_C = """
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>
int main(int argc, char **argv)
{
    void *library = dlopen(argv[1], RTLD_NOW);
    int (*empty)(unsigned, char *) = library ? (int (*)(unsigned, char *))dlsym(library, "empty") : 0;
    struct timespec begin, end;
    unsigned long count = 2000000, i;
    if (argc != 2 || !empty)
        return 1;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (i = 0; i < count; i++)
        empty(0, 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.0f\\n", count / (end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9));
    return 0;
}
"""


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                          timeout=900, **options)


def make_node(build, path):
    """Two A100s, the second with two MIG devices, a process on each kind."""
    migemu = build / "src/emulator/migemu"
    steps = [["create", path, "--gpu", "A100-SXM4-40GB*2"],
             ["run", path, "--no-namespace", "--", "nvidia-smi", "-i", "1", "-mig", "1"],
             ["run", path, "--no-namespace", "--", "nvidia-smi", "mig", "-i", "1", "-cgi", "9,14", "-C"],
             ["job", "start", path, "--on", "0"], ["job", "start", path, "--on", "1:2"]]
    for step in steps:
        done = run(migemu, *step)
        if done.returncode:
            sys.exit(f"bench_nvml: migemu {step[0]}: {done.stderr}")
    lines = run(migemu, "env", path).stdout
    library = re.search(r"LD_LIBRARY_PATH='([^':]*)", lines).group(1)
    return pathlib.Path(library) / "libnvidia-ml.so.1"


def speeds(program, library, environment):
    """{name: calls per second, or the text of a failure}"""
    done = run(program, library, env=environment)
    if done.returncode:
        sys.exit(f"bench_nvml: {done.stderr}")
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return {name: float(value) if value.isdigit() else value for name, value in rows}


def instructions(program, library, environment, name):
    """Per call; None without valgrind."""
    totals = []
    count = COUNT // 50 if name in SLOW else COUNT
    for times in (count, 2 * count):
        done = run("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, library, name,
                   times, env=environment)
        total = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode or not total:
            return None
        totals.append(int(total.group(1)))
    return (totals[1] - totals[0]) / count


def build_mock():
    """NVIDIA's mock library, or None and the reason."""
    if not shutil.which("go"):
        return None, "Go is not installed"
    peers = pathlib.Path(os.environ.get("MIGD_PEERS") or pathlib.Path.home() / ".cache/migd-peers")
    library = peers / "nvml-mock/libnvidia-ml.so.1"
    if library.exists():
        return library, ""
    with tempfile.TemporaryDirectory() as work:
        pathlib.Path(work, "go.mod").write_text("module peers\n\ngo 1.21\n", encoding="utf-8")
        environment = dict(os.environ, GOFLAGS="-mod=mod -buildvcs=false")
        # from the proxy only, as all peers
        proxies = run("go", "env", "GOPROXY").stdout.strip().split(",")
        environment["GOPROXY"] = ",".join(one for one in proxies if one != "direct") or "off"
        for command in (["go", "get", f"{MOCK}@{MOCK_VERSION}"],
                        ["go", "build", "-buildmode=c-shared", "-o", library, MOCK_PACKAGE]):
            done = run(*command, cwd=work, env=environment)
            if done.returncode:
                reason = re.search(r"(\d{3} [A-Z][a-z]+)", done.stderr)
                return None, ("the Go module proxy does not give it: " +
                              (reason.group(1) if reason else done.stderr.strip()[-200:]))
    return library, ""


def go_floor():
    """Calls per second of an empty function exported from Go; None where that cannot be built."""
    if not shutil.which("go") or not shutil.which("cc"):
        return None
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        (work / "empty.go").write_text(EMPTY_GO, encoding="utf-8")
        (work / "call.c").write_text(EMPTY_C, encoding="utf-8")
        environment = dict(os.environ, CGO_ENABLED="1")
        for command in (["go", "build", "-buildmode=c-shared", "-o", "empty.so", "empty.go"],
                        ["cc", "-O2", "call.c", "-o", "call"]):
            if run(*command, cwd=work, env=environment).returncode:
                return None
        done = run(work / "call", work / "empty.so")
        return float(done.stdout) if done.returncode == 0 else None


def measure(program, library, environment, with_instructions):
    rows = {}
    for name, speed in speeds(program, library, environment).items():
        cost = instructions(program, library, environment, name) if with_instructions else None
        rows[name] = {"calls_per_s": speed, "instructions": cost}
    return rows


def show(ours, theirs):
    print(f"  {'call':38} {'calls/s':>12} {'ns':>8} {'instructions':>13}" + ("  ratio" if theirs else ""))
    for name, row in ours.items():
        speed = row["calls_per_s"]
        if isinstance(speed, str):
            print(f"  {name:38} {speed}")
            continue
        cost = f"{row['instructions']:13.0f}" if row["instructions"] else f"{'-':>13}"
        line = f"  {name:38} {speed:12,.0f} {1e9 / speed:8.0f} {cost}"
        other = theirs.get(name, {}).get("calls_per_s") if theirs else None
        if isinstance(other, float):
            line += f"  {speed / other:5.1f}x"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--against", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    program = build / "tests/bench/bench_nvml"
    valgrind = shutil.which("valgrind") is not None
    with tempfile.TemporaryDirectory() as directory:
        node = pathlib.Path(directory) / "node"
        library = make_node(build, node)
        environment = {**os.environ, "MIGEMU_NODE": str(node)}
        ours = measure(program, library, environment, valgrind)
    other, reason = (arguments.against, "") if arguments.against else build_mock()
    theirs = measure(program, other, dict(os.environ), False) if other else {}
    floor = go_floor()
    print("NVML on the emulated driver: two A100, one in MIG mode, one process on each")
    show(ours, theirs)
    if not valgrind:
        print("  instructions: valgrind is not installed")
    print(f"  against {other}" if other else f"  NVIDIA's mock library is not here: {reason}")
    if floor:
        print(f"  an empty function exported from Go, the least of any library in Go: {floor:,.0f} calls/s, "
              f"{1e9 / floor:.0f} ns")
    if arguments.json:
        arguments.json.write_text(json.dumps({"ours": ours, "theirs": theirs, "go_floor": floor}, indent=1),
                                  encoding="utf-8")


if __name__ == "__main__":
    main()
