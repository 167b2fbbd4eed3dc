#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The first process of a worker node: its host files, containerd and kubelet.

    worker.py DIRECTORY NODE

Runs in mount, PID, network, UTS, IPC and cgroup namespaces of its own. The root file system is the
test machine's, with these of its own: /run, /etc, /var (the machine's underneath), /proc/driver,
/dev and the parts of /sys that show an emulated GPU host, and /sys/fs/cgroup.
"""
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import time
import uuid

import cgroups
from layout import API_ADDRESS, BUILD, HERE, PREFIX, Cluster, program
from supervise import Program, Supervisor

IMAGE_NAMESPACE = "k8s.io"
SANDBOX_IMAGE = "migd.test/busybox:1"
CNI_PROGRAMS = "/usr/lib/cni"
WAIT_S = 60


def run(*argv):
    subprocess.run([str(word) for word in argv], check=True)


def mount(*argv):
    run("mount", *argv)


class Host:
    """The files of the node, made in a directory of the cluster's tmpfs."""

    def __init__(self, cluster, worker):
        self.cluster = cluster
        self.worker = worker
        self.state = cluster.path("run", worker.name)
        self.machine = cluster.machine(worker)

    def scratch(self, name):
        path = self.state / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def prepare(self):
        mount("--make-rprivate", "/")
        shutil.rmtree(self.state / "run", ignore_errors=True)  # of before a reboot
        self.show_cgroups()
        for path in ("/etc", "/var"):
            name = path.strip("/")
            mount("-t", "overlay", "-o", f"lowerdir={path},upperdir={self.scratch(name)},"
                  f"workdir={self.scratch(name + '.work')}", "overlay", path)
        # overlay file systems and sockets do not go on top of an overlay
        for path in ("/run", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods"):
            os.makedirs(path, exist_ok=True)
            mount("--bind", self.scratch(path.strip("/").replace("/", "-")), path)
        if not os.path.islink("/var/run"):
            mount("--bind", "/run", "/var/run")
        self.show_boot_id()
        self.show_gpus()
        mount("--make-rshared", "/")

    def show_boot_id(self):
        """The node's own: another one with each of its boots. A test writes it to seem to have booted."""
        path = self.cluster.path("nodes", self.worker.name, "boot_id")
        path.write_text(f"{uuid.uuid4()}\n", encoding="utf-8")
        mount("--bind", path, "/proc/sys/kernel/random/boot_id")

    @staticmethod
    def show_cgroups():
        """Mounts the hierarchies again: in this cgroup namespace they begin at the node's own."""
        hierarchies = [(point, kind, names) for point, _, kind, names in cgroups.mounts()]
        top = pathlib.Path("/sys/fs/cgroup")
        run("umount", "-R", top)
        if all(kind == "cgroup2" for _, kind, _ in hierarchies):
            mount("-t", "cgroup2", "cgroup2", top)
            cgroups.hand_down(leave_root(top))
            return
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", top)
        for point, kind, names in hierarchies:
            point.mkdir(parents=True, exist_ok=True)
            if kind == "cgroup2":
                mount("-t", "cgroup2", "cgroup2", point)
            else:
                options = ",".join(f"none,{one}" if one.startswith("name=") else one
                                   for one in names)
                mount("-t", "cgroup", "-o", options, "cgroup", point)

    def show_gpus(self):
        """What the driver shows of its GPUs in /proc, /sys and /dev; see migemu root."""
        files = self.machine / "host"
        self.shadow("/proc/driver")
        for name in ("nvidia", "nvidia-caps"):
            self.show(files / "proc/driver" / name, f"/proc/driver/{name}")
        self.shadow("/sys/module")
        self.show(files / "sys/module/nvidia", "/sys/module/nvidia")
        self.shadow("/sys/bus/pci/devices")
        for device in (files / "sys/bus/pci/devices").iterdir():
            self.show(device, f"/sys/bus/pci/devices/{device.name}")
        self.shadow("/dev")
        self.make_devices()
        self.show_driver_root()

    def shadow(self, path):
        """Puts a tmpfs in the place of a directory, with links to what was there."""
        real = self.scratch("real" + path.replace("/", "-"))
        mount("--rbind", path, real)
        names = os.listdir(path)
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", path)
        for name in names:
            if not name.startswith("nvidia"):
                source = real / name
                target = os.readlink(source) if source.is_symlink() else str(source)
                os.symlink(target, os.path.join(path, name))

    @staticmethod
    def show(source, path):
        os.makedirs(path, exist_ok=True)
        mount("--bind", source, path)

    def make_devices(self):
        """Also the files of instances that may come; on real hosts they are made on demand."""
        text = (self.cluster.driver_root(self.worker) / "devices.tsv").read_text(encoding="utf-8")
        rows = [line.split("\t") for line in text.splitlines()[1:]]
        for path, major, minor, mode, _ in rows:
            make_device(path, int(major), int(minor), int(mode, 8))
        caps_major = next(int(row[1]) for row in rows if "/nvidia-caps/" in row[0])
        gpus = {f"gpu{row[2]}" for row in rows if row[4] != "-" and "/nvidia-caps/" not in row[0]}
        with open("/proc/driver/nvidia-caps/mig-minors", encoding="utf-8") as file:
            for line in file:
                name, minor = line.split()
                if name.split("/")[0] in gpus:
                    make_device(f"/dev/nvidia-caps/nvidia-cap{minor}", caps_major, int(minor),
                                0o444)

    def show_driver_root(self):
        """Where the operator's driver container would leave it."""
        target = pathlib.Path("/run/nvidia/driver")
        target.mkdir(parents=True)
        mount("--bind", self.cluster.driver_root(self.worker), target)
        mount("--rbind", "/dev", target / "dev")
        pathlib.Path("/run/migemu/node").mkdir(parents=True)
        mount("--bind", self.machine, "/run/migemu/node")


def make_device(path, major, minor, mode):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.exists(path):
        os.mknod(path, stat.S_IFCHR | mode, os.makedev(major, minor))
        os.chmod(path, mode)


def leave_root(top):
    """v2: a cgroup that hands controllers down has no processes itself."""
    inner = top / "node-init"
    inner.mkdir(exist_ok=True)
    (inner / "cgroup.procs").write_text("0", encoding="utf-8")
    return top


def prepare_network(worker):
    deadline = time.monotonic() + WAIT_S
    while not os.path.exists("/proc/sys/net/ipv4/conf/eth0"):
        if time.monotonic() > deadline:
            raise RuntimeError("no network came")
        time.sleep(0.02)
    run("hostname", worker.name)
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", f"{worker.address}/{PREFIX}", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "via", API_ADDRESS)
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="utf-8")


# ---- containerd ----

CONTAINERD = """version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing"]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{sandbox}"

[plugins."io.containerd.cri.v1.runtime"]
  enable_cdi = true
  cdi_spec_dirs = ["/etc/cdi", "/var/run/cdi"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{cni}"]
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = "{shim}"
      base_runtime_spec = "/etc/containerd/base.json"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
"""


def write(path, text):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_base_specification():
    """What every container has: the emulated machine, and a hook that shows the driver's files."""
    done = subprocess.run([program("ctr"), "oci", "spec"], capture_output=True, check=True)
    document = json.loads(done.stdout)
    document["mounts"].append({"destination": "/run/migemu/node", "type": "bind",
                               "source": "/run/migemu/node", "options": ["rbind", "rw"]})
    document["hooks"] = {"createContainer": [{"path": str(HERE / "gpu_hook.py"), "timeout": 30,
                                              "env": [f"PATH={os.environ['PATH']}"]}]}
    write("/etc/containerd/base.json", json.dumps(document))


def configure_containerd(worker):
    write_base_specification()
    write("/etc/containerd/config.toml", CONTAINERD.format(
        sandbox=SANDBOX_IMAGE, cni=CNI_PROGRAMS, shim=program("containerd-shim-runc-v2"),
        runc=shutil.which("runc", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")))
    shutil.rmtree("/etc/cni", ignore_errors=True)
    write("/etc/cni/net.d/10-pods.conflist", json.dumps({
        "cniVersion": "1.0.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": "pods", "isGateway": True, "ipMasq": False,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": worker.pod_range}]],
                      "dataDir": "/run/cni-addresses", "routes": [{"dst": "0.0.0.0/0"}]}}]}))


def import_images(cluster):
    """Waits for containerd, then gives it the images of the cluster's directory."""
    control = [program("ctr"), "--address", "/run/containerd/containerd.sock", "--namespace",
               IMAGE_NAMESPACE]
    deadline = time.monotonic() + WAIT_S
    while subprocess.run([*control, "version"], capture_output=True, check=False).returncode != 0:
        if time.monotonic() > deadline:
            raise RuntimeError("containerd does not answer")
        time.sleep(0.1)
    for image in sorted(cluster.path("images").glob("*.tar")):
        run(*control, "images", "import", "--local", image)


# ---- kubelet ----


def configure_kubelet(cluster, worker):
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False},
                           "x509": {"clientCAFile": str(cluster.path("pki", "ca.crt"))}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs", "failCgroupV1": False, "failSwapOn": False,
        "resolvConf": "", "clusterDomain": "cluster.local", "clusterDNS": ["10.96.0.10"], "makeIPTablesUtilChains": False,
        "localStorageCapacityIsolation": False, "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%",
                         "imagefs.available": "0%", "nodefs.inodesFree": "0%",
                         "imagefs.inodesFree": "0%"},
        "nodeStatusUpdateFrequency": "5s", "syncFrequency": "10s",
        "enableControllerAttachDetach": True, "staticPodPath": "",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins", "maxPods": 110,
    }
    write("/etc/kubernetes/kubelet.json", json.dumps(document, indent=1))
    return [program("kubelet"), "--config=/etc/kubernetes/kubelet.json",
            f"--kubeconfig={cluster.path('pki', f'kubelet-{worker.name}.kubeconfig')}",
            f"--hostname-override={worker.name}", f"--node-ip={worker.address}", "--v=2"]


def main():
    cluster = Cluster.load(sys.argv[1])
    worker = cluster.worker(sys.argv[2])
    Host(cluster, worker).prepare()
    supervisor = Supervisor(cluster.path("nodes", worker.name, "control.sock"))
    prepare_network(worker)
    configure_containerd(worker)
    path = f"{program('x').rsplit('/', 1)[0]}:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = dict(os.environ, PATH=path)
    log = cluster.path("log")
    supervisor.add(Program("containerd", [program("containerd")],
                           log / f"{worker.name}-containerd.log", environment))
    import_images(cluster)
    kubelet = supervisor.add(Program("kubelet", configure_kubelet(cluster, worker),
                                     log / f"{worker.name}-kubelet.log", environment),
                             start=False)

    def when_api_is_there():
        if not cluster.path("run", "api-ready").exists():
            return True
        kubelet.wanted = True
        return False

    supervisor.run(when_api_is_there)


if __name__ == "__main__":
    main()
