#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The labels of gpu-feature-discovery and ours, label by label, on the same emulated nodes. Names of
tests carry the rows of docs/compatibility.md; what differs is listed where it is expected."""
import re

from client_case import BUILD, Client, tap

MACHINE = "DGXA100 920-23687-2530-000 (rev 1)"
SHARING = """version: v1
sharing:
  timeSlicing:
    renameByDefault: {rename}
    resources:
{resources}"""


class LabelsPeer(Client):
    """Labels for none, single and mixed, shared and not. (No client of its own in docs/clients.md.)"""
    peer = "device-plugin"

    def parse(self, text):
        return dict(re.findall(r"^nvidia\.com/(\S+?)=(.*)$", text, re.M))

    def theirs(self, node, strategy, config=None):
        machine = self.scratch / "product_name"
        machine.write_text(MACHINE + "\n", encoding="utf-8")
        more = []
        if config:
            (self.scratch / "config.yaml").write_text(config, encoding="utf-8")
            more = [f"--config-file={self.scratch}/config.yaml"]
        return self.parse(self.succeeds(self.inside(
            node, self.home / "gpu-feature-discovery", "--oneshot", "--no-timestamp",
            "--output-file=", "--use-node-feature-api=false", f"--mig-strategy={strategy}",
            f"--machine-type-file={machine}", *more)))

    def ours(self, node, strategy, *sharing):
        return self.parse(self.succeeds(self.inside(
            node, BUILD / "tests/clients/labels", strategy, MACHINE, *sharing)))

    def compare(self, node, strategies=("none", "single", "mixed"), only_ours=None, config=None,
                sharing=()):
        """Both say the same but for `only_ours`, {label: value}."""
        for strategy in strategies:
            ours = self.ours(node, strategy, *sharing)
            theirs = self.theirs(node, strategy, config)
            for name, value in (only_ours or {}).items():
                if name in ours:
                    self.assertEqual(ours.pop(name), value, name)
                    theirs.pop(name, None)
            self.assertEqual(ours, theirs, strategy)
            self.assertGreater(len(theirs), 20)

    def mig(self, node, profiles, gpu=0, parts=None):
        self.succeeds(node.smi("-mig", "1", "-i", str(gpu)))
        if profiles:
            whole = ["-C"] if not parts else []
            self.succeeds(node.smi("mig", "-cgi", profiles, *whole, "-i", str(gpu)))
        if parts:
            self.succeeds(node.smi("mig", "-cci", parts, "-i", str(gpu)))

    def test_g1_without_mig(self):
        for gpu in ["A30*2", "A100-SXM4-80GB*8", "H100 PCIe", "H200",
                    "RTX PRO 6000 Blackwell Max-Q Workstation Edition"]:
            with self.subTest(gpu):
                self.compare(self.node("--gpu", gpu, name=gpu.replace(" ", "-")))

    def test_g1_drivers(self):
        for driver in ["535.54.03", "550.163.01", "570.86.15"]:
            with self.subTest(driver):
                self.compare(self.node("--gpu", "A30", "--driver", driver, name=driver),
                             ["none"])

    def test_g2_single(self):
        node = self.node("--gpu", "A100-SXM4-40GB*2")
        for gpu in range(2):
            self.mig(node, "19,19,19", gpu)
        self.compare(node)

    def test_g2_single_invalid_empty(self):
        node = self.node("--gpu", "A30*2", "--mig", "on")
        self.mig(node, "14,14", 0)
        self.compare(node)

    def test_g2_single_invalid_half(self):
        node = self.node("--gpu", "A30*2")
        self.mig(node, "14,14", 1)
        self.compare(node)

    def test_g2_single_invalid_different_profiles(self):
        node = self.node("--gpu", "A30")
        self.mig(node, "5,14,14")
        self.compare(node)

    def test_g3_mixed(self):
        node = self.node("--gpu", "A100-SXM4-40GB*3")
        self.mig(node, "9,19,19", 0)
        self.mig(node, "9,14,20", 2)
        self.compare(node)

    def test_g3_mixed_media_extensions(self):
        node = self.node("--gpu", "H100 PCIe*2", "--driver", "550.163.01")
        self.mig(node, "20,19,14", 1)
        self.compare(node)

    def test_g3_mixed_parts(self):
        node = self.node("--gpu", "A100-SXM4-40GB")
        self.mig(node, "9", parts="0,0,0")
        self.compare(node)

    def test_g4_shared(self):
        node = self.node("--gpu", "A100-SXM4-40GB*2")
        self.mig(node, "9,19,19", 0)
        for rename in [False, True]:
            names = {"nvidia.com/gpu": 4, "nvidia.com/mig-1g.5gb": 2}
            config = SHARING.format(rename=str(rename).lower(), resources="".join(
                f"    - name: {name}\n      replicas: {count}\n" for name, count in names.items()))
            self.compare(node, config=config, strategies=["none", "mixed"], sharing=[
                f"{name}={count}" + (",renamed" if rename else "")
                for name, count in names.items()])

    def test_g5_only_theirs_are_too_long(self):
        node = self.node("--gpu", "RTX PRO 6000 Blackwell Max-Q Workstation Edition",
                         "--driver", "580.82.07", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "14", "-C"))
        theirs = self.theirs(node, "single")["gpu.product"]
        ours = self.ours(node, "single")["gpu.product"]
        self.assertGreater(len(theirs), 63)
        self.assertEqual(ours, "NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-MIG-" +
                         theirs.rpartition("-MIG-")[2])
        profile = ours.rpartition("-MIG-")[2]
        self.compare(node, strategies=["none"])
        self.compare(node, only_ours={"gpu.product": ours}, strategies=["single"])
        self.compare(node, only_ours={f"mig-{profile}.product": ours}, strategies=["mixed"])

    def test_g6_different_models(self):
        node = self.node("--gpu", "A30*2", "--gpu", "A100-SXM4-40GB")
        ours = self.ours(node, "none")
        for _ in range(3):
            self.assertEqual(self.ours(node, "none"), ours)
        more = {"gpu.product.NVIDIA-A30": "2", "gpu.product.NVIDIA-A100-SXM4-40GB": "1"}
        theirs = self.theirs(node, "none")
        # one of the models, which may be another one each time: only what is not of the model
        for name in ["gpu.product", "gpu.count", "gpu.memory"]:
            self.assertIn(name, theirs)
            theirs[name] = ours[name]
        self.assertEqual(ours, {**theirs, **more})
        self.assertEqual((ours["gpu.product"], ours["gpu.count"]), ("NVIDIA-A30", "2"))


if __name__ == "__main__":
    tap.main()
