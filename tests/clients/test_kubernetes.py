#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes nodes run: the device plugin before a kubelet of our own, the labels of
gpu-feature-discovery, and container device specs by nvidia-ctk."""
import json
import re
import shutil
import sys

from client_case import BUILD, HERE, MIGEMU, Client, peer_path, tap

WAIT_S = 30


class DevicePlugin(Client):
    """Registers with a kubelet, lists devices for the strategies none, single and mixed, allocates with
    capability files, refuses mixed profiles under single, and takes a device out after an XID"""
    client = "k8s-device-plugin"
    peer = "device-plugin"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.grpc = peer_path("python-grpc")

    def plugin(self, node, resources, *arguments, then=()):
        """What a kubelet sees of the plugin. Its folder is fixed, so it is one in a mount of our own."""
        inner = ["mount -t tmpfs tmpfs /var/lib && exec \"$@\"", "sh"]
        done = self.inside(
            node, "unshare", "-m", "sh", "-c", *inner, "env", f"PYTHONPATH={self.grpc}",
            sys.executable, HERE / "programs/kubelet.py", WAIT_S, resources, "--then", *then, "--",
            self.home / "nvidia-device-plugin", "--device-discovery-strategy=nvml",
            "--pass-device-specs", *arguments)
        return json.loads(self.succeeds(done))

    def uuids(self, node, kind="MIG"):
        return re.findall(kind + "-[0-9a-f-]+", self.succeeds(node.smi("-L")))

    def xid(self, node, gpus, *arguments):
        """A command: once the plugin has registered for the events of so many GPUs, an XID."""
        return ["sh", "-c", f"""
            until [ "$({MIGEMU} trace {node.path} | grep -c nvmlDeviceRegisterEvents)" -ge {gpus} ]; do
                sleep 0.1
            done
            {MIGEMU} xid {node.path} {' '.join(arguments)}"""]

    def test_none(self):
        node = self.node("--gpu", "A30*2")
        seen = self.plugin(node, 1, "--mig-strategy=none",
                           then=self.xid(node, 2, "--gpu", "1", "74"))
        first, second = self.uuids(node, "GPU")
        self.assertEqual(seen["registrations"],
                         [{"version": "v1beta1", "endpoint": "nvidia-gpu.sock",
                           "resource": "nvidia.com/gpu", "options": {"2": 1}}])
        before, after = seen["lists"]["nvidia.com/gpu"]
        self.assertEqual(before, {first: "Healthy", second: "Healthy"})
        self.assertEqual(after, {first: "Healthy", second: "Unhealthy"})

    def test_single(self):
        node = self.node("--gpu", "H100 PCIe*2", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "0", "-C"))
        seen = self.plugin(node, 1, "--mig-strategy=single",
                           then=self.xid(node, 2, "--gpu", "0", "--gi", "0", "--ci", "0", "94"))
        first, second = self.uuids(node)
        before, after = seen["lists"]["nvidia.com/gpu"]
        self.assertEqual(before, {first: "Healthy", second: "Healthy"})
        self.assertEqual(after, {first: "Unhealthy", second: "Healthy"})

    def test_single_wants_one_profile(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "5,14", "-C"))
        seen = self.plugin(node, 1, "--mig-strategy=single")
        self.assertEqual((seen["status"], seen["lists"]), (1, {}))
        self.assertIn("more than one MIG device type present on node", seen["log"])

    def test_mixed(self):
        node = self.node("--gpu", "A100-SXM4-40GB*2")
        self.succeeds(node.smi("-mig", "1", "-i", "0"))
        self.succeeds(node.smi("mig", "-cgi", "9,14,19", "-C", "-i", "0"))
        seen = self.plugin(node, 4, "--mig-strategy=mixed")
        half, quarter, small = self.uuids(node)
        whole = self.uuids(node, "GPU")[1]
        self.assertEqual({name: list(lists[-1]) for name, lists in seen["lists"].items()},
                         {"nvidia.com/gpu": [whole], "nvidia.com/mig-3g.20gb": [half],
                          "nvidia.com/mig-2g.10gb": [quarter], "nvidia.com/mig-1g.5gb": [small]})
        given = seen["allocated"]["nvidia.com/mig-2g.10gb"]
        self.assertEqual(given["environment"], {"NVIDIA_VISIBLE_DEVICES": quarter})
        self.assertEqual(set(given["nodes"]) & {"/dev/nvidia0", "/dev/nvidia1",
                                                "/dev/nvidia-caps/nvidia-cap30",
                                                "/dev/nvidia-caps/nvidia-cap31"},
                         {"/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap30",
                          "/dev/nvidia-caps/nvidia-cap31"})


class FeatureDiscovery(Client):
    """Labels of a node for the strategies none, single and mixed, and of an invalid node under single"""
    client = "gpu-feature-discovery"
    peer = "device-plugin"

    def labels(self, node, strategy):
        out = self.succeeds(self.inside(
            node, self.home / "gpu-feature-discovery", "--oneshot", "--no-timestamp",
            "--output-file=", "--use-node-feature-api=false", f"--mig-strategy={strategy}",
            f"--machine-type-file={self.scratch}/none"))
        return {name: value for name, value in re.findall(r"^nvidia\.com/(\S+?)=(.*)$", out, re.M)}

    def has(self, labels, **wanted):
        for name, value in wanted.items():
            name = name.replace("__", ".").replace("_", "-")
            self.assertEqual(labels.get(name), value, name)

    def test_none(self):
        labels = self.labels(self.node("--gpu", "H100 PCIe*2", "--driver", "550.163.01"), "none")
        self.has(labels, gpu__count="2", gpu__product="NVIDIA-H100-PCIe", gpu__memory="81559",
                 gpu__family="hopper", gpu__compute__major="9", mig__capable="true",
                 cuda__driver_version__full="550.163.01")
        self.assertEqual([name for name in labels if name.startswith("mig-")], [])

    def test_single(self):
        node = self.node("--gpu", "A30*2", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "5,5", "-C"))
        self.has(self.labels(node, "single"), gpu__product="NVIDIA-A30-MIG-2g.12gb", gpu__count="4",
                 gpu__memory="11968", gpu__multiprocessors="28", gpu__slices__gi="2",
                 mig__strategy="single")
        self.succeeds(node.smi("mig", "-dci", "-i", "1"))
        self.succeeds(node.smi("mig", "-dgi", "-i", "1"))
        self.has(self.labels(node, "single"), gpu__product="NVIDIA-A30-MIG-INVALID", gpu__count="0")

    def test_mixed(self):
        node = self.node("--gpu", "A100-SXM4-40GB*2")
        self.succeeds(node.smi("-mig", "1", "-i", "0"))
        self.succeeds(node.smi("mig", "-cgi", "9,19,19", "-C", "-i", "0"))
        labels = self.labels(node, "mixed")
        self.has(labels, gpu__count="2", mig__strategy="mixed")
        for name, value in {"mig-1g.5gb.count": "2", "mig-1g.5gb.memory": "4864",
                            "mig-3g.20gb.count": "1", "mig-3g.20gb.multiprocessors": "42",
                            "mig-3g.20gb.slices.gi": "3",
                            "mig-3g.20gb.product": "NVIDIA-A100-SXM4-40GB-MIG-3g.20gb"}.items():
            self.assertEqual(labels.get(name), value, name)


class ContainerToolkit(Client):
    """cdi generate: a device per MIG device and per full GPU, with the device and capability files that the
    instance has at that moment"""
    client = "nvidia-ctk"
    peer = "container-toolkit"
    driver = "550.163.01"

    def specification(self, node):
        """{device: {path: minor}}; nvidia-ctk looks for the driver's libraries by their full name."""
        libraries = self.scratch / "driver/usr/lib/x86_64-linux-gnu"
        libraries.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILD / "src/emulator/libnvidia-ml.so.1",
                    libraries / f"libnvidia-ml.so.{self.driver}")
        if not (libraries / "libnvidia-ml.so.1").exists():
            (libraries / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{self.driver}")
        out = self.succeeds(self.inside(
            node, self.home / "nvidia-ctk", "cdi", "generate", "--format=json", "--dev-root=/",
            f"--driver-root={self.scratch}/driver"))
        spec = json.loads(out)
        self.assertEqual(spec["kind"], "nvidia.com/gpu")
        return {device["name"]: {one["path"]: one.get("minor", 0)
                                 for one in device["containerEdits"]["deviceNodes"]}
                for device in spec["devices"]}

    def test_devices(self):
        node = self.node("--gpu", "H100 PCIe*2", "--driver", self.driver)
        self.succeeds(node.smi("-mig", "1", "-i", "0"))
        self.succeeds(node.smi("mig", "-cgi", "9,14", "-C", "-i", "0"))
        devices = self.specification(node)
        wanted = {"/dev/nvidia0": 0, "/dev/nvidia-caps/nvidia-cap21": 21,
                  "/dev/nvidia-caps/nvidia-cap22": 22}
        self.assertEqual(set(devices["0:0"]), set(wanted))
        if self.inside(node, "stat", "-c", "%t", "/dev/nvidia0").stdout == "c3\n":
            self.assertEqual(devices["0:0"], wanted)  # nodes of their own, not /dev/null's
        self.assertEqual(set(devices["1"]), {"/dev/nvidia1"})
        self.assertIn("0:1", devices)
        self.assertNotIn("0", devices)
        mig = re.findall("MIG-[0-9a-f-]+", self.succeeds(node.smi("-L")))
        self.assertEqual(devices[mig[0]], devices["0:0"])
        # The files follow the instances.
        self.succeeds(node.smi("mig", "-dci", "-gi", "2", "-i", "0"))
        self.succeeds(node.smi("mig", "-dgi", "-gi", "2", "-i", "0"))
        self.assertEqual(self.specification(node)["0:0"], devices["0:1"])


if __name__ == "__main__":
    tap.main()
