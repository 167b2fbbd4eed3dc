#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory of migd with all roles on 56 slices: 8 emulated A100s, 7 slices each.

    bench_memory.py BUILD [--seconds N]

Taken after N seconds with the geometry settled, the metrics read once a second and, where grpcio
is there (tests/clients/fetch-peers), the slices registered with a kubelet. Three processes are
added up:

    migd rss_mib    the sum of what `ps` shows; a page that all three share counts three times
    migd pss_mib    what the machine pays: a shared page counts once, and by parts where other programs
                    share it too

A line for each process says how much of it is of itself (private). Passes or fails nothing.
"""
import argparse
import os
import pathlib
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = pathlib.Path(os.environ.get("MIGD_PEERS") or os.path.expanduser("~/.cache/migd-peers"))
ROLES = "manager,device-plugin,labels,metrics"
RESOURCE = "nvidia.com/mig-1g.5gb"
SLICES = 56
WAIT_S = 60


def rollup_mib(pid):
    """{field: MiB} of a process."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    found = {line.split(":")[0]: int(line.split()[-2]) / 1024
             for line in text.splitlines()[1:]}
    found["Private"] = found["Private_Clean"] + found["Private_Dirty"]
    return found


def name_of(migd, pid):
    if pid == migd.process.pid:
        return "supervisor"
    return "helper" if pid == migd.part(True) else "agent"


def start_kubelet(directory):
    """A kubelet, or None."""
    if not (PEERS / "python-grpc").is_dir():
        print("no grpcio here (tests/clients/fetch-peers): without a kubelet", file=sys.stderr)
        return None
    sys.path[:0] = [str(PEERS / "python-grpc"), str(ROOT / "tests/clients")]
    from fake_kubelet import FakeKubelet
    return FakeKubelet(str(directory)).start()


def settle(migd, kubelet, scrape, until):
    """Until all slices are there, are shown, and are registered."""
    def shown():
        if migd.process.poll() is not None:
            raise SystemExit("migd ended: " + migd.log()[-2000:])
        try:
            return scrape().count("DCGM_FI_DEV_FB_USED{") >= SLICES
        except OSError:
            return False
    until(shown, lambda: "metrics of all slices: " + migd.log()[-2000:], WAIT_S)
    if kubelet and not kubelet.wait(lambda: kubelet.allocatable(RESOURCE) == SLICES, WAIT_S):
        raise SystemExit("not registered: " + migd.log()[-2000:])


def measure(seconds):
    import node as nodes  # the build is known now
    from test_metrics import free_port
    from test_migd import Migd, until
    port = free_port()

    def scrape():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    with nodes.Node("A100-SXM4-40GB*8", options=("--mig", "on")) as node, \
            tempfile.TemporaryDirectory(prefix="migd-bench-") as top:
        kubelet = start_kubelet(pathlib.Path(top) / "kubelet")
        migd = Migd(node, "--roles", ROLES, "--config-file", nodes.CONFIG, "--config",
                    "all-1g.5gb", "--mig-strategy", "mixed", "--listen", f"127.0.0.1:{port}",
                    "--kubelet-dir", f"{top}/kubelet", "--cdi-dir", f"{top}/cdi", "--labels-to",
                    "file", "--labels-file", f"{node.directory}/state/agent/labels",
                    "--poll-interval", "1s", "--log-level", "info")
        try:
            settle(migd, kubelet, scrape, until)
            for _ in range(seconds):
                time.sleep(1)
                scrape()
            return [(name_of(migd, pid), rollup_mib(pid)) for pid in migd.pids()]
        finally:
            migd.kill()
            if kubelet:
                kubelet.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    os.environ["MIG_BUILD"] = str(pathlib.Path(arguments.build).resolve())
    os.environ["MIG_SOURCE"] = str(ROOT)
    sys.path.insert(0, str(ROOT / "tests/emulated"))
    found = measure(arguments.seconds)
    for name, one in found:
        print(f"{name:12}{one['Rss']:8.1f} rss  {one['Pss']:6.1f} pss  "
              f"{one['Private']:6.1f} private")
    print(f"migd rss_mib: {sum(one['Rss'] for _, one in found):.1f}")
    print(f"migd pss_mib: {sum(one['Pss'] for _, one in found):.1f}")


if __name__ == "__main__":
    main()
