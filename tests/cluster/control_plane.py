#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The first process of a cluster: its network, control plane, and the workers' namespaces.

    control_plane.py DIRECTORY

Runs as process 1 of a PID namespace with mount, network, UTS and IPC namespaces of its own; a worker
is a second level of them. When this process ends, all of the cluster does.
"""
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import sys
import time

import cgroups
from layout import (API_ADDRESS, API_PORT, API_URL, HERE, PREFIX, PROXY_PORT, SERVICE_ADDRESS,
                    SERVICE_RANGE, Cluster, program)
from supervise import Program, Supervisor

ETCD = "http://127.0.0.1:2379"
RUN_SIZE = "6g"


def run(*argv):
    subprocess.run([str(word) for word in argv], check=True)


def prepare_system(cluster):
    """The tmpfs that holds all state, and the bridge with the API server's addresses."""
    path = cluster.path("run")
    path.mkdir(exist_ok=True)
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", f"size={RUN_SIZE},mode=755", "migd-cluster", path)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "cluster", "type", "bridge")
    run("ip", "addr", "add", f"{API_ADDRESS}/{PREFIX}", "dev", "cluster")
    run("ip", "addr", "add", f"{SERVICE_ADDRESS}/32", "dev", "cluster")
    run("ip", "link", "set", "cluster", "up")
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="utf-8")


def etcd(cluster):
    return [program("etcd"), "--data-dir", cluster.path("run", "etcd"), "--unsafe-no-fsync",
            "--listen-client-urls", ETCD, "--advertise-client-urls", ETCD,
            "--listen-peer-urls", "http://127.0.0.1:2380", "--log-level", "warn",
            "--snapshot-count", "5000"]


def api_server(cluster):
    pki = cluster.path("pki")
    return [program("kube-apiserver"), f"--advertise-address={API_ADDRESS}",
            "--bind-address=0.0.0.0", f"--secure-port={API_PORT}", f"--etcd-servers={ETCD}",
            f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/service-accounts.pub",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            f"--service-cluster-ip-range={SERVICE_RANGE}", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
            f"--audit-policy-file={HERE}/audit-policy.yaml",
            f"--audit-log-path={cluster.path('log', 'audit.log')}", "--audit-log-maxsize=100",
            "--audit-log-maxbackup=1", "--profiling=false", "--goaway-chance=0.02", "--v=1"]


def controller_manager(cluster):
    pki = cluster.path("pki")
    kubeconfig = f"{pki}/controller-manager.kubeconfig"
    return [program("kube-controller-manager"), f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}", "--leader-elect=false",
            "--use-service-account-credentials=true", f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/service-accounts.key",
            "--bind-address=127.0.0.1", "--profiling=false", "--v=1"]


def scheduler(cluster):
    kubeconfig = cluster.path("pki", "scheduler.kubeconfig")
    return [program("kube-scheduler"), f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}", "--leader-elect=false",
            "--bind-address=127.0.0.1", "--profiling=false", "--v=1"]


def fault_proxy(cluster):
    """Not started with the others: `cluster tell 'start faultproxy'`."""
    pki = cluster.path("pki")
    return [program("faultproxy"), "-listen", f"{API_ADDRESS}:{PROXY_PORT}",
            "-control", cluster.path("faults.sock"), "-target", API_URL, "-ca", f"{pki}/ca.crt",
            "-certificate", f"{pki}/apiserver.crt", "-key", f"{pki}/apiserver.key",
            "-seed", os.environ.get("MIGD_SEED", "1")]


# ---- workers ----


def connect_worker(process, worker):
    """Gives the network namespace of a worker a cable to the bridge, and a route to its pods."""
    own = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 20
    while os.readlink(f"/proc/{process.pid}/ns/net") == own:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{worker.name} did not start")
        time.sleep(0.01)
    port = f"port{worker.number}"
    while os.path.exists(f"/sys/class/net/{port}"):  # of before a reboot, until the kernel has it gone
        subprocess.run(["ip", "link", "delete", port], capture_output=True, check=False)
        time.sleep(0.02)
    run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", process.pid)
    run("ip", "link", "set", port, "master", "cluster", "up")
    run("ip", "route", "replace", worker.pod_range, "via", worker.address)


def worker_program(cluster, worker):
    directories = cgroups.make(f"{cgroups.PREFIX}{cluster.ident}/{worker.name}")
    argv = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--cgroup", "--fork",
            "--kill-child", "--mount-proc", sys.executable, HERE / "worker.py",
            cluster.directory, worker.name]
    return Program(worker.name, argv, cluster.path("log", f"{worker.name}.log"), restart=False,
                   before=lambda: cgroups.enter(directories),
                   after=lambda process: connect_worker(process, worker))


# ---- when is it ready ----


class Api:
    """Just enough of a client to ask what is ready."""

    def __init__(self, cluster):
        pki = cluster.path("pki")
        self.context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))

    def get(self, path):
        connection = http.client.HTTPSConnection(API_ADDRESS, API_PORT, context=self.context,
                                                 timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def is_ready(self):
        return self.get("/readyz")[0] == 200

    def ready_nodes(self):
        status, body = self.get("/api/v1/nodes")
        if status != 200:
            return set()
        return {node["metadata"]["name"] for node in json.loads(body)["items"]
                if any(one["type"] == "Ready" and one["status"] == "True"
                       for one in node["status"].get("conditions", []))
                and not node["spec"].get("taints")}

    def has_default_account(self):
        return self.get("/api/v1/namespaces/default/serviceaccounts/default")[0] == 200


class Progress:
    """Says in `log/progress` what is ready, a line each, the last one `ready`."""

    def __init__(self, cluster, began):
        self.cluster = cluster
        self.began = began
        self.api = Api(cluster)
        self.said = set()
        self.file = open(cluster.path("log", "progress"), "a", encoding="utf-8")

    def say(self, what):
        if what not in self.said:
            self.said.add(what)
            self.file.write(f"{time.monotonic() - self.began:.1f} s: {what}\n")
            self.file.flush()

    def poll(self):
        """True as long as something is not ready."""
        if "API server" not in self.said:
            if not self.api.is_ready():
                return True
            self.say("API server")
            self.cluster.path("run", "api-ready").touch()
        for name in self.api.ready_nodes():
            self.say(f"node {name}")
        if self.api.has_default_account():
            self.say("controllers")
        wanted = {f"node {one.name}" for one in self.cluster.workers}
        if self.cluster.workers:
            wanted.add("controllers")  # without which pods are refused
        if not wanted <= self.said:
            return True
        self.say("ready")
        return False


def main():
    began = time.monotonic()
    cluster = Cluster.load(sys.argv[1])
    prepare_system(cluster)
    supervisor = Supervisor(cluster.path("control.sock"))
    # The parent holds the other end of standard input: its end is the end of the cluster.
    supervisor.watch(sys.stdin.fileno(), lambda: sys.exit(0))
    for name, argv in (("etcd", etcd), ("kube-apiserver", api_server),
                       ("kube-controller-manager", controller_manager),
                       ("kube-scheduler", scheduler)):
        supervisor.add(Program(name, argv(cluster), cluster.path("log", f"{name}.log")))
    supervisor.add(Program("faultproxy", fault_proxy(cluster),
                           cluster.path("log", "faultproxy.log")), start=False)
    for worker in cluster.workers:
        supervisor.add(worker_program(cluster, worker))
    supervisor.run(Progress(cluster, began).poll)


if __name__ == "__main__":
    main()
