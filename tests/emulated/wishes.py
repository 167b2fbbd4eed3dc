# SPDX-License-Identifier: Apache-2.0
"""Nodes with wishes: random states and random configs for migctl apply, and what must come of them.

What can be, and how little has to be destroyed and made for it, is worked out by going through
every choice of instances to keep and every placement of the others.
"""
import collections
import functools
import json
import os
import re

import reference_model as reference
from node import Node
from nvml_worker import Difference, Worker

DONE, NO_FIT, BUSY = 0, 4, 5  # exit codes
FULL, PARTS, EMPTY = "full", "parts", "empty"  # the compute instances of a GPU instance

Instance = collections.namedtuple("Instance", "gi profile start cis kind in_use")
Outcome = collections.namedtuple("Outcome", "code destroyed made room", defaults=(0, 0, None))


# ---- what can be, by trying ----------------------------------------------------------------------

@functools.lru_cache(None)
def endings(gpu, profiles, taken):
    """The sets of units that can be in use once these profiles (by id) are placed too."""
    if not profiles:
        return frozenset([taken])
    masks = gpu.table.by_id[profiles[0]].masks.values()
    return frozenset().union(*(endings(gpu, profiles[1:], taken | mask)
                               for mask in masks if not mask & taken))


def is_lawful(gpu, wanted):
    """The limits that are not about room."""
    board = reference.Board(gpu, False)
    for number, profile in enumerate(sorted(wanted, key=lambda one: one.variant == "no-me",
                                            reverse=True)):
        if board.allowance(profile) <= 0:
            return False
        board.gis[number] = reference.Instance(profile, 0, 0)
    return True


def room(gpu, wanted, taken):
    """(profile, start) pairs that are possible beside these instances."""
    board = reference.Board(gpu, False)
    board.gis = {number: reference.Instance(one, 0, 0) for number, one in enumerate(wanted)}
    return sum(not mask & taken for profile in gpu.table.profiles
               if board.allowance(profile) > 0 for mask in profile.masks.values())


def choices(current, wanted):
    """Every set of instances that may be kept, with what is left to place."""
    for bits in range(1 << len(current)):
        kept = [one for i, one in enumerate(current) if bits >> i & 1]
        rest = collections.Counter(profile.id for profile in wanted)
        rest.subtract(one.profile.id for one in kept)
        if min(rest.values(), default=0) >= 0 and \
                all(one in kept for one in current if one.in_use):
            yield kept, tuple(sorted(rest.elements()))


def cost(gpu, current, wanted, kept, rest):
    """What is to be as small as can be, in the order of what matters; None: no placement."""
    masks = endings(gpu, rest, sum(one.profile.masks[one.start] for one in kept))
    if not masks:
        return None
    parts = sum(len(one.cis) for one in kept if one.kind == PARTS)
    return (len(current) - len(kept), parts, len(rest), sum(one.kind != FULL for one in kept),
            -max(room(gpu, wanted, taken) for taken in masks))


def expect(gpu, current, wanted):
    """wanted: profiles, None among them for one that this GPU lacks."""
    if None in wanted or not is_lawful(gpu, wanted) or \
            not endings(gpu, tuple(sorted(one.id for one in wanted)), 0):
        return Outcome(NO_FIT)
    costs = [cost(gpu, current, wanted, kept, rest) for kept, rest in choices(current, wanted)]
    best = min((one for one in costs if one is not None), default=None)
    return Outcome(DONE, best[0], best[2], -best[4]) if best else Outcome(BUSY)


# ---- a node --------------------------------------------------------------------------------------

class Site:
    """A node, its state as NVML tells it, and wishes for it."""

    def __init__(self, rng, gpus):
        self.rng, self.gpus = rng, gpus
        words = [word for gpu in self.gpus for word in ("--gpu", gpu.name)]
        self.node = Node(options=[*words, "--gi-numbering",
                                  rng.choice(["direct", "half-swapped"])])
        self.witness = Worker(self.node.path, reference.Machine(self.gpus, False).boards)
        self.pid = 4194000
        self.jobs = []

    def close(self):
        self.witness.end()
        self.node.close()

    # ---- looking

    def ask(self, line):
        answer = self.witness.ask([line])[0]
        return [int(word) for word in answer.split(" ")[:3]], answer

    def look(self):
        """(mode, [Instance]) of each GPU."""
        parts = self.ask("state -")[1].split(" |")[1:]
        return [self.parse(gpu, part) for gpu, part in zip(self.gpus, parts)]

    def parse(self, gpu, part):
        used = {tuple(map(int, place)) for place in re.findall(r" P\d+/(-?\d+)/(-?\d+)", part)}
        head, *sections = re.split(r" G(?=\d)", part.split(" D0")[0])
        cis = {int(re.match(r"\d+", text).group()): text for text in sections}
        found = []
        for number, listed in re.findall(r" (\d+):\w+:\d+((?:,\d+@\d+\+\d+)+)", head):
            profile = gpu.table.by_id[int(number)]
            for gi, start in re.findall(r",(\d+)@(\d+)", listed):
                own = self.parse_cis(profile, cis[int(gi)])
                kind = EMPTY if not own else FULL if self.is_full(profile, own) else PARTS
                found.append(Instance(int(gi), profile, int(start), tuple(sorted(own.items())),
                                      kind, any(int(gi) == place[0] for place in used)))
        return int(re.match(r"\d+ m(\d)", part).group(1)), sorted(found)

    @staticmethod
    def parse_cis(profile, text):
        """{CI id: profile id}"""
        return {int(ci): int(number)
                for number, listed in re.findall(r" (\d+):\d+:\d+((?:,\d+@\d+\+\d+)+)", text)
                for ci in re.findall(r",(\d+)@", listed)}

    @staticmethod
    def default(profile):
        """The id of the compute instance that fills an instance of this profile."""
        row = next(ci for ci in profile.row["compute_instance_profiles"] if ci["default"])
        return row["enum_value"]

    @staticmethod
    def is_full(profile, own):
        """One compute instance that fills it, by name: there may be two kinds (section 5)."""
        return [profile.cis.by_id[number].name for number in own.values()] == [profile.name]

    # ---- stirring

    def stir(self):
        """Idle instances go, others come, some without compute instances; some get a user."""
        for gpu, (mode, current) in enumerate(self.look()):
            for one in current:
                if self.rng.random() < 0.3:
                    for ci, _ in one.cis:
                        self.ask(f"dci {gpu} {one.gi} {ci}")
                    self.ask(f"dgi {gpu} {one.gi}")
            for _ in range(self.rng.randrange(5) if mode else 0):
                self.make(gpu)
        for gpu, (mode, current) in enumerate(self.look()):
            for one in current:
                if one.kind == FULL and self.rng.random() < 0.2:
                    self.use(gpu, one)

    def make(self, gpu):
        profile = self.rng.choice(self.gpus[gpu].table.profiles)
        start = self.rng.choice(sorted(profile.masks))
        (code, gi, _), _ = self.ask(f"cgip {gpu} {profile.id} {start} {profile.size}")
        if code == 0 and self.rng.random() < 0.85:
            number = self.default(profile)
            if self.rng.random() < 0.15:
                number = self.rng.choice(profile.cis.profiles).id
            self.ask(f"cci {gpu} {gi} {number}")

    def use(self, gpu, one):
        self.pid += 1
        self.jobs.append(self.pid)
        self.ask(f"job {gpu} {one.gi} {one.cis[0][0]} {self.pid}")

    def rest(self):
        """All users go."""
        for pid in self.jobs:
            self.ask(f"unjob - {pid}")
        self.jobs = []

    # ---- wishing

    def wish(self, gpu, current):
        """Names of profiles, or None for MIG off."""
        if self.rng.random() < 0.08:
            return None
        profiles = self.gpus[gpu].table.profiles
        names = [one.profile.name for one in current if one.in_use or self.rng.random() < 0.6]
        if self.rng.random() < 0.15:
            names = []
        by_name = {profile.name: profile for profile in profiles}
        for _ in range(self.rng.randrange(6)):
            wider = [*names, self.rng.choice(profiles).name]
            if self.rng.random() < 0.03 or expect(
                    self.gpus[gpu], [], [by_name[name] for name in wider]).code == DONE:
                names = wider
        if self.rng.random() < 0.02:
            names.append("5g.30gb")
        return names

    def expect(self, gpu, mode, current, names):
        if names is None:
            busy = any(one.in_use for one in current)
            return Outcome(BUSY) if busy else Outcome(DONE, len(current), 0)
        by_name = {profile.name: profile for profile in self.gpus[gpu].table.profiles}
        return expect(self.gpus[gpu], current if mode else [],
                      [by_name.get(name) for name in names])

    def step(self):
        """One random wish from a random state; the exit code, which was right."""
        self.stir()
        before = self.look()
        wishes = [self.wish(gpu, current) for gpu, (_, current) in enumerate(before)]
        code = self.apply(self.write(wishes), "wish", wishes)
        self.rest()
        return code

    def apply(self, path, config, wishes):
        """Applies a config that means these wishes, from the state that there is."""
        before = self.look()
        wanted = [self.expect(gpu, mode, current, names) for gpu, ((mode, current), names)
                  in enumerate(zip(before, wishes))]
        commits = self.ask("state -")[0][2]
        self.ask("calls -")
        done = self.node.migctl("apply", "-f", path, "-c", config)
        calls, after = self.ask("calls -")[0], self.look()
        problem = self.judge(before, after, wishes, wanted, done.returncode, calls,
                             self.ask("state -")[0][2] - commits)
        if problem:
            raise Difference(
                f"{problem}\nGPUs {[gpu.name for gpu in self.gpus]}\nbefore {self.text(before)}\n"
                f"wishes {wishes}\nexpected {wanted}\nexit {done.returncode}: {done.stderr}"
                f"after {self.text(after)}\ncalls {calls}")
        return next((one.code for one in wanted if one.code), DONE)

    @staticmethod
    def text(state):
        return [(mode, [f"{one.profile.name}@{one.start} {one.kind}{' in use' * one.in_use}"
                        for one in current]) for mode, current in state]

    def write(self, wishes):
        entries = [{"devices": [gpu], "mig-enabled": names is not None,
                    "mig-devices": dict(collections.Counter(names or []))}
                   for gpu, names in enumerate(wishes)]
        path = os.path.join(self.node.directory, "wish.yaml")
        with open(path, "w", encoding="utf-8") as text:
            json.dump({"version": "v1", "mig-configs": {"wish": entries}}, text)
        return path

    def judge(self, before, after, wishes, wanted, code, calls, commits):
        refusals = [one.code for one in wanted if one.code]
        if refusals:
            if code not in refusals:
                return "the exit code is wrong"
            return "a refusal changed something" if commits or before != after else None
        if code != DONE:
            return "what can be was refused"
        counts = (sum(one.destroyed for one in wanted), sum(one.made for one in wanted))
        if divmod(calls[1], 1000) != counts:
            return f"destroyed and made {divmod(calls[1], 1000)}, not {counts}"
        if calls[0] or calls[2] >= 1000:
            return "a call failed"
        for gpu, (names, outcome, was, now) in enumerate(zip(wishes, wanted, before, after)):
            problem = self.judge_gpu(gpu, names, outcome, was[1], now)
            if problem:
                return f"GPU {gpu}: {problem}"
        return None

    def judge_gpu(self, gpu, names, outcome, was, now):
        mode, current = now
        if mode != (names is not None):
            return "MIG mode is wrong"
        if sorted(one.profile.name for one in current) != sorted(names or []):
            return "the instances are not those wanted"
        if any(one.kind != FULL for one in current):
            return "an instance has no compute instance that fills it"
        if not all(one in current for one in was if one.in_use):
            return "an instance in use is not as it was"
        profiles = [one.profile for one in current]
        taken = sum(one.profile.masks[one.start] for one in current)
        if mode and room(self.gpus[gpu], profiles, taken) != outcome.room:
            return f"room for {room(self.gpus[gpu], profiles, taken)}, not {outcome.room}"
        return None
