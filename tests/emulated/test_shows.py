#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Geometries with known results, applied by migctl and looked at through NVML by another client."""
import collections
import pathlib
import re
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import reference_model as reference  # noqa: E402
import tap  # noqa: E402
from node import CONFIG, Node  # noqa: E402
from nvml_worker import Worker  # noqa: E402


class Shows(unittest.TestCase):
    def make(self, name, count):
        """A node with a witness."""
        gpu = reference.find_gpu(name)
        node = Node(f"{name}*{count}")
        self.addCleanup(node.close)
        witness = Worker(node.path, reference.Machine([gpu] * count, False).boards)
        self.addCleanup(witness.end)
        return node, witness

    def apply(self, node, config):
        done = node.migctl("apply", "-f", CONFIG, "-c", config)
        self.assertEqual(done.returncode, 0, done.stderr)

    def names(self, gpu, state):
        """{GI id: profile name} of one GPU's state."""
        names = {}
        for number, listed in re.findall(r" (\d+):\d+:\d+((?:,\d+@\d+\+\d+)+)",
                                         state.split(" G")[0]):
            for gi in re.findall(r",(\d+)@", listed):
                names[int(gi)] = gpu.table.by_id[int(number)].name
        return names

    def test_a30_balanced(self):
        node, witness = self.make("NVIDIA A30", 1)
        self.apply(node, "all-balanced")
        state = witness.ask(["state 0"])[0]
        self.assertEqual(self.names(reference.find_gpu("NVIDIA A30"), state),
                         {1: "2g.12gb", 5: "1g.6gb", 6: "1g.6gb"})
        self.assertEqual(re.findall(r" D\d+:(\d+\.\d+):", state), ["1.0", "5.0", "6.0"])
        self.assertEqual([tuple(map(int, answer.split(" ")[:3])) for answer in witness.ask(
            [f"attributes 0 {gi} 0" for gi in (1, 5, 6)])],
            [(0, 28, 11968), (0, 14, 5952), (0, 14, 5952)])

    def count(self, config):
        """Profiles on eight A100s, and MIG devices with UUIDs of their own."""
        node, witness = self.make("NVIDIA A100-SXM4-40GB", 8)
        self.apply(node, config)
        state = witness.ask(["state -"])[0]
        gpu = reference.find_gpu("NVIDIA A100-SXM4-40GB")
        names = collections.Counter(
            name for part in state.split(" |")[1:] for name in self.names(gpu, part).values())
        return names, len(set(re.findall(r" D\d+:\d+\.\d+:(MIG-\S+)", state)))

    def test_eight_a100_all_3g(self):
        self.assertEqual(self.count("all-3g.20gb"), ({"3g.20gb": 16}, 16))

    def test_eight_a100_balanced(self):
        self.assertEqual(self.count("all-balanced"),
                         ({"1g.5gb": 16, "2g.10gb": 8, "3g.20gb": 8}, 32))


class Order(unittest.TestCase):
    """Creation orders from facts/README.md section 3, without a start given: the starts chosen."""
    SEEN = [("NVIDIA A100-SXM4-40GB", [19] * 7, [6, 4, 5, 0, 1, 2, 3]),
            ("NVIDIA H100 PCIe", [9, 19, 14, 19], [4, 0, 2, 1]),
            ("NVIDIA H100 NVL", [14] + [19] * 5, [4, 6, 0, 1, 2, 3]),
            ("NVIDIA A100 80GB PCIe", [19, 14, 5], [6, 4, 0]),
            ("NVIDIA A100-SXM4-40GB", [19, 19, 14, 9], [6, 4, 0, None]),
            ("NVIDIA A100-SXM4-40GB", [9, 9], [4, 0]),
            ("NVIDIA A100-SXM4-40GB", [9, 5], [4, 0]),
            ("NVIDIA A100-SXM4-40GB", [14, 14, 19], [4, 0, 6]),
            ("NVIDIA A30", [14, 14, 5], [0, 1, 2]),
            ("NVIDIA A30", [5, 14, 14], [0, 2, 3]),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", [14] * 4, [0, 3, 6, 9]),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", [5, 14, 14], [0, 6, 9])]

    def test_the_model_knows_the_orders_that_were_captured(self):
        for name, order, starts in self.SEEN:
            for swapped in (False, True):
                machine = reference.Machine([reference.find_gpu(name)], swapped)
                machine.mode(0, 1)
                made = [machine.create_gi(0, number) for number in order]
                gis = machine.boards[0].gis
                self.assertEqual([gis[gi].start if code == 0 else None for code, gi, _ in made],
                                 starts, name)

    def test_the_model_knows_the_ids_that_were_captured(self):
        board = reference.Board(reference.find_gpu("NVIDIA A100-SXM4-40GB"), True)
        self.assertEqual([board.gpu.gi_id(start, 1, True) for start in range(7)],
                         [11, 12, 13, 14, 7, 8, 9])
        self.assertEqual([board.gpu.gi_id(start, 4, True) for start in (0, 4)], [2, 1])
        self.assertEqual([board.gpu.gi_id(start, 2, False) for start in (0, 2, 4)], [3, 4, 5])


if __name__ == "__main__":
    tap.main()
