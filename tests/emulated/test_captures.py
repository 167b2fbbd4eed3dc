#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replays captured nvidia-smi sessions on the same machine, emulated, and compares the text.

Every line of a capture must come out byte for byte, but for what MASKS names: what a sensor, a
clock or the identity of a board decides. A masked number keeps its width and its place.
"""
import pathlib
import re
import shlex
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import NodeCase  # noqa: E402

CAPTURES = pathlib.Path(__file__).resolve().parent.parent / "data/captures"


def blank_out(match):
    return "#" * len(match.group())


MASKS = [
    (r"^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4} *$", "DATE"),
    (r"\b[\dA-F]{8}:[\dA-F]{2}:00\.0", "BUS-ID"),
    (r"(GPU|MIG)-[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}", "UUID"),
    (r" +\d+C(?=    P\d)", blank_out),            # temperature
    (r" +\d+W / +\d+W", blank_out),               # power, cap
    (r" +\d+MiB /(?= +\d+MiB)", blank_out),       # memory in use
]
TABLE_MASK = (r"CUDA Version: \S+ +\|", "CUDA Version")


def masked(text, extra=()):
    for pattern, replacement in [*MASKS, *extra]:
        text = re.sub(pattern, replacement, text, flags=re.M)
    return [line.rstrip() for line in text.splitlines()]


def commands_of(path):
    """[(command, expected text)]; a capture of one bare table is the plain command's."""
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            continue
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif not steps:
            steps.append(("nvidia-smi", [line]))
        else:
            steps[-1][1].append(line)
    return [(command, "\n".join(lines)) for command, lines in steps]


class Captures(NodeCase):
    def replay(self, name, *machine, before=(), skip=(), between=None, masks=(), head_only=()):
        """Runs the commands of a capture.

        before: set-up commands; skip: indices of commands not run, each with its reason in the
        caller; between: {index: set-up commands before it}; head_only: indices whose capture
        was cut behind the lines it has.
        """
        node = self.node(*machine)
        for command in before:
            self.succeeds(node.run(*shlex.split(command)))
        for index, (command, expected) in enumerate(commands_of(CAPTURES / f"{name}.txt")):
            if index in skip:
                continue
            for extra in (between or {}).get(index, ()):
                done = node.run(*shlex.split(extra))
                self.assertEqual(done.returncode, 0, f"{extra}: {done.stdout}{done.stderr}")
            with self.subTest(command=command):
                want = masked(expected, masks)
                have = masked(node.run(*shlex.split(command)).stdout, masks)
                if not re.match(r"[A-Z][a-z]{2} [A-Z][a-z]{2} ", expected) and have[:1] == ["DATE"]:
                    have = have[1:]  # the capture begins with the table
                if index in head_only:
                    have = have[:len(want)]
                self.assertEqual("\n".join(want), "\n".join(have))

    def test_a30_r535_create(self):
        self.replay("a30-r535-create-14-14-5", "--gpu", "A30", "--driver", "535.183.01", "--mig",
                    "on")

    def test_a30_r535_compute_profiles(self):
        self.replay("a30-r535-lcip", "--gpu", "A30", "--driver", "535.183.01", "--mig", "on",
                    before=["nvidia-smi mig -cgi 14,14,5 -C"])

    def test_a30_r535_profiles(self):
        self.replay("a30-r535-lgip-lgipp", "--gpu", "A30", "--driver", "535.183.01", "--mig", "on")

    def test_a30_r535_table(self):
        self.replay("a30-r535-nvidia-smi", "--gpu", "A30", "--driver", "535.183.01", "--mig", "on",
                    before=["nvidia-smi mig -cgi 14,14,5 -C"])

    def test_a30_r550_table(self):
        self.replay("a30-r550-2g-1g-1g-nvidia-smi", "--gpu", "A30", "--driver", "550.90.07",
                    "--mig", "on", "--persistence", "on",
                    before=["nvidia-smi mig -cgi 5,14,14 -C"])

    def test_a100_80_r515_create(self):
        # The listing is of a driver that had no 1g.20gb, and another size of the whole GPU.
        self.replay("a100-80gb-pcie-r515-lgip-create", "--gpu", "A100 80GB PCIe", "--driver",
                    "515.86.01", "--gi-numbering", "half-swapped", "--mig", "on", skip=[0])

    def test_a100_80_r515_two_compute_instances(self):
        self.replay("a100-80gb-pcie-r515-two-ci-nvidia-smi", "--gpu", "A100 80GB PCIe", "--driver",
                    "515.86.01", "--gi-numbering", "half-swapped", "--mig", "on",
                    before=["nvidia-smi mig -cgi 9,9"])

    def test_a100_40_r510_table(self):
        # A hypervisor's driver knows no CUDA version.
        self.replay("a100-pcie-40gb-r510-nvidia-smi", "--gpu", "A100-PCIE-40GB", "--driver",
                    "510.47.03", "--gi-numbering", "half-swapped", "--mig", "on",
                    "--persistence", "on", before=["nvidia-smi mig -cgi 19:0 -C"],
                    masks=[TABLE_MASK])

    def test_a100_80_r550_no_compute_instances(self):
        self.replay("a100-sxm4-80gb-r550-gi-without-ci", "--gpu", "A100-SXM4-80GB", "--driver",
                    "550.54.14", "--gi-numbering", "half-swapped", "--mig", "on",
                    "--persistence", "on", before=["nvidia-smi mig -cgi 9,9"])

    def test_a100_80_r550_create(self):
        # The listing shows a full GPU, the creation an empty one.
        self.replay("a100-sxm4-80gb-r550-lgip-create-9-5", "--gpu", "A100-SXM4-80GB", "--driver",
                    "550.54.14", "--gi-numbering", "half-swapped", "--mig", "on",
                    before=["nvidia-smi mig -cgi 0"], between={1: ["nvidia-smi mig -dgi"]})

    def test_a100_40_creation_orders(self):
        # The listing pads ids by hand; the ids and errors are what counts.
        self.replay("a100-40gb-user-guide-creation-orders", "--gpu", "A100-SXM4-40GB", "--mig",
                    "on", between={index: ["nvidia-smi mig -dgi"] for index in (1, 2, 3)})

    def test_a100_mode_messages(self):
        # One message each of two boards: in use, a reset that does not help, and disabling.
        machine = ("--gpu", "A100 80GB PCIe", "--driver", "515.86.01")
        name = "a100-mig-enable-messages"
        text = commands_of(CAPTURES / f"{name}.txt")
        node = self.node(*machine)
        self.succeeds(node.migemu(["job", "start"], "--on", "0"))
        self.compare(text[0], node)
        self.succeeds(node.migemu(["job", "stop"], "all"))
        self.succeeds(node.migemu("set", "mode-blocked=NOT_SUPPORTED"))
        self.compare(text[1], node)
        self.succeeds(node.migemu("set", "mode-blocked=none"))
        self.succeeds(node.smi("-mig", "1"))
        self.compare(text[2], node)

    def compare(self, step, node):
        with self.subTest(command=step[0]):
            have = node.run(*shlex.split(step[0])).stdout
            self.assertEqual("\n".join(masked(step[1])), "\n".join(masked(have)))

    def test_gh200_create_errors(self):
        # First a client holds the GPU, then the one +me instance is there already.
        node = f"{self.scratch}/node"
        self.replay("gh200-96gb-create-errors", "--gpu", "NVIDIA GH200 480GB", "--mig", "on",
                    before=[f"migemu set {node} create-needs-idle=on",
                            f"migemu holder add {node} --on 0 --kind client"],
                    between={1: [f"migemu holder remove {node} all", "nvidia-smi mig -cgi 20:6"]})

    def test_gh200_profiles(self):
        self.replay("gh200-96gb-lgip", "--gpu", "NVIDIA GH200 480GB")

    def test_gh200_two_gpus(self):
        # This board goes by two names.
        self.replay("gh200-96gb-two-gpus-list", "--gpu", "NVIDIA GH200 480GB*2", "--mig", "on",
                    before=["nvidia-smi mig -cgi 19,19,19,19,19,19,19 -C"],
                    masks=[(r"NVIDIA GH200 \S+( HBM3)?", "NAME")])

    def test_h100_create(self):
        self.replay("h100-80gb-hbm3-create-7x19", "--gpu", "NVIDIA H100 80GB HBM3", "--mig", "on")

    def test_h100_profiles(self):
        self.replay("h100-80gb-hbm3-lgip-lgipp", "--gpu", "NVIDIA H100 80GB HBM3",
                    "--persistence", "on")

    def test_h100_nvl_profiles(self):
        self.replay("h100-nvl-r560-lgip-lgipp", "--gpu", "NVIDIA H100 NVL", "--driver",
                    "560.35.03", "--mig", "on")

    def test_h100_pcie_r570_create(self):
        # The process table is not in the capture.
        self.replay("h100-pcie-r570-create-7x19", "--gpu", "NVIDIA H100 PCIe", "--driver",
                    "570.169", "--gi-numbering", "half-swapped", "--mig", "on", head_only=[1])

    def test_h100_pcie_r570_profiles(self):
        self.replay("h100-pcie-r570-lgip", "--gpu", "NVIDIA H100 PCIe", "--driver", "570.169",
                    "--mig", "on")

    def test_h200_container_table(self):
        # A container sees no memory of the whole GPU, the process table is not in the capture,
        # and this driver gives a 2g 33280 MiB where the catalogue has another driver's figure.
        self.replay("h200-r570-container-nvidia-smi", "--gpu", "NVIDIA H200", "--driver",
                    "570.86.15", "--mig", "on",
                    before=["nvidia-smi mig -cgi 14:4,19:0 -C"], head_only=[0],
                    masks=[(r"\| {18}N/A   \|", "|MEMORY|"), (r"\|#+ +\d+MiB \|", "|MEMORY|"),
                           ("33280MiB|33024MiB", "BY-DRIVER")])

    def test_h200_list(self):
        self.replay("h200-r570-list", "--gpu", "NVIDIA H200*2", "--driver", "570.86.15",
                    before=["nvidia-smi -i 0 -mig 1",
                            "nvidia-smi mig -i 0 -cgi 14,19,19,19,19,19 -C"])

    def test_rtx_maxq_profiles(self):
        self.replay("rtx-pro-6000-maxq-r580-lgip", "--gpu",
                    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "--driver",
                    "580.105.08", "--mig", "on")

    def test_rtx_maxq_mode_and_create(self):
        # The first query is of a board in display mode, which is not emulated.
        node = f"{self.scratch}/node"
        self.replay("rtx-pro-6000-maxq-r580-mode-and-create", "--gpu",
                    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "--driver",
                    "580.105.08", "--persistence", "on", skip=[0],
                    between={3: [f"migemu set {node} create-needs-idle=on",
                                 f"migemu holder add {node} --on 0"],
                             4: [f"migemu holder remove {node} all"]})

    def test_rtx_server_create(self):
        self.replay("rtx-pro-6000-server-r610-create", "--gpu",
                    "NVIDIA RTX PRO 6000 Blackwell Server Edition", "--driver", "610.43.02",
                    "--mig", "on", between={2: ["nvidia-smi mig -dci", "nvidia-smi mig -dgi"]})

    def test_rtx_server_profiles(self):
        self.replay("rtx-pro-6000-server-r610-lgip-lgipp", "--gpu",
                    "NVIDIA RTX PRO 6000 Blackwell Server Edition", "--driver", "610.43.02",
                    "--mig", "on")


if __name__ == "__main__":
    tap.main()
