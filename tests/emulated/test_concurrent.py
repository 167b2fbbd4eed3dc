#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several clients change one machine at the same time: is what they see that of some order?

A history of concurrent calls is right (linearizable) when the calls can be put in one order that
keeps apart what did not overlap in time, and in which the reference model gives each call the
answer that it had. All such orders are tried, round by round; after a round the machine must be in
the state that one of them ends in. Two machines are driven at once, and know nothing of each other.

MIGD_ROUNDS: rounds (150). MIGD_SEED: where the random numbers start; a failure names it.
"""
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import reference_model as reference  # noqa: E402
import tap  # noqa: E402
from nvml_worker import Difference, Worker, create  # noqa: E402

ROUNDS = int(os.environ.get("MIGD_ROUNDS", "150"))
SEED = int(os.environ.get("MIGD_SEED", "20240229"))
CLIENTS = 3  # of each machine
CALLS = 4  # of a client in a round
HEAD_START_NS = 600000  # from telling the clients to their start
UNKNOWN = 2 ** 32 - 1  # the id of an instance that was gone before its maker could ask


class Call:
    """A line for a client, what the model does, and how it went."""

    def __init__(self, line, apply):
        self.line, self.apply = line, apply
        self.code = self.first = self.start = self.end = None

    def ended(self, answer):
        self.code, self.first, _, self.start, self.end = map(int, answer.split(" "))

    def agrees(self, outcome):
        return self.code == outcome[0] and self.first in (outcome[1], UNKNOWN)

    def __str__(self):
        return f"{self.line}: {self.code} {self.first} ({self.start}..{self.end})"


def choose(rng, machine, pids):
    """A call that is likely to be in the way of those that others choose."""
    gpu = rng.randrange(len(machine.boards))
    board = machine.boards[gpu]
    gi = rng.choice(sorted(board.gis)) if board.gis and rng.random() < 0.9 else rng.randrange(15)
    what = rng.random()
    if what < 0.4:
        number = rng.choice(board.gpu.table.profiles).id
        return Call(f"cgi {gpu} {number}", lambda m: m.create_gi(gpu, number))
    if what < 0.6:
        return Call(f"dgi {gpu} {gi}", lambda m: m.destroy_gi(gpu, gi))
    instance = board.gis.get(gi)
    if what < 0.8:
        number = rng.choice(instance.profile.cis.profiles).id if instance else 0
        return Call(f"cci {gpu} {gi} {number}", lambda m: m.create_ci(gpu, gi, number))
    ci = rng.choice(sorted(instance.cis)) if instance and instance.cis else 0
    if what < 0.9:
        return Call(f"dci {gpu} {gi} {ci}", lambda m: m.destroy_ci(gpu, gi, ci))
    if pids and what < 0.95:
        pid = pids.pop()
        return Call(f"job {gpu} {gi} {ci} {pid}", lambda m: m.start(gpu, gi, ci, pid))
    pid = rng.choice(sorted(machine.processes)) if machine.processes else 1
    return Call(f"unjob - {pid}", lambda m: m.stop(pid))


def key(machine):
    """Equal for machines that no call can tell apart."""
    return tuple(tuple(sorted(
        (number, gi.profile.id, gi.start,
         tuple(sorted((ci, one.profile.id, one.start) for ci, one in gi.cis.items())))
        for number, gi in board.gis.items())) for board in machine.boards), \
        tuple(sorted(machine.processes.items()))


def outcomes(machine, histories):
    """The machines that some right order of the calls ends in."""
    layer = {(0,) * len(histories): {key(machine): machine}}
    for _ in range(sum(map(len, histories))):
        following = {}
        for done, machines in layer.items():
            for client, call in callable_next(histories, done):
                after = done[:client] + (done[client] + 1,) + done[client + 1:]
                for one in machines.values():
                    other = one.copy()
                    if call.agrees(call.apply(other)):
                        following.setdefault(after, {}).setdefault(key(other), other)
        layer = following
    return [machine for machines in layer.values() for machine in machines.values()]


def callable_next(histories, done):
    """(client, call): what may come next, because nothing left ended before it began."""
    waiting = [(client, calls[count]) for client, (calls, count)
               in enumerate(zip(histories, done)) if count < len(calls)]
    first_end = min((call.end for _, call in waiting), default=0)
    return [(client, call) for client, call in waiting if call.start <= first_end]


class Site:
    """A machine, its clients, and one that only looks."""

    def __init__(self, node, rng, gpus, swapped):
        self.node, self.rng = node, rng
        self.model = reference.Machine(gpus, swapped)
        create(node, gpus, swapped)
        self.witness = Worker(node, self.model.boards)
        self.witness.ask([f"mode {gpu} 1" for gpu in range(len(gpus))])
        for gpu in range(len(gpus)):
            self.model.mode(gpu, 1)
        self.clients = [Worker(node, self.model.boards) for _ in range(CLIENTS)]
        for client in self.clients:
            client.ask(["timed -"])
        self.pids = list(range(4194000, 4194250))
        self.histories = []
        self.overlaps = 0

    def begin(self, start_ns):
        self.histories = []
        for client in self.clients:
            calls = [choose(self.rng, self.model, self.pids) for _ in range(CALLS)]
            self.histories.append(calls)
            client.send([f"wait - {start_ns}"] + [call.line for call in calls])

    def finish(self):
        for client, calls in zip(self.clients, self.histories):
            client.read()
            for call in calls:
                call.ended(client.read())
        every = sorted((call.start, call.end) for calls in self.histories for call in calls)
        self.overlaps += sum(after[0] < before[1] for before, after in zip(every, every[1:]))
        self.check(self.witness.ask(["state -"])[0])

    def check(self, seen):
        seen = " |" + re.sub(r":MIG-[0-9a-f-]+", ":?", seen.split(" |", 1)[1])
        endings = outcomes(self.model, self.histories)
        for machine in endings:
            if self.show(machine) == seen:
                self.model = machine
                return
        raise Difference("no order of these calls explains them and ends in\n  " + seen +
                         "\nbut in\n  " + "\n  ".join(map(self.show, endings)) + "\nfrom\n  " +
                         self.show(self.model) + "\ncalls:\n  " +
                         "\n  ".join(str(call) for calls in self.histories for call in calls))

    @staticmethod
    def show(machine):
        return "".join(machine.show(gpu, {}) for gpu in range(len(machine.boards)))

    def end(self):
        for client in [*self.clients, self.witness]:
            client.end()


class Concurrent(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="migemu-test-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def site(self, name, rng, *gpus):
        site = Site(self.scratch / name, rng, [reference.find_gpu(gpu) for gpu in gpus],
                    rng.random() < 0.5)
        self.addCleanup(site.end)
        return site

    def test_every_history_has_an_order(self):
        rng = random.Random(SEED)
        sites = [self.site("one", rng, "NVIDIA A100-SXM4-40GB"),
                 self.site("two", rng, "NVIDIA A30",
                           "NVIDIA RTX PRO 6000 Blackwell Server Edition")]
        for number in range(ROUNDS):
            try:
                start_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + HEAD_START_NS
                for site in sites:
                    site.begin(start_ns)
                for site in sites:
                    site.finish()
            except Difference as error:
                raise Difference(f"MIGD_SEED={SEED}, round {number}: {error}") from None
        calls = ROUNDS * len(sites) * CLIENTS * CALLS
        print(f"# {calls} calls in {ROUNDS} rounds, {sum(site.overlaps for site in sites)} began "
              "before the one before had ended", flush=True)

    def test_a_wrong_history_is_seen(self):
        """The check itself: two creations of what there is room for once cannot both succeed."""
        machine = reference.Machine([reference.find_gpu("NVIDIA A30")], False)
        machine.mode(0, 1)
        calls = [Call("cgi 0 0", lambda m: m.create_gi(0, 0)) for _ in range(2)]
        calls[0].ended("0 0 0 10 20")
        calls[1].ended("0 0 0 15 25")
        self.assertEqual(outcomes(machine, [[calls[0]], [calls[1]]]), [])
        calls[1].ended("23 0 0 15 25")
        self.assertEqual(len(outcomes(machine, [[calls[0]], [calls[1]]])), 1)
        calls[1].ended("23 0 0 1 5")  # refused before the other began
        self.assertEqual(outcomes(machine, [[calls[0]], [calls[1]]]), [])


if __name__ == "__main__":
    tap.main()
