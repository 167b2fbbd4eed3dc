# SPDX-License-Identifier: Apache-2.0
"""What the scenarios on a real Kubernetes share: one cluster for all of them, and ways to use it.

The cluster has three workers: node1 and node2 with one A30 each, node3 with eight A100. It is
started by the first scenario that needs it and ended by the runner, see scenarios.py. A scenario that
fails leaves the cluster usable for the next: setUp() brings every node back to its first state.
"""
import atexit
import functools
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

import images
import peers
from api import Api, Refused
from layout import API_URL, BUILD, HERE, PROGRAMS, SOURCE, Cluster
from supervise import ask

sys.path.insert(0, str(SOURCE / "tests"))
from patience import until  # noqa: E402  # pylint: disable=unused-import

COMMAND = str(HERE / "cluster")
IMAGE = "migd.test/busybox:1"
LIMIT_S = 60
MIGEMU = str(BUILD / "src/emulator/migemu")
# what `make image` has made
MIGD_ARCHIVE = BUILD.parent / (BUILD.name + "-image") / "migd.tar"


def why_not():
    """The reason why no cluster can be started here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not (PROGRAMS / "bin" / "kubectl").exists():
        return f"no Kubernetes in {PROGRAMS}: run tests/cluster/build-programs"
    for name in ("runc", "busybox", "ip", "nsenter"):
        if not shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/bin"):
            return f"{name} is not installed"
    return None


def call(*argv, text=None, limit_s=LIMIT_S, env=None):
    """Runs a command; returns the completed process."""
    return subprocess.run([str(word) for word in argv], input=text, capture_output=True, text=True,
                          timeout=limit_s, check=False, env=env)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class TestCluster:
    """A cluster in a directory of its own."""

    def __init__(self, *options):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="mc-", dir="/tmp"))
        self.scratch.chmod(0o755)  # migd's agent is another user
        self.directory = self.scratch / "c"
        done = call(COMMAND, "-C", self.directory, "up", *options, limit_s=300)
        if done.returncode != 0:
            logs = self.directory / "log"
            raise AssertionError(f"cluster up: {done.stdout}{done.stderr}(logs: {logs})")
        self.layout = Cluster.load(self.directory)
        atexit.register(self.down)

    @classmethod
    def attach(cls, directory):
        """One that somebody else has started, and will end."""
        cluster = cls.__new__(cls)
        cluster.scratch = pathlib.Path(directory) / "absent"
        cluster.directory = pathlib.Path(directory)
        cluster.layout = Cluster.load(directory)
        return cluster

    def down(self):
        if self.scratch.exists():
            call(COMMAND, "-C", self.directory, "down")
            if not os.environ.get("MIGD_KEEP"):
                shutil.rmtree(self.scratch, ignore_errors=True)

    # ---- Kubernetes ----

    @functools.cached_property
    def api(self):
        """For what is asked often; see also oc()."""
        control = self.layout.path("pid").read_text(encoding="utf-8").split()[1]
        return Api(self.layout, children(int(control))[0])

    def oc(self, *argv, text=None, limit_s=LIMIT_S):
        return call(COMMAND, "-C", self.directory, "oc", *argv, text=text, limit_s=limit_s)

    def output(self, *argv, text=None):
        done = self.oc(*argv, text=text)
        if done.returncode != 0:
            raise AssertionError(f"oc {' '.join(argv)}: {done.stderr}")
        return done.stdout

    def get(self, *argv):
        return json.loads(self.output("get", *argv, "-o", "json"))

    def apply(self, *documents):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        return self.output("apply", "-f", "-", text=text)

    def labels(self, node):
        return self.api.get(f"/api/v1/nodes/{node}")["metadata"].get("labels", {})

    def phase(self, pod, namespace="default"):
        try:
            return self.api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")["status"]["phase"]
        except Refused as error:
            if error.status != 404:
                raise
            return "absent"

    def wait_phase(self, pod, phase, limit_s=LIMIT_S, namespace="default"):
        until(lambda: self.phase(pod, namespace) == phase,
              lambda: f"pod {pod} is {self.phase(pod, namespace)}, not {phase}", limit_s)

    # ---- faults of the API ----

    def start_proxy(self):
        """Starts the proxy that makes faults; clients reach the API at layout.PROXY_URL too."""
        self.tell("start faultproxy")
        until(lambda: self.control_proxy("GET", "/counts")[0] == 200, "no proxy", 10)

    def control_proxy(self, method, path, body=""):
        connection = UnixConnection(self.layout.path("faults.sock"))
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()

    def faults(self, *rules):
        """What goes wrong from now on, see kube/faultproxy/rule.go; none: nothing."""
        status, text = self.control_proxy("POST", "/rules", "\n".join(rules))
        if status != 200:
            raise AssertionError(f"faults: {text}")

    def fault_counts(self):
        return json.loads(self.control_proxy("GET", "/counts")[1])

    def token_kubeconfig(self, account, namespace, server=API_URL, node=None):
        """A kubeconfig for a service account, by token, as a pod (on the node) has it."""
        spec = {"audiences": []}
        if node:
            uid = self.api.get(f"/api/v1/nodes/{node}")["metadata"]["uid"]
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}
        token = self.api.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": spec})["status"]["token"]
        path = self.layout.path("pki", f"{namespace}-{account}-{node or 'any'}.kubeconfig")
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {
                "server": server, "certificate-authority": str(self.layout.path("pki", "ca.crt"))}}],
            "users": [{"name": "c", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}),
            encoding="utf-8")
        path.chmod(0o644)
        return path

    def beside(self, *argv, limit_s=LIMIT_S):
        """Runs a command in the network of the API server."""
        return call(COMMAND, "-C", self.directory, "exec", "--", *argv, limit_s=limit_s)

    # ---- nodes ----

    def on(self, node, *argv, limit_s=LIMIT_S):
        """Runs a command on a node, as its root."""
        return call(COMMAND, "-C", self.directory, "exec", node, "--", *argv, limit_s=limit_s)

    def machine(self, node):
        return self.layout.machine(self.layout.worker(node))

    def migemu(self, node, verb, *rest):
        done = call(MIGEMU, *verb.split(), self.machine(node), *rest)
        if done.returncode != 0:
            raise AssertionError(f"migemu {verb}: {done.stderr}")
        return done.stdout

    def remember(self, node):
        self.migemu(node, "snapshot", self.layout.path("nodes", node, "first"))

    def forget(self, node):
        """Brings a node back to what it was: no pods, none of its GPU labels, the first GPU state."""
        pods = "/api/v1/namespaces/default/pods"
        if self.api.get(pods)["items"]:
            self.api.call("DELETE", f"{pods}?gracePeriodSeconds=1")
            until(lambda: not self.api.get(pods)["items"], "pods stay")
        metadata = self.api.get(f"/api/v1/nodes/{node}")["metadata"]
        self.api.patch(f"/api/v1/nodes/{node}", {"metadata": {
            kind: {name: None for name in metadata.get(kind, {}) if name.startswith(prefixes)}
            for kind, prefixes in (("labels", "nvidia.com/"), ("annotations", "migd.dev/"))}})
        self.migemu(node, "restore", self.layout.path("nodes", node, "first"))

    def is_up(self, node):
        """Whether there is anything of a node, that is its first process."""
        return f" {node}=0:" not in " " + self.tell("list")

    def power_on(self, node):
        """Starts a node that is down. Disks are as they were; /run, processes and the GPUs are not."""
        self.migemu(node, "reboot")
        refused = []

        def is_started():  # not while the kernel still takes down what was there before
            try:
                self.tell(f"start {node}")
            except RuntimeError as error:
                refused.append(error)
                return False
            return True
        until(is_started, lambda: refused[-1], 20, 0.3)
        until(lambda: self.on(node, "true").returncode == 0, f"{node} does not boot", 30)

    def power_cycle(self, node):
        self.tell(f"kill {node}")
        until(lambda: not self.is_up(node), f"{node} does not end")
        self.power_on(node)

    def seem_to_boot(self, node):
        """As far as migd can see, the node has booted: GPUs and boot id are as after it."""
        self.migemu(node, "reboot")
        self.layout.path("nodes", node, "boot_id").write_text(f"{uuid.uuid4()}\n", encoding="utf-8")

    def tell(self, line, node=None):
        path = ["nodes", node] if node else []
        return ask(self.layout.path(*path, "control.sock"), line)


class NodeProcess:
    """A program that runs on a node as the node's root, with its output in a file."""

    def __init__(self, cluster, node, argv, environment=None):
        self.log = cluster.layout.path("log", f"{node}-{secrets.token_hex(3)}.out")
        words = [f"{name}={value}" for name, value in (environment or {}).items()]
        with open(self.log, "wb") as log:
            self.entered = subprocess.Popen(
                [COMMAND, "-C", cluster.directory, "exec", node, "--", "env", *words, *argv],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid = until(self.find, f"{argv[0]} did not start: {self.output()}", 15, 0.02)

    def find(self):
        """The command: nsenter's child, because a PID namespace begins with a child."""
        if self.entered.poll() is not None:
            raise AssertionError(f"it ended at once: {self.output()}")
        found = children(self.entered.pid)
        return found[0] if found else None

    def output(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_running(self):
        return self.entered.poll() is None

    def kill(self, number=signal.SIGKILL, limit_s=20):
        """Signals the program, and with SIGKILL all it has started; waits for its end."""
        family = descendants(self.pid) if number == signal.SIGKILL else []
        for pid in [self.pid, *family]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        self.entered.wait(limit_s)

    def usage(self):
        """(CPU seconds, MiB of memory, shared pages in parts) of the program and all below it, now."""
        tick = os.sysconf("SC_CLK_TCK")
        cpu_s = rss_mib = 0.0
        for pid in [self.pid, *descendants(self.pid)]:
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text(
                    encoding="utf-8").rsplit(")", 1)[1].split()
                rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
            except OSError:
                continue
            cpu_s += sum(int(one) for one in fields[11:15]) / tick
            rss_mib += sum(int(line.split()[1]) for line in rollup.splitlines()
                           if line.startswith("Pss:")) / 1024
        return cpu_s, rss_mib


def children(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    except OSError:
        return []
    return [int(word) for word in text.split()]


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


SHARED_OPTIONS = ("--node", "A30", "--node", "A30", "--node", "A100-SXM4-40GB*8")
_shared = []


def shared():
    """The cluster of this run. With MIGD_CLUSTER_AT, one that runs already, which is then kept."""
    if not _shared:
        at = os.environ.get("MIGD_CLUSTER_AT")
        cluster = TestCluster.attach(at) if at else TestCluster(*SHARED_OPTIONS, *image_options())
        for worker in cluster.layout.workers:
            cluster.remember(worker.name)
        _shared.append(cluster)
    return _shared[0]


def image_options():
    """Images to import beside the test image: those of the peers and of migd, where they are there."""
    options = []
    if peers.has("device-plugin"):
        path = pathlib.Path(tempfile.gettempdir()) / f"migd-peers-{os.getpid()}.tar"
        images.peers(path, peers.PEERS)
        atexit.register(path.unlink, missing_ok=True)
        options += ["--image", str(path)]
    if MIGD_ARCHIVE.exists():
        options += ["--image", str(MIGD_ARCHIVE)]
    return options


def end_shared():
    while _shared:
        _shared.pop().down()


def pod(name, node=None, resources=None, command=None, **metadata):
    """A pod that sleeps, on a node, with extended resources."""
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never",
                            "resources": {"limits": resources or {}}}]}
    if command:
        spec["containers"][0]["command"] = command
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"name": name, "namespace": "default", **metadata}}


@unittest.skipIf(why_not(), why_not())
class ClusterCase(unittest.TestCase):
    """A scenario on the shared cluster."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = shared()

    def succeeds(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout
