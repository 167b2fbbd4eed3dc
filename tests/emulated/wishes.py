# SPDX-License-Identifier: Apache-2.0
"""Nodes with wishes: random states and random configs for migctl apply, and what must come of them.

What can be, and how little has to be destroyed and made for it, is worked out by going through
every choice of instances to keep and every placement of the others.
"""
import collections
import functools
import itertools
import json
import os
import re
import tempfile

import reference_model as reference
from node import Node
from nvml_worker import Difference, Worker

# Each apply syncs its journal, which on a disk takes longer than all else here.
if "TMPDIR" not in os.environ and os.access("/dev/shm", os.W_OK):
    tempfile.tempdir = "/dev/shm"

DONE, NO_FIT, BUSY = 0, 4, 5  # exit codes
FULL, PARTS, EMPTY = "full", "parts", "empty"  # the compute instances of a GPU instance

Instance = collections.namedtuple("Instance", "gi profile start cis kind in_use")
# What must come of a wish; destroyed None: how little it takes was not worked out.
Outcome = collections.namedtuple("Outcome", "code destroyed made room", defaults=(0, 0, None))


# ---- what can be, by trying ----------------------------------------------------------------------

@functools.lru_cache(None)
def endings(owner, profiles, taken):
    """The sets of units that can be in use once these profiles (by id) are placed too; of a GPU, or
    the sets of slots of a GPU instance's profile."""
    if not profiles:
        return frozenset([taken])
    masks = owner.table.by_id[profiles[0]].masks.values()
    return frozenset().union(*(endings(owner, profiles[1:], taken | mask)
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
    """What must come of the wish for an instance of each of these profiles."""
    if not is_lawful(gpu, wanted) or \
            not endings(gpu, tuple(sorted(one.id for one in wanted)), 0):
        return Outcome(NO_FIT)
    costs = [cost(gpu, current, wanted, kept, rest) for kept, rest in choices(current, wanted)]
    best = min((one for one in costs if one is not None), default=None)
    return Outcome(DONE, best[0], best[2], -best[4]) if best else Outcome(BUSY)


def fits_in_one(profile, parts):
    """Whether these compute instances (sorted ids) fit in one GPU instance together."""
    counts = collections.Counter(parts)
    return all(count <= profile.cis.by_id[number].max for number, count in counts.items()) and \
        sum(profile.cis.by_id[number].slices for number in parts) <= profile.slices and \
        bool(endings(profile, parts, 0))


@functools.lru_cache(None)
def fewest(profile, parts):
    """How many GPU instances these compute instances need: each of them alone, or in any group."""
    if not parts:
        return 0
    first, others = parts[0], parts[1:]
    groups = {tuple(sorted((first, *group))) for count in range(len(others) + 1)
              for group in itertools.combinations(others, count)}
    return 1 + min(fewest(profile, left_over(parts, group)) for group in groups
                   if fits_in_one(profile, group))


def left_over(parts, group):
    counts = collections.Counter(parts)
    counts.subtract(group)
    return tuple(sorted(counts.elements()))


def expect_parts(gpu, current, wanted, parts):
    """As expect, for wishes with parts of GPU instances, {profile: CI ids}; not how little."""
    shared = [profile for profile, numbers in parts.items()
              for _ in range(fewest(profile, tuple(sorted(numbers))))]
    every = tuple(sorted(one.id for one in [*wanted, *shared]))
    if not is_lawful(gpu, [*wanted, *shared]) or not endings(gpu, every, 0):
        return Outcome(NO_FIT)
    used = [one for one in current if one.in_use]
    whole = collections.Counter(one.id for one in wanted)
    whole.subtract(one.profile.id for one in used)
    rest = left_over(every, [one.profile.id for one in used])
    if min(whole.values(), default=0) < 0 or \
            not endings(gpu, rest, sum(one.profile.masks[one.start] for one in used)):
        return Outcome(BUSY)
    return Outcome(DONE, None)


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
        self.whole = set()  # GPUs that somebody uses as a whole

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
                    self.use(gpu, one.gi, one.cis[0][0])
            if self.rng.random() < 0.05:
                self.use(gpu, -1, -1)
                self.whole.add(gpu)

    def make(self, gpu):
        profile = self.rng.choice(self.gpus[gpu].table.profiles)
        start = self.rng.choice(sorted(profile.masks))
        (code, gi, _), _ = self.ask(f"cgip {gpu} {profile.id} {start} {profile.size}")
        if code == 0 and self.rng.random() < 0.85:
            self.ask(f"cci {gpu} {gi} {self.default(profile)}")
        for _ in range(self.rng.randrange(4) if code == 0 else 0):
            self.ask(f"cci {gpu} {gi} {self.rng.choice(profile.cis.profiles).id}")

    def use(self, gpu, gi, ci):
        self.pid += 1
        self.jobs.append(self.pid)
        self.ask(f"job {gpu} {gi} {ci} {self.pid}")

    def rest(self):
        """All users go."""
        for pid in self.jobs:
            self.ask(f"unjob - {pid}")
        self.jobs = []
        self.whole = set()

    # ---- wishing

    @staticmethod
    def names_of(one):
        """The MIG devices of a GPU instance, or the one that it is meant to be."""
        return [one.profile.cis.by_id[number].name for _, number in one.cis] or [one.profile.name]

    def wish(self, gpu, current):
        """Names of MIG devices, or None for MIG off."""
        if self.rng.random() < 0.08:
            return None
        profiles = self.gpus[gpu].table.profiles
        names = [name for one in current if one.in_use or self.rng.random() < 0.6
                 for name in self.names_of(one)]
        if self.rng.random() < 0.15:
            names = []
        for _ in range(self.rng.randrange(6)):
            profile = self.rng.choice(profiles)
            if self.rng.random() < 0.2:
                profile = self.rng.choice(profile.cis.profiles)
            wider = [*names, profile.name]
            if self.rng.random() < 0.03 or \
                    self.expect_instances(self.gpus[gpu], [], wider).code == DONE:
                names = wider
        if self.rng.random() < 0.02:
            names.append("5g.30gb")
        return names

    def expect(self, gpu, mode, current, names):
        """What must come of a wish for one GPU."""
        outcome = Outcome(DONE, len(current), 0)
        if names is not None:
            outcome = self.expect_instances(self.gpus[gpu], current, names)
        elif any(one.in_use for one in current):
            outcome = Outcome(BUSY)
        if mode != (names is not None) and gpu in self.whole and outcome.code == DONE:
            return Outcome(BUSY)  # MIG mode cannot change under anybody
        return outcome

    @staticmethod
    def expect_instances(gpu, current, names):
        profiles = {profile.name: profile for profile in gpu.table.profiles}
        parts = {ci.name: (profile, ci.id) for profile in gpu.table.profiles
                 for ci in reversed(profile.cis.profiles) if ci.name != profile.name}
        if any(name not in profiles and name not in parts for name in names):
            return Outcome(NO_FIT)
        wanted = [profiles[name] for name in names if name in profiles]
        shared = {}
        for name in names:
            if name in parts:
                profile, number = parts[name]
                shared.setdefault(profile, []).append(number)
        return expect_parts(gpu, current, wanted, shared) if shared else \
            expect(gpu, current, wanted)

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

    def text(self, state):
        return [(mode, [f"{one.profile.name}@{one.start} {one.kind}"
                        f"{self.names_of(one) if one.kind == PARTS else ''}"
                        f"{' in use' * one.in_use}" for one in current])
                for mode, current in state]

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
            return "what can be was refused, or not done"
        counts = (sum(one.destroyed or 0 for one in wanted), sum(one.made for one in wanted))
        if all(one.destroyed is not None for one in wanted) and divmod(calls[1], 1000) != counts:
            return f"destroyed and made {divmod(calls[1], 1000)}, not {counts}"
        if calls[0] or calls[2] >= 1000:
            return "a call failed"
        for gpu, (names, outcome, was, now) in enumerate(zip(wishes, wanted, before, after)):
            problem = self.judge_gpu(gpu, names, outcome, was[1], now)
            if problem:
                return f"GPU {gpu}: {problem}"
        return None

    def has(self, current, names):
        """Whether these instances are the MIG devices of a wish, with nothing besides."""
        return all(one.cis for one in current) and sorted(
            name for one in current for name in self.names_of(one)) == sorted(names or [])

    def judge_gpu(self, gpu, names, outcome, was, now):
        mode, current = now
        if mode != (names is not None):
            return "MIG mode is wrong"
        if not self.has(current, names):
            return "the instances are not those wanted"
        if not all(one in current for one in was if one.in_use):
            return "an instance in use is not as it was"
        profiles = [one.profile for one in current]
        taken = sum(one.profile.masks[one.start] for one in current)
        left = room(self.gpus[gpu], profiles, taken)
        if mode and outcome.destroyed is not None and left != outcome.room:
            return f"room for {left}, not {outcome.room}"
        return None
