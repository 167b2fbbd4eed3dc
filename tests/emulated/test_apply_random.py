#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""migctl apply from random states to random wishes, against trying everything.

A wish that can be must be carried out in one pass, with no failed call, as few instances destroyed
and made as can be, and the most room left; one that cannot be must be refused for the right reason
and nothing changed.

The default config files, our own and the one that nvidia-mig-parted ships, are applied to every GPU
in the same way: from MIG off and from another geometry.

MIGD_APPLIES: how many (400). MIGD_SEED: where the random numbers start; a failure names it.
"""
import collections
import os
import pathlib
import random
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import reference_model as reference  # noqa: E402
import tap  # noqa: E402
import test_default_configs as default_configs  # noqa: E402
from node import CONFIG  # noqa: E402
from nvml_worker import Difference  # noqa: E402
from wishes import BUSY, DONE, NO_FIT, Site  # noqa: E402

APPLIES = int(os.environ.get("MIGD_APPLIES", "400"))
SEED = int(os.environ.get("MIGD_SEED", "20240229"))
PER_NODE = 40


class Stock(unittest.TestCase):
    """What test_default_configs.py says can be, with its result."""

    @staticmethod
    def wishes(gpu, entries):
        """The profiles, by the catalogue's names, or None for MIG off."""
        device = gpu.row["pci"][0]["nvml_pci_device_id"].lower()
        _, enabled, counts = [one for one in entries if not one[0] or
                              device in map(str.lower, one[0])][-1]
        return [default_configs.find_profile(gpu.row, name)["name"]
                for name, count in counts.items() for _ in range(count)] if enabled else None

    def check(self, path):
        configs = default_configs.read_configs(path)
        seen, applied = set(), 0
        for gpu in reference.catalogue():
            site = Site(random.Random(SEED), [gpu])
            self.addCleanup(site.close)
            for name, entries in configs.items():
                if default_configs.expected(gpu.row, entries) != DONE:
                    continue
                wishes = self.wishes(gpu, entries)
                if (gpu.name, str(wishes)) in seen:
                    continue
                seen.add((gpu.name, str(wishes)))
                site.ask("mode 0 0")
                self.apply(site, path, name, wishes)
                site.stir()
                site.rest()
                self.apply(site, path, name, wishes)
                applied += 2
            site.close()
        print(f"# {applied} applies of {len(seen)} geometries", flush=True)

    def apply(self, site, path, name, wishes):
        try:
            self.assertEqual(site.apply(path, name, [wishes]), DONE)
        except Difference as error:
            raise Difference(f"{name} of {path}: {error}") from None

    def test_our_file(self):
        self.check(CONFIG)

    def test_the_file_that_nvidia_mig_parted_ships(self):
        files = default_configs.shipped_files()
        if not files:
            self.skipTest("no nvidia-mig-parted in the Go module cache")
        for path in files:
            self.check(path)


class Apply(unittest.TestCase):
    def test_against_trying_everything(self):
        codes = collections.Counter()
        for number in range(0, APPLIES, PER_NODE):
            rng = random.Random(f"{SEED}/{number}")
            site = Site(rng, rng.choices(reference.catalogue(), k=rng.choice([1, 1, 2, 3])))
            try:
                for step in range(min(PER_NODE, APPLIES - number)):
                    codes[site.step()] += 1
            except Difference as error:
                raise Difference(f"MIGD_SEED={SEED}, node {number}, step {step}: {error}") from None
            finally:
                site.close()
        print(f"# {APPLIES} applies: {codes[DONE]} done, {codes[NO_FIT]} that cannot fit, "
              f"{codes[BUSY]} blocked", flush=True)


if __name__ == "__main__":
    tap.main()
