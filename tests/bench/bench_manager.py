#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares migd with nvidia-mig-manager on the same Kubernetes, node of eight A100s, and transitions.

    tests/bench/bench_manager.py BUILD [--runs N]

The driver takes no time, so what is measured is what the managers add. Both run as processes of the node,
with NVIDIA's device plugin there, as the GPU operator has it. Time is from the label to `success`; API
requests are from the API server's audit log; destroys are counted by the driver; pods disturbed are those
that are gone afterwards; CPU time and memory (PSS) are of the
manager and all it starts. Needs what
tests/cluster/test_peers.py needs.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
NODE = "node1"
# the first and the last change MIG mode, for which GPU clients have to go
TRANSITIONS = ("all-balanced", "all-1g.5gb", "all-balanced", "all-3g.20gb", "all-disabled")
LEGS = [f"{old} to {new}" for old, new in zip((TRANSITIONS[-1], *TRANSITIONS), TRANSITIONS)]
LIMIT_S = 120


class Sampler(threading.Thread):
    """The highest resident memory of a program and its children."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process = process
        self.peak_mib = 0.0
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.peak_mib = max(self.peak_mib, self.process.usage()[1])


class Bench:
    def __init__(self, cluster, runs):
        self.cluster = cluster
        self.runs = runs
        self.legs = []

    def patch(self, labels):
        self.cluster.api.patch(f"/api/v1/nodes/{NODE}", {"metadata": {"labels": labels}})

    def change(self, name, before):
        """Milliseconds from the label to success."""
        begin = time.monotonic()
        self.patch({"nvidia.com/mig.config": name})
        changed = False
        while time.monotonic() - begin < LIMIT_S:
            state = self.cluster.labels(NODE).get("nvidia.com/mig.config.state")
            changed = changed or state != "success" or self.is_done(before)
            if state == "success" and changed and self.is_done(before):
                return 1000 * (time.monotonic() - begin)
            if state == "failed":
                raise SystemExit(f"{name} failed")
            time.sleep(0.002)
        raise SystemExit(f"{name} was not in place after {LIMIT_S} s")

    def is_done(self, before):
        return self.geometry() != before

    def geometry(self):
        text = self.cluster.migemu(NODE, "show")
        return sorted(re.findall(r"^GPU \d+ GI \d+: .*$", text, re.M)) + \
            re.findall(r"MIG (?:enabled|disabled)", text)

    def destroys(self):
        text = self.cluster.migemu(NODE, "stats")
        return int(re.search(r"^destroys\s+(\d+)", text, re.M).group(1))

    def requests(self, account):
        count = 0
        with open(self.cluster.layout.path("log", "audit.log"), encoding="utf-8") as log:
            for line in log:
                entry = json.loads(line)
                count += entry["user"]["username"].endswith(f":{account}") and \
                    entry["stage"] == "ResponseComplete" and entry["verb"] != "watch"
        return count

    def pods(self):
        items = self.cluster.api.get("/api/v1/pods")["items"]
        return {one["metadata"]["uid"] for one in items if "deletionTimestamp" not in
                one["metadata"]}

    def measure(self, start, account):
        """A row: median ms, then per change API requests, pods, destroys, CPU ms; peak MiB."""
        self.patch({"nvidia.com/mig.config": "all-disabled"})
        process = start()
        time.sleep(8)  # it has started, and is quiet
        sampler = Sampler(process)
        sampler.start()
        requests, destroys, cpu_s = self.requests(account), self.destroys(), process.usage()[0]
        times, gone = {name: [] for name in LEGS}, 0
        for _ in range(self.runs):
            for leg in LEGS:
                pods, before = self.pods(), self.geometry()
                times[leg].append(self.change(leg.split()[-1], before))
                time.sleep(0.5)
                gone += len(pods - self.pods())
                self.wait_plugin()
        time.sleep(2)
        changes = self.runs * len(LEGS)
        self.legs.append([statistics.median(times[leg]) for leg in LEGS])
        everything = [one for leg in LEGS for one in times[leg]]
        row = (statistics.median(everything), (self.requests(account) - requests) / changes,
               gone / changes, (self.destroys() - destroys) / changes,
               1000 * (process.usage()[0] - cpu_s) / changes)
        sampler.over.set()
        sampler.join()
        process.kill(signal.SIGKILL)
        return (*row, sampler.peak_mib)

    def wait_plugin(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            items = self.cluster.api.get("/api/v1/namespaces/gpu-operator/pods")["items"]
            if items and all(one["status"]["phase"] == "Running" and "deletionTimestamp" not in
                             one["metadata"] for one in items):
                return
            time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["MIG_BUILD"] = str(pathlib.Path(arguments.build).resolve())
    sys.path.insert(0, str(HERE.parent / "cluster"))
    import cluster_case  # the build is known now
    import migd_case
    import peers
    reason = cluster_case.why_not()
    if reason or not peers.has("mig-manager") or not peers.has("device-plugin"):
        raise SystemExit(f"bench_manager: {reason or 'no nvidia-mig-manager: make cluster-programs'}")
    cluster = cluster_case.TestCluster("--node", "A100-SXM4-40GB*8", *cluster_case.image_options())
    migd_case.deploy(cluster)
    cluster.apply(peers.namespace(), peers.device_plugin(), {
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "peer", "namespace": peers.NAMESPACE}}, {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "peer"}, "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "peer",
                      "namespace": peers.NAMESPACE}]})
    bench = Bench(cluster, arguments.runs)
    bench.patch({"nvidia.com/gpu.deploy.device-plugin": "true"})
    bench.wait_plugin()

    def migd():
        kubeconfig = cluster.token_kubeconfig("migd", migd_case.NAMESPACE, node=NODE)
        return cluster_case.NodeProcess(cluster, NODE, [
            migd_case.MIGD, "--node-name", NODE, "--kubeconfig", str(kubeconfig), "--namespace",
            migd_case.NAMESPACE, "--default-gpu-clients-namespace", peers.NAMESPACE,
            "--nvidia-driver-root", "/run/nvidia/driver", "--roles", "manager",
            "--config-file", str(migd_case.CONFIG)])

    def peer():
        kubeconfig = cluster.token_kubeconfig("peer", peers.NAMESPACE)
        return cluster_case.NodeProcess(cluster, NODE,
                                        *peers.manager_command(cluster, NODE, kubeconfig))

    rows = [("migd", bench.measure(migd, "migd")), ("nvidia-mig-manager",
                                                    bench.measure(peer, "peer"))]
    cluster.down()
    for leg, *found in zip(LEGS, *bench.legs):
        print(f"{leg:30}" + "".join(f"{one:10.1f} ms" for one in found))
    print(f"\n{'per change':22}{'ms':>9}{'requests':>10}{'pods gone':>11}{'destroys':>10}"
          f"{'CPU ms':>9}{'peak MiB':>10}")
    for name, row in rows:
        print(f"{name:22}{row[0]:9.1f}{row[1]:10.1f}{row[2]:11.1f}{row[3]:10.1f}{row[4]:9.1f}"
              f"{row[5]:10.1f}")
    ratio = [other / own if own else float("inf") for own, other in zip(rows[0][1], rows[1][1])]
    print(f"{'ratio':22}{ratio[0]:9.1f}{ratio[1]:10.1f}{'':11}{ratio[3]:10.1f}{ratio[4]:9.1f}"
          f"{ratio[5]:10.1f}")


if __name__ == "__main__":
    main()
