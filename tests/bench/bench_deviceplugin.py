#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""migd, device plugin and labels, beside NVIDIA's device plugin and gpu-feature-discovery:
the same emulated node, the same kubelet (grpc's C core).

    bench_deviceplugin.py [--gpus 8] [--starts 5] [--calls 1000] [--idle 10]

Time from start to registered, from a MIG change to the kubelet's list, of Allocate; memory with 7 slices on each GPU
and CPU time while nothing happens, of all processes together. NVIDIA's plugin does not see changes; it is started
again at once. Prints numbers, passes or fails nothing. What is not here (tests/clients/fetch-peers) is left out.
"""
import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("MIG_BUILD", "build")).resolve()
PEERS = pathlib.Path(os.environ.get("MIGD_PEERS") or os.path.expanduser("~/.cache/migd-peers"))
KUBELET = "/var/lib/kubelet"
PROC = pathlib.Path("/var/lib/proc")  # the machine shows one of its own at /proc
RESOURCE = "nvidia.com/mig-1g.5gb"
WAIT_S = 60
SLICES = 7

LABELS = "/var/lib/labels"  # a folder that anybody may write to
PROGRAMS = {
    "migd": [BUILD / "src/daemon/migd", "--roles", "device-plugin,labels", "--mig-strategy",
             "mixed", "--labels-to", "file", "--labels-file", f"{LABELS}/gfd",
             "--state-dir", "/var/lib/migd", "--cdi-dir", "/var/lib/cdi", "--log-level", "error"],
    "nvidia": [PEERS / "device-plugin/nvidia-device-plugin", "--device-discovery-strategy=nvml",
               "--mig-strategy=mixed"],
}
# what runs beside it to do the same
COMPANIONS = {
    "nvidia": [PEERS / "device-plugin/gpu-feature-discovery", "--device-discovery-strategy=nvml",
               "--mig-strategy=mixed", "--use-node-feature-api=false", f"--output-file={LABELS}/gfd"],
}


def smi(*arguments):
    subprocess.run(["nvidia-smi", "mig", *arguments], check=True, stdout=subprocess.DEVNULL)


def family(pid):
    """A process and its descendants."""
    found = [pid] if (PROC / f"{pid}/stat").exists() else []
    for task in (PROC / f"{pid}/task").glob("*/children"):
        for child in task.read_text(encoding="ascii").split():
            found += family(int(child))
    return found


def memory_kib(pid, field):
    total = 0
    for one in family(pid):
        for line in (PROC / f"{one}/smaps_rollup").read_text(
                encoding="ascii").splitlines():
            if line.startswith(field + ":"):
                total += int(line.split()[1])
    return total


def cpu_s(pid):
    ticks = 0
    for one in family(pid):
        words = (PROC / f"{one}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Run:
    """One plugin before one kubelet, in the namespace of the machine."""

    def __init__(self, name):
        from fake_kubelet import FakeKubelet
        self.name = name
        self.kubelet = FakeKubelet(KUBELET).start()
        self.started = time.monotonic()
        self.process = self.start()
        self.companion = None

    def start(self, commands=None):
        return subprocess.Popen([str(word) for word in (commands or PROGRAMS)[self.name]],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def accompany(self):
        """Starts what runs beside it, and waits until there are labels."""
        if self.name in COMPANIONS:
            self.companion = self.start(COMPANIONS)
        limit = time.monotonic() + WAIT_S
        while not pathlib.Path(LABELS, "gfd").exists():
            if time.monotonic() > limit:
                raise SystemExit(f"{self.name}: no labels")
            time.sleep(0.05)

    def pids(self):
        return [one.pid for one in (self.process, self.companion) if one]

    def restart(self):
        """What makes NVIDIA's plugin see a change."""
        self.process.terminate()
        self.process.wait(WAIT_S)
        self.process = self.start()

    def wait(self, count):
        """Seconds since `started` until the kubelet has so many devices."""
        if not self.kubelet.wait(lambda: self.kubelet.allocatable(RESOURCE) == count, WAIT_S):
            raise SystemExit(f"{self.name}: {self.kubelet.allocatable(RESOURCE)} devices, not {count}")
        return self.kubelet.resources[RESOURCE].times[-1] - self.started

    def close(self):
        for process in [one for one in (self.process, self.companion) if one]:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.kubelet.stop()
        pathlib.Path(LABELS, "gfd").unlink(missing_ok=True)


def measure(name, options):
    total = options.gpus * SLICES
    starts, changes, calls = [], [], []
    for _ in range(options.starts):
        run = Run(name)
        starts.append(run.wait(total))
        run.close()
    run = Run(name)
    run.wait(total)
    ids = list(run.kubelet.resources[RESOURCE].devices())
    for number in range(options.calls):
        begin = time.monotonic()
        run.kubelet.allocate(RESOURCE, [ids[number % len(ids)]])
        calls.append(time.monotonic() - begin)
    for _ in range(options.starts):
        for arguments, count in ((("-dci", "-gi", "7", "-i", "0"), None),
                                 (("-dgi", "-gi", "7", "-i", "0"), total - 1),
                                 (("-cgi", "19", "-C", "-i", "0"), total)):
            smi(*arguments)
            run.started = time.monotonic()
            if count:
                if name == "nvidia":
                    run.restart()
                changes.append(run.wait(count))
    run.accompany()
    time.sleep(2)
    idle = sum(map(cpu_s, run.pids()))
    time.sleep(options.idle)
    idle = sum(map(cpu_s, run.pids())) - idle
    for process in (run.process, run.companion):
        if process and process.poll() is not None:
            raise SystemExit(f"{process.args[0]} ended with {process.returncode}")
    result = {"start_ms": statistics.median(starts) * 1000,
              "change_ms": statistics.median(changes) * 1000,
              "allocate_p50_us": statistics.median(calls) * 1e6,
              "allocate_p99_us": sorted(calls)[len(calls) * 99 // 100] * 1e6,
              "rss_mib": sum(memory_kib(one, "Rss") for one in run.pids()) / 1024,
              "pss_mib": sum(memory_kib(one, "Pss") for one in run.pids()) / 1024,
              "pss_of_labels_mib": memory_kib(run.companion.pid, "Pss") / 1024
                                   if run.companion else 0.0,
              "idle_cpu_ms_per_min": 60e3 * idle / options.idle}
    run.close()
    return result


def inside(options):
    """In a mount namespace of the machine, with a /var/lib of our own."""
    sys.path[:0] = [str(PEERS / "python-grpc"), str(ROOT / "clients")]
    names = [name for name in PROGRAMS if pathlib.Path(PROGRAMS[name][0]).exists()]
    for gpu in range(options.gpus):
        smi("-cgi", ",".join(["19"] * SLICES), "-C", "-i", str(gpu))
    print(json.dumps({name: measure(name, options) for name in names}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=10, help="seconds without work, for the CPU time")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        inside(options)
        return
    if not (PEERS / "python-grpc").is_dir():
        raise SystemExit("grpcio is not here: run tests/clients/fetch-peers")
    with tempfile.TemporaryDirectory(prefix="migd-bench-") as directory:
        migemu = BUILD / "src/emulator/migemu"
        node = pathlib.Path(directory) / "node"
        subprocess.run([migemu, "create", node, "--gpu", f"A100-SXM4-40GB*{options.gpus}", "--mig",
                        "on"], check=True, stdout=subprocess.DEVNULL)
        done = subprocess.run(
            [migemu, "run", node, "--", "unshare", "-m", "sh", "-c",
             f"mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/proc && mkdir -m 777 {LABELS} && "
             "mount -t proc proc /var/lib/proc && exec \"$@\"", "sh", sys.executable, __file__,
             "--inside", "--gpus", str(options.gpus), "--starts", str(options.starts), "--calls",
             str(options.calls), "--idle", str(options.idle)], check=True, stdout=subprocess.PIPE,
            text=True, env={**os.environ, "MIG_BUILD": str(BUILD)})
    results = json.loads(done.stdout.splitlines()[-1])
    names = list(results)
    print(f"{'':20}" + "".join(f"{name:>12}" for name in names))
    for metric in results[names[0]]:
        print(f"{metric:20}" + "".join(f"{results[name][metric]:12.2f}" for name in names))


if __name__ == "__main__":
    main()
