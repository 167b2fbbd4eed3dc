# SPDX-License-Identifier: Apache-2.0
"""Programs of NVIDIA on the test cluster: the device plugin as a DaemonSet, the MIG manager on a node.

Both are what tests/clients/fetch-peers built from the Go module proxy. The MIG manager runs as a process
of the node, in `migemu run`, because it has to find /proc/modules, which a kernel without modules lacks;
and with a system bus, without which it gives up before it writes any label.
"""
import os
import pathlib

import images
from layout import BUILD, SOURCE

PEERS = pathlib.Path(os.environ.get("MIGD_PEERS", "~/.cache/migd-peers")).expanduser()
NAMESPACE = "gpu-operator"
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow send_destination="*"/>
<allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>
"""


def has(name):
    return (PEERS / name).is_dir()


def namespace():
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def device_plugin(strategy="mixed"):
    """The DaemonSet as the GPU operator deploys it, with its app label and node selector."""
    name = "nvidia-device-plugin-daemonset"
    labels = {"app": name}
    container = {
        "name": "main", "image": images.PEERS_IMAGE, "imagePullPolicy": "Never",
        "command": ["/usr/bin/nvidia-device-plugin"], "securityContext": {"privileged": True},
        "env": [{"name": "MIG_STRATEGY", "value": strategy},
                {"name": "FAIL_ON_INIT_ERROR", "value": "false"},
                {"name": "NVIDIA_MIG_MONITOR_DEVICES", "value": "all"}],
        "volumeMounts": [{"name": "plugins", "mountPath": "/var/lib/kubelet/device-plugins"}]}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"nodeSelector": {"nvidia.com/gpu.deploy.device-plugin": "true"},
                         "priorityClassName": "system-node-critical",
                         "terminationGracePeriodSeconds": 5,
                         "containers": [container],
                         "volumes": [{"name": "plugins", "hostPath": {
                             "path": "/var/lib/kubelet/device-plugins"}}]}}}}


def manager_command(cluster, node, kubeconfig, config=SOURCE / "examples/config.yaml"):
    """argv and environment of NVIDIA's MIG manager, to be run on the node."""
    bus = cluster.layout.path("nodes", node, "bus.conf")
    bus.write_text(BUS, encoding="utf-8")
    script = (f"mkdir -p /run/dbus; [ -S /run/dbus/system_bus_socket ] || "
              f"dbus-daemon --config-file={bus} --fork; "
              f"exec {BUILD}/src/emulator/migemu run {cluster.machine(node)} -- "
              f"{PEERS}/mig-manager/nvidia-mig-manager")
    return ["sh", "-c", script], {
        "NODE_NAME": node, "KUBECONFIG": str(kubeconfig), "CONFIG_FILE": str(config),
        "HOST_ROOT_MOUNT": "/", "DEFAULT_GPU_CLIENTS_NAMESPACE": NAMESPACE,
        "PATH": f"{PEERS}/mig-parted:/usr/sbin:/usr/bin:/sbin:/bin"}
