#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""migctl on a node of eight different GPUs while much goes wrong: calls fail, hang or kill it, it
is killed from outside at any time, slices are in use all over.

Whatever happens, no instance in use is touched, and the geometry is the old one or the one wished
for, on all GPUs together; after a kill, or when putting back failed too, the next run makes it so.
The exit code tells the truth.

MIGD_SOAK: how many applies (80). MIGD_SEED: where the random numbers start; a failure names it.
"""
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import reference_model as reference  # noqa: E402
import tap  # noqa: E402
from node import MIGCTL  # noqa: E402
from nvml_worker import Difference  # noqa: E402
from wishes import BUSY, DONE, NO_FIT, Site  # noqa: E402

APPLIES = int(os.environ.get("MIGD_SOAK", "80"))
SEED = int(os.environ.get("MIGD_SEED", "20240229"))
FAILED, BROKEN, KILLED = 1, 7, -9
LIMIT_S = 60
GPUS = ["NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB", "NVIDIA A30", "NVIDIA A100-SXM4-80GB",
        "NVIDIA H100 PCIe", "NVIDIA H200", "NVIDIA B200",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition"]
CHANGES = ["GpuInstanceDestroy", "ComputeInstanceDestroy", "DeviceCreateGpuInstance*",
           "GpuInstanceCreateComputeInstance*", "DeviceSetMigMode"]
CODES = ["IN_USE", "UNKNOWN", "INSUFFICIENT_RESOURCES", "TIMEOUT", "NO_PERMISSION"]


class Storm(Site):
    """A node on which things go wrong."""

    def step(self):
        """One apply; how it ended."""
        self.stir()
        before = self.look()
        births = self.births(before)
        wishes = [self.wish(gpu, current) if self.rng.random() < 0.5 else self.same(current)
                  for gpu, (_, current) in enumerate(before)]
        possible = next((one.code for one in map(self.expect, range(8), *zip(*before), wishes)
                         if one.code), DONE)
        rule, lasting = self.fault()
        code, said = self.run(self.write(wishes))
        self.node.migemu("fault clear")
        as_it_was = self.geometry(self.look()) == self.geometry(before)
        if code in (KILLED, BROKEN):
            said += self.recover()
        problem = self.judge_storm(before, wishes, births, possible, rule, code)
        if code == BROKEN and (as_it_was or not lasting):
            problem = "said to be broken for no reason"
        self.rest()
        if problem:
            raise Difference(f"{problem}\nfault {rule}\nbefore {self.text(before)}\nwishes {wishes}"
                             f"\nexit {code}: {said}\nafter {self.text(self.look())}")
        return code, rule is not None

    def births(self, state):
        """{(gpu, gi): birth} of what is in use."""
        return {(gpu, one.gi): self.ask(f"birth {gpu} {one.gi}")[0]
                for gpu, (_, current) in enumerate(state) for one in current if one.in_use}

    def same(self, current):
        return [name for one in current for name in self.names_of(one)]

    # ---- what goes wrong

    def fault(self):
        """(rule or None, whether it may act more than once)."""
        if self.rng.random() < 0.4:
            return None, False
        function, nth = self.rng.choice(CHANGES), self.rng.randrange(1, 9)
        when = self.rng.choice(["before", "after"])
        what = self.rng.random()
        lasting = what > 0.9
        if what < 0.25:
            rule = f"{function} nth={nth} {when} -> KILL"
        elif what < 0.35:
            rule = f"{function} nth={nth} delay=30"
        else:
            hits = "hits=100 " if lasting else ""
            rule = f"{function} nth={nth} {hits}{when} -> {self.rng.choice(CODES)}"
        self.node.migemu("fault add", rule)
        return rule, lasting

    def run(self, path):
        """(exit code, messages) of an apply that may be killed on the way."""
        process = subprocess.Popen([MIGCTL, "apply", "-f", path, "-c", "wish"], env=self.node.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        limit_s = self.rng.uniform(0.001, 0.06) if self.rng.random() < 0.25 else LIMIT_S
        try:
            said = process.communicate(timeout=limit_s)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[1]
        return process.returncode, said

    def recover(self):
        """The next run finds the journal; it wants what cannot be, so it does nothing else."""
        gpu = self.gpus[0]
        whole = max(gpu.table.profiles, key=lambda profile: profile.size)
        path = os.path.join(self.node.directory, "much.yaml")
        with open(path, "w", encoding="utf-8") as text:
            json.dump({"version": "v1", "mig-configs": {"much": [
                {"devices": [0], "mig-enabled": True, "mig-devices": {whole.name: 2}}]}}, text)
        done = self.node.migctl("apply", "-f", path, "-c", "much")
        if done.returncode != NO_FIT:
            raise Difference(f"after a kill: exit {done.returncode}: {done.stderr}")
        return f"then {done.stderr}"

    # ---- what must not

    @staticmethod
    def geometry(state):
        return [(mode, sorted((one.profile.name, one.start, sorted(number for _, number in one.cis))
                              for one in current)) for mode, current in state]

    def is_as_wished(self, wishes, state):
        """Each GPU has what was wished for, whichever place it is at."""
        for names, (mode, now) in zip(wishes, state):
            if mode != (names is not None) or not self.has(now, names):
                return False
        return True

    def judge_storm(self, before, wishes, births, possible, rule, code):
        after = self.look()
        if any(self.ask(f"birth {gpu} {gi}")[0] != birth for (gpu, gi), birth in births.items()):
            return "an instance in use was touched"
        if self.node.json("status")[1]["change_on_record"]:
            return "a change is still on record"
        old = self.geometry(after) == self.geometry(before)
        new = self.is_as_wished(wishes, after)
        if code in (KILLED, BROKEN):
            return None if old or new else "neither old nor new, after another run"
        if possible != DONE and not rule:
            return None if old and code in (NO_FIT, BUSY) else "not refused, or not as it was"
        if code == DONE:
            return None if new else "said to be done, and is not"
        if code in (FAILED, NO_FIT, BUSY):
            return None if old and (rule or possible) else "said to be as it was, and is not"
        return "an exit code that cannot be"


class Soak(unittest.TestCase):
    def test_much_goes_wrong(self):
        codes = collections.Counter()
        storm = Storm(random.Random(SEED), [reference.find_gpu(name) for name in GPUS])
        self.addCleanup(storm.close)
        for step in range(APPLIES):
            try:
                code, hindered = storm.step()
            except Difference as error:
                raise Difference(f"MIGD_SEED={SEED}, step {step}: {error}") from None
            codes[code, hindered] += 1
        print(f"# {APPLIES} applies: " + ", ".join(
            f"{count} x exit {code}{' with a fault' * hindered}"
            for (code, hindered), count in sorted(codes.items())), flush=True)


if __name__ == "__main__":
    tap.main()
