# SPDX-License-Identifier: Apache-2.0
"""What MIG does, written down a second time: a model to hold the emulated driver against.

Made from facts/gpus.json and the rules in facts/README.md (sections are named below) and in the
documentation of NVML, not from the emulator's sources. It is meant to be plainly right rather than
fast: what fits is found by trying.

Where the facts leave the order of two refusals open, the order here is: the GPU is lost; MIG is
off; an argument that means nothing on this GPU; a reset is due; somebody is in the way; no room.
"""
import functools
import json
import pathlib

FACTS = pathlib.Path(__file__).resolve().parent.parent.parent / "facts" / "gpus.json"

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND = 0, 2, 3, 6
GPU_IS_LOST, RESET_REQUIRED, IN_USE, INSUFFICIENT_RESOURCES = 15, 16, 19, 23
ENOENT = 1002  # of the control interface, as nvml-worker shows it

NONE = -1  # no GPU instance: the whole GPU; no compute instance: the whole GPU instance
LEAKED, CLIENT = 1, 2  # kinds of holders


# ---- what a GPU can do ---------------------------------------------------------------------------

class Profile:
    """A profile of GPU instances (in units of the GPU) or of compute instances (in slots)."""

    def __init__(self, row, size, starts, variant="base"):
        self.row = row
        self.name = row["name"]
        self.enum = row["enum_value"]
        # The id of a compute-instance profile is its enum (section 5).
        self.id = row["enum_value"] if row["profile_id"] is None else row["profile_id"]
        self.max = row["max_instances"]
        self.slices = row["slice_count"]
        self.size = size
        self.variant = variant
        self.masks = {start: ((1 << size) - 1) << start for start in starts}
        self.cis = self.table = Table([
            Profile(ci, ci["placements"]["size"], ci["placements"]["starts"])
            for ci in row.get("compute_instance_profiles", [])])


class Table:
    """Profiles that share room, and what is possible in that room when some of it is taken."""

    def __init__(self, profiles):
        self.profiles = profiles
        self.by_id = {profile.id: profile for profile in profiles}
        self.pairs = functools.lru_cache(None)(self._pairs)
        self.choice = functools.lru_cache(None)(self._choice)
        self.fit = functools.lru_cache(None)(self._fit)

    def _pairs(self, taken):
        """How many (profile, start) pairs are possible."""
        return sum(not mask & taken for profile in self.profiles
                   for mask in profile.masks.values())

    def _choice(self, number, taken):
        """The driver's own choice of a start (section 3, "Automatic placement"), or None."""
        masks = self.by_id[number].masks
        free = [start for start in sorted(masks) if not masks[start] & taken]
        return max(free, key=lambda start: (self.pairs(taken | masks[start]), -start),
                   default=None)

    def _fit(self, number, taken):
        """The most instances of one profile that there is room for."""
        return max((1 + self.fit(number, taken | mask)
                    for mask in self.by_id[number].masks.values() if not mask & taken), default=0)


class Gpu:
    """A product of the catalogue."""

    def __init__(self, row):
        self.row = row
        self.name = row["name"].split(" (")[0]
        self.units = row["memory_slices"]
        self.max_devices = row["max_mig_devices"]
        self.needs_reset = row["mig_enable_needs_gpu_reset"]
        self.persists = row["mig_mode_persists_reboot"]
        self.table = Table([
            Profile(profile, profile["placements"]["size"], profile["placements"]["starts"],
                    profile["variant"]) for profile in row["gpu_instance_profiles"]])

    def gi_id(self, start, size, swapped):
        """Section 4: the number of the hardware partition."""
        if swapped and size < self.units:
            start = (start + self.units // 2) % self.units
        return self.units // size - 1 + start // size


def is_complete(row):
    """Whether enough is known of a product to emulate it."""
    return bool(row["memory_slices"]) and all(
        profile["placements"] and profile["profile_id"] is not None and
        (profile["memory_mib"] or profile["memory_mib_estimate"]) and
        all(ci["placements"] for ci in profile["compute_instance_profiles"])
        for profile in row["gpu_instance_profiles"])


@functools.lru_cache(None)
def catalogue():
    """The products that can be emulated."""
    rows = json.loads(FACTS.read_text(encoding="utf-8"))
    return [Gpu(row) for row in rows if is_complete(row)]


def find_gpu(name):
    return next(gpu for gpu in catalogue() if gpu.name == name)


# ---- a machine -----------------------------------------------------------------------------------

class Instance:
    """A GPU instance or a compute instance. The birth tells it from others with the same id."""
    __slots__ = ("profile", "start", "birth", "cis")

    def __init__(self, profile, start, birth, cis=None):
        self.profile, self.start, self.birth = profile, start, birth
        self.cis = {} if cis is None else cis

    def copy(self):
        return Instance(self.profile, self.start, self.birth,
                        {number: ci.copy() for number, ci in self.cis.items()})

    @property
    def mask(self):
        return self.profile.masks[self.start]


class Board:
    """One GPU of a machine, with the state it is in."""

    def __init__(self, gpu, swapped):
        self.gpu, self.swapped = gpu, swapped and gpu.units == 8
        self.mode = self.pending = 0
        self.lost = self.reset_required = self.blocked = self.needs_idle = 0
        self.gis = {}

    def copy(self):
        other = object.__new__(Board)
        other.__dict__.update(self.__dict__)
        other.gis = {number: gi.copy() for number, gi in self.gis.items()}
        return other

    def units_taken(self):
        return sum(gi.mask for gi in self.gis.values())

    def allowance(self, profile):
        """How many more the limits of section 3 ("Extra limits") leave, room aside."""
        variants = [gi.profile.variant for gi in self.gis.values()]
        if profile.variant in ("me", "me.all") and ("me" in variants or "me.all" in variants):
            return 0  # the media engines are given out once
        if "me.all" in variants and profile.variant != "no-me":
            return 0  # all media engines are taken
        if profile.variant == "me.all" and any(variant != "no-me" for variant in variants):
            return 0  # some of them are
        return profile.max - sum(gi.profile is profile for gi in self.gis.values())

    def room(self, profile):
        return max(0, min(self.allowance(profile),
                          self.gpu.table.fit(profile.id, self.units_taken())))


def slots_taken(gi):
    return sum(ci.mask for ci in gi.cis.values())


def ci_allowance(gi, profile):
    """How many more there may be, room aside: Hopper has more slots than slices, and not the SMs
    for more than its slices."""
    slices = gi.profile.slices - sum(ci.profile.slices for ci in gi.cis.values())
    return min(profile.max - sum(ci.profile is profile for ci in gi.cis.values()),
               8 - len(gi.cis), slices // profile.slices)


def ci_room(gi, profile):
    return max(0, min(ci_allowance(gi, profile), gi.profile.cis.fit(profile.id, slots_taken(gi))))


class Machine:
    """A host. Each operation returns (code, first, second), as nvml-worker shows them."""

    def __init__(self, gpus, swapped, branch=550):
        self.boards = [Board(gpu, swapped) for gpu in gpus]
        self.branch = branch  # of the driver
        self.births = 0
        self.processes = {}  # pid: (gpu, gi, ci)
        self.holders = []  # (gpu, gi, ci, kind, survives)

    def copy(self):
        other = object.__new__(Machine)
        other.boards = [board.copy() for board in self.boards]
        other.branch = self.branch
        other.births = self.births
        other.processes = dict(self.processes)
        other.holders = list(self.holders)
        return other

    # ---- who is in the way (section 9)

    def users(self, gpu, gi=NONE, ci=NONE, clients=True):
        """Users of a GPU, of one of its GPU instances, or of a compute instance."""
        def within(user):
            return user[0] == gpu and gi in (NONE, user[1]) and ci in (NONE, user[2])
        return (sum(within(user) for user in self.processes.values()) +
                sum(within(holder) and (clients or holder[3] != CLIENT)
                    for holder in self.holders))

    def whole_gpu_users(self, gpu):
        return sum(user[:2] == (gpu, NONE)
                   for user in [*self.processes.values(), *(h[:3] for h in self.holders)])

    # ---- MIG mode (section 8)

    def mode(self, gpu, mode):
        board = self.boards[gpu]
        if board.lost:
            return GPU_IS_LOST, 0, 0
        if mode not in (0, 1):
            return INVALID_ARGUMENT, 0, 0
        board.pending = mode
        if board.mode == mode:
            return SUCCESS, SUCCESS, 0
        # A kernel client hinders only the reset that Ampere needs.
        if self.users(gpu, clients=board.gpu.needs_reset):
            return SUCCESS, IN_USE, 0
        if board.gpu.needs_reset and board.blocked:
            return SUCCESS, board.blocked, 0
        if board.gpu.needs_reset:
            board.reset_required = 0
        self.activate(board)
        return SUCCESS, SUCCESS, 0

    @staticmethod
    def activate(board):
        board.mode = board.pending
        board.gis = {}

    def reset(self, gpu):
        board = self.boards[gpu]
        if self.users(gpu):
            return IN_USE, 0, 0
        if board.lost:
            return GPU_IS_LOST, 0, 0
        board.reset_required = 0
        self.activate(board)
        return SUCCESS, 0, 0

    def load_driver(self):
        for board in self.boards:
            if not board.gpu.persists:
                board.pending = 0
            board.lost = board.reset_required = 0
            self.activate(board)

    def reload(self):
        if any(self.users(gpu) for gpu in range(len(self.boards))):
            return IN_USE, 0, 0
        self.load_driver()
        return SUCCESS, 0, 0

    def reboot(self):
        self.processes = {}
        self.holders = [(gpu, NONE, NONE, kind, survives)
                        for gpu, _, _, kind, survives in self.holders if survives]
        self.load_driver()
        return SUCCESS, 0, 0

    # ---- GPU instances

    def create_gi(self, gpu, number, start=None, size=None):
        board = self.boards[gpu]
        if board.lost:
            return GPU_IS_LOST, 0, 0
        if not board.mode:
            return NOT_SUPPORTED, 0, 0
        profile = board.gpu.table.by_id.get(number)
        if not profile or start is not None and (size != profile.size or
                                                 start not in profile.masks):
            return INVALID_ARGUMENT, 0, 0
        if board.reset_required:
            return RESET_REQUIRED, 0, 0
        if board.needs_idle and self.whole_gpu_users(gpu):
            return IN_USE, 0, 0
        taken = board.units_taken()
        if start is None:
            start = board.gpu.table.choice(number, taken)
        if start is None or profile.masks[start] & taken or board.allowance(profile) <= 0:
            return INSUFFICIENT_RESOURCES, 0, 0
        gi = board.gpu.gi_id(start, profile.size, board.swapped)
        self.births += 1
        board.gis[gi] = Instance(profile, start, self.births)
        return SUCCESS, gi, 0

    def find_gi(self, gpu, gi):
        """(code, instance): what looking one up by its id gives."""
        board = self.boards[gpu]
        if board.lost:
            return GPU_IS_LOST, None
        if not board.mode:
            return NOT_SUPPORTED, None
        return (SUCCESS, board.gis[gi]) if gi in board.gis else (NOT_FOUND, None)

    def destroy_gi(self, gpu, gi):
        code, instance = self.find_gi(gpu, gi)
        if code:
            return code, 0, 0
        if self.boards[gpu].reset_required:
            return RESET_REQUIRED, 0, 0
        if instance.cis or self.users(gpu, gi):
            return IN_USE, 0, 0
        del self.boards[gpu].gis[gi]
        return SUCCESS, 0, 0

    def destroy_kept_gi(self, gpu, gi, birth):
        """By a handle that was got when the instance had that birth; None: there never was one."""
        if birth is None:
            return INVALID_ARGUMENT, 0, 0
        board = self.boards[gpu]
        if not board.lost and (gi not in board.gis or board.gis[gi].birth != birth):
            return NOT_FOUND, 0, 0
        return self.destroy_gi(gpu, gi)

    # ---- compute instances (section 5)

    def create_ci(self, gpu, gi, number, start=None, size=None):
        code, instance = self.find_gi(gpu, gi)
        if code:
            return code, 0, 0
        table = instance.profile.cis
        profile = table.by_id.get(number)
        if not profile or start is not None and (size != profile.size or
                                                 start not in profile.masks):
            return INVALID_ARGUMENT, 0, 0
        if self.boards[gpu].reset_required:
            return RESET_REQUIRED, 0, 0
        taken = slots_taken(instance)
        if start is None:
            start = table.choice(number, taken)
        if start is None or profile.masks[start] & taken or ci_allowance(instance, profile) <= 0:
            return INSUFFICIENT_RESOURCES, 0, 0
        ci = min(set(range(9)) - set(instance.cis))
        self.births += 1
        instance.cis[ci] = Instance(profile, start, self.births)
        return SUCCESS, ci, 0

    def destroy_ci(self, gpu, gi, ci):
        code, instance = self.find_gi(gpu, gi)
        if code:
            return code, 0, 0
        if ci not in instance.cis:
            return NOT_FOUND, 0, 0
        if self.boards[gpu].reset_required:
            return RESET_REQUIRED, 0, 0
        if self.users(gpu, gi, ci):
            return IN_USE, 0, 0
        del instance.cis[ci]
        return SUCCESS, 0, 0

    def destroy_kept_ci(self, gpu, gi, ci, birth):
        if birth is None:
            return INVALID_ARGUMENT, 0, 0
        board = self.boards[gpu]
        instance = board.gis.get(gi)
        if not board.lost and (not instance or ci not in instance.cis or
                               instance.cis[ci].birth != birth):
            return NOT_FOUND, 0, 0
        return self.destroy_ci(gpu, gi, ci)

    # ---- users come and go

    def exists(self, gpu, gi, ci):
        if gi == NONE:
            return ci == NONE
        instance = self.boards[gpu].gis.get(gi)
        return instance is not None and (ci == NONE or ci in instance.cis)

    def start(self, gpu, gi, ci, pid):
        if not self.exists(gpu, gi, ci):
            return ENOENT, 0, 0
        self.processes[pid] = (gpu, gi, ci)
        return SUCCESS, 0, 0

    def stop(self, pid):
        return SUCCESS if self.processes.pop(pid, None) else ENOENT, 0, 0

    def hold(self, gpu, gi, ci, kind, survives):
        if not self.exists(gpu, gi, ci):
            return ENOENT, 0, 0
        self.holders.append((gpu, gi, ci, kind, survives))
        return SUCCESS, 0, 0

    def drop(self, gpu, gi, ci, kind, survives):
        holder = (gpu, gi, ci, kind, survives)
        if holder not in self.holders:
            return ENOENT, 0, 0
        self.holders.remove(holder)
        return SUCCESS, 0, 0

    # ---- what can be seen

    def devices(self, gpu):
        """MIG devices by index: (GI, CI) in order, without gaps (section 6)."""
        gis = self.boards[gpu].gis
        return [(gi, ci) for gi in sorted(gis) for ci in sorted(gis[gi].cis)]

    def show(self, gpu, uuids):
        """The state of a GPU as nvml-worker writes it. uuids: what is known of (gpu, gi, ci)."""
        board = self.boards[gpu]
        if board.lost:
            return f" |{gpu} E{GPU_IS_LOST}"
        text = [f" |{gpu} m{board.mode}p{board.pending}:"
                f"{board.gpu.max_devices if board.mode else 0}"]
        for profile in board.gpu.table.profiles:
            if not board.mode:
                # nvidia-smi of this driver lists the room of an empty GPU where MIG is off.
                room = f"E{NOT_SUPPORTED}" if self.branch < 550 else board.room(profile)
                text.append(f" {profile.id}:{room}:E{NOT_SUPPORTED}")
                continue
            text.append(f" {profile.id}:{board.room(profile)}" + self.listing(board.gis, profile))
        for number in sorted(board.gis):
            instance = board.gis[number]
            text.append(f" G{number}")
            for profile in instance.profile.cis.profiles:
                text.append(f" {profile.id}:{ci_room(instance, profile)}" +
                            self.listing(instance.cis, profile))
        for index, (gi, ci) in enumerate(self.devices(gpu)):
            text.append(f" D{index}:{gi}.{ci}:{uuids.get((gpu, gi, ci), '?')}")
        for pid in sorted(self.processes):
            where, gi, ci = self.processes[pid]
            if where == gpu:
                text.append(f" P{pid}/{gi}/{ci}")
        return "".join(text)

    @staticmethod
    def listing(instances, profile):
        """":2,3@0+2,4@2+2": the instances of one profile, by id."""
        own = sorted(number for number, one in instances.items() if one.profile is profile)
        return f":{len(own)}" + "".join(
            f",{number}@{instances[number].start}+{profile.size}" for number in own)
