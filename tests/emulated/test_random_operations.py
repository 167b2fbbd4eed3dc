#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The emulated driver against the reference model: the same random operations on both.

Several client processes work on one machine in turn. Each answer, and after each operation the
whole state as NVML tells it, must be what reference_model.py says; every now and then a client is
killed in the middle of its work, and those that are left must find the state before or after the
operation that was cut off.

MIGD_OPERATIONS: how many operations (10000). MIGD_SEED: where the random numbers start; a failure
names it. 100,000 operations take about half a minute.
"""
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import reference_model as reference  # noqa: E402
import tap  # noqa: E402
from nvml_worker import Difference, Worker, create  # noqa: E402

OPERATIONS = int(os.environ.get("MIGD_OPERATIONS", "10000"))
SEED = int(os.environ.get("MIGD_SEED", "20240229"))
EPISODE = 1000  # operations on one machine
WORKERS = 4
ALONE = 0.2  # how likely a burst of one is about the host: its processes, a reboot
BURST = 20  # operations in a row by one client, at most
KILL_NS = 400000  # a client that is to be killed lives that long, at most
UUID = re.compile(r"MIG-[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
CAPABILITIES = "host/proc/driver/nvidia/capabilities"
CHANGES = ("mode", "cgi", "cgip", "dgi", "dgik", "cci", "ccip", "dci", "dcik")
HISTORY = 30  # operations that a failure shows
NOBODY = 4194000  # pids of virtual processes count from here


class Operation:
    """A line for a worker, the GPU that it is about (None: all), and what the model does."""

    def __init__(self, line, gpu, apply):
        self.line, self.gpu, self.apply = line, gpu, apply


class Chooser:
    """Makes random operations that are likely to find something to do."""

    def __init__(self, rng, gpu_uuids):
        self.rng, self.gpu_uuids = rng, gpu_uuids
        self.pid = NOBODY
        self.sleepers = {}
        weights = {self.create_gi: 26, self.create_gi_at: 12, self.destroy_gi: 16,
                   self.keep_gi: 2, self.destroy_kept_gi: 5, self.create_ci: 16,
                   self.create_ci_at: 6, self.destroy_ci: 10, self.keep_ci: 2,
                   self.destroy_kept_ci: 5, self.start: 4, self.stop: 5, self.hold: 1.2,
                   self.drop: 2, self.mode: 2, self.reset: 0.6, self.set: 0.7, self.find: 3,
                   self.reload: 0.1}
        self.kinds, self.weights = list(weights), list(weights.values())

    def choose(self, machine, worker, uuids):
        gpu = self.rng.randrange(len(machine.boards))
        board = machine.boards[gpu]
        if (board.lost or board.reset_required) and self.rng.random() < 0.3:
            what = "lost" if board.lost else "reset"
            return self.set_flag(gpu, what, 0)
        if not board.mode and self.rng.random() < 0.3:
            return self.set_mode(gpu, 1)
        kind = self.rng.choices(self.kinds, self.weights)[0]
        return kind(machine, gpu, board, worker, uuids)

    # ---- instances

    def some_profile(self, table):
        if self.rng.random() < 0.04:
            return self.rng.randrange(72)
        return self.rng.choice(table.profiles).id

    def some_place(self, table, number):
        profile = table.by_id.get(number)
        if profile and self.rng.random() < 0.9:
            return self.rng.choice(list(profile.masks)), profile.size
        return self.rng.choice([0, 1, 2, 3, 5, 7, 8, 31, 32, 255, 256, 2 ** 32 - 1]), \
            self.rng.choice([profile.size if profile else 1, 0, 1, 2, 4, 64])

    def some_gi(self, board):
        if board.gis and self.rng.random() < 0.93:
            return self.rng.choice(sorted(board.gis))
        return self.rng.randrange(16)

    def some_ci(self, board, gi):
        instance = board.gis.get(gi)
        if instance and instance.cis and self.rng.random() < 0.93:
            return self.rng.choice(sorted(instance.cis))
        return self.rng.randrange(8)

    def ci_table(self, board, gi):
        instance = board.gis.get(gi)
        return instance.profile.cis if instance else board.gpu.table

    def create_gi(self, machine, gpu, board, worker, uuids):
        number = self.some_profile(board.gpu.table)
        return Operation(f"cgi {gpu} {number}", gpu, lambda m: m.create_gi(gpu, number))

    def create_gi_at(self, machine, gpu, board, worker, uuids):
        number = self.some_profile(board.gpu.table)
        start, size = self.some_place(board.gpu.table, number)
        return Operation(f"cgip {gpu} {number} {start} {size}", gpu,
                         lambda m: m.create_gi(gpu, number, start, size))

    def destroy_gi(self, machine, gpu, board, worker, uuids):
        gi = self.some_gi(board)
        return Operation(f"dgi {gpu} {gi}", gpu, lambda m: m.destroy_gi(gpu, gi))

    def keep_gi(self, machine, gpu, board, worker, uuids):
        gi = self.some_gi(board)

        def look(machine):
            code = machine.find_gi(gpu, gi)[0]
            return code, 0 if code else gi, 0
        return Operation(f"keep {gpu} {gi}", gpu, look)

    def keep_ci(self, machine, gpu, board, worker, uuids):
        gi = self.some_gi(board)
        ci = self.some_ci(board, gi)

        def look(machine):
            code, instance = machine.find_gi(gpu, gi)
            if not code and ci not in instance.cis:
                code = reference.NOT_FOUND
            return code, 0 if code else ci, 0
        return Operation(f"keepci {gpu} {gi} {ci}", gpu, look)

    def destroy_kept_gi(self, machine, gpu, board, worker, uuids):
        kept = [key for key in worker.gis if key[0] == gpu]
        gi = self.rng.choice(kept)[1] if kept else self.rng.randrange(16)
        return Operation(f"dgik {gpu} {gi}", gpu, lambda m: m.destroy_kept_gi(
            gpu, gi, worker.gis.get((gpu, gi))))

    def create_ci(self, machine, gpu, board, worker, uuids):
        gi = self.some_gi(board)
        number = self.some_profile(self.ci_table(board, gi))
        return Operation(f"cci {gpu} {gi} {number}", gpu, lambda m: m.create_ci(gpu, gi, number))

    def create_ci_at(self, machine, gpu, board, worker, uuids):
        gi = self.some_gi(board)
        table = self.ci_table(board, gi)
        number = self.some_profile(table)
        start, size = self.some_place(table, number)
        return Operation(f"ccip {gpu} {gi} {number} {start} {size}", gpu,
                         lambda m: m.create_ci(gpu, gi, number, start, size))

    def destroy_ci(self, machine, gpu, board, worker, uuids):
        gi = self.some_gi(board)
        ci = self.some_ci(board, gi)
        return Operation(f"dci {gpu} {gi} {ci}", gpu, lambda m: m.destroy_ci(gpu, gi, ci))

    def destroy_kept_ci(self, machine, gpu, board, worker, uuids):
        kept = [key for key in worker.cis if key[0] == gpu]
        _, gi, ci = self.rng.choice(kept) if kept else (gpu, self.rng.randrange(16), 0)
        return Operation(f"dcik {gpu} {gi} {ci}", gpu, lambda m: m.destroy_kept_ci(
            gpu, gi, ci, worker.cis.get((gpu, gi, ci))))

    def find(self, machine, gpu, board, worker, uuids):
        places = [place for place in uuids if place[0] == gpu]
        if board.lost or not places or self.rng.random() < 0.1:
            where = next(i for i, b in enumerate(machine.boards) if i == gpu or not b.lost)
            if any(b.lost for b in machine.boards):
                return Operation("state -", None, lambda m: (0, 0, 0))
            return Operation(f"find - {self.gpu_uuids[where]}", None,
                             lambda m: (0, where, 2 ** 32 - 1))
        _, gi, ci = place = self.rng.choice(places)
        text = uuids[place]
        if self.rng.random() < 0.3:
            text = f"MIG-{self.gpu_uuids[gpu]}/{gi}/{ci}"

        def look(machine):
            if machine.exists(*place):
                return reference.SUCCESS, gpu, gi * 8 + ci
            return reference.NOT_FOUND, 0, 0
        return Operation(f"find {gpu} {text}", gpu, look)

    # ---- modes and the machine

    def set_mode(self, gpu, mode):
        return Operation(f"mode {gpu} {mode}", gpu, lambda m: m.mode(gpu, mode))

    def mode(self, machine, gpu, board, worker, uuids):
        return self.set_mode(gpu, self.rng.choices([0, 1, 2], [10, 10, 1])[0])

    def reset(self, machine, gpu, board, worker, uuids):
        return Operation(f"reset {gpu}", gpu, lambda m: m.reset(gpu))

    def reload(self, machine, gpu, board, worker, uuids):
        return Operation("reload -", None, lambda m: m.reload())

    def set_flag(self, gpu, what, value):
        attribute = {"lost": "lost", "reset": "reset_required", "blocked": "blocked",
                     "idle": "needs_idle"}[what]

        def apply(machine):
            setattr(machine.boards[gpu], attribute, value)
            return 0, 0, 0
        return Operation(f"set {gpu} {what} {value}", gpu, apply)

    def set(self, machine, gpu, board, worker, uuids):
        what = self.rng.choice(["lost", "reset", "blocked", "idle"])
        value = self.rng.choice([0, 1]) if what != "blocked" else self.rng.choice([0, 0, 3, 16])
        return self.set_flag(gpu, what, value)

    # ---- users

    def some_user(self, machine, gpu, board):
        """(gi, ci) that somebody may use: mostly a MIG device, sometimes the whole GPU."""
        devices = machine.devices(gpu)
        if devices and self.rng.random() < 0.9:
            return self.rng.choice(devices)
        return (reference.NONE, reference.NONE) if self.rng.random() < 0.7 else (
            self.rng.randrange(16), self.rng.randrange(8))

    def start(self, machine, gpu, board, worker, uuids):
        if len(machine.processes) > 8:
            return self.stop(machine, gpu, board, worker, uuids)
        gi, ci = self.some_user(machine, gpu, board)
        self.pid += 1
        pid = self.pid
        return Operation(f"job {gpu} {gi} {ci} {pid}", gpu, lambda m: m.start(gpu, gi, ci, pid))

    def stop(self, machine, gpu, board, worker, uuids):
        virtual = [pid for pid in machine.processes if pid not in self.sleepers]
        pid = self.rng.choice(virtual) if virtual else 1
        where = machine.processes[pid][0] if virtual else gpu
        return Operation(f"unjob {where} {pid}", where, lambda m: m.stop(pid))

    def hold(self, machine, gpu, board, worker, uuids):
        gi, ci = self.some_user(machine, gpu, board)
        if self.rng.random() < 0.5:
            ci = reference.NONE
        kind = self.rng.choice([reference.LEAKED, reference.CLIENT])
        survives = int(self.rng.random() < 0.2)
        return Operation(f"hold {gpu} {gi} {ci} {kind} {survives}", gpu,
                         lambda m: m.hold(gpu, gi, ci, kind, survives))

    def drop(self, machine, gpu, board, worker, uuids):
        holder = self.rng.choice(machine.holders) if machine.holders else (gpu, -1, -1, 1, 0)
        where, gi, ci, kind, survives = holder
        return Operation(f"drop {where} {gi} {ci} {kind} {survives}", where,
                         lambda m: m.drop(*holder))

    # ---- with processes of this host, which come and go at once: not for the middle of a burst

    def choose_alone(self, machine):
        """A process of this host uses a slice, or one that does ends and frees it; or a reboot."""
        gpu = self.rng.randrange(len(machine.boards))
        what = self.rng.random()
        if what < 0.3:
            self.end_sleepers()
            return Operation("reboot -", None, lambda m: m.reboot())
        if self.sleepers and (len(self.sleepers) > 2 or what < 0.6):
            pid = self.rng.choice(sorted(self.sleepers))
            self.end_sleeper(pid)
            machine.stop(pid)
            return Operation("state -", None, lambda m: (0, 0, 0))
        gi, ci = self.some_user(machine, gpu, machine.boards[gpu])
        sleeper = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        self.sleepers[sleeper.pid] = sleeper
        return Operation(f"rjob {gpu} {gi} {ci} {sleeper.pid}", gpu,
                         lambda m: m.start(gpu, gi, ci, sleeper.pid))

    def end_sleeper(self, pid):
        sleeper = self.sleepers.pop(pid)
        sleeper.kill()
        sleeper.stdin.close()
        sleeper.wait()

    def end_sleepers(self):
        for pid in list(self.sleepers):
            self.end_sleeper(pid)


class Episode:
    """One machine from its making to its end."""

    def __init__(self, scratch, rng, number):
        self.rng, self.number = rng, number
        self.node = scratch / f"node-{number}"
        swapped = rng.random() < 0.5
        gpus = rng.sample(reference.catalogue(), rng.choice([1, 2, 3, 4]))
        gpus += [gpus[0]] * rng.choice([0, 0, 1])
        old = all(gpu.needs_reset for gpu in gpus) and rng.random() < 0.5
        self.model = reference.Machine(gpus, swapped, 535 if old else 550)
        self.chooser = Chooser(rng, create(self.node, gpus, swapped,
                                           "535.261.03" if old else None))
        self.workers = [self.new_worker() for _ in range(WORKERS)]
        self.uuids = {}
        self.commits = int(self.workers[0].ask(["state -"])[0].split(" ")[2])
        # GPUs whose capability files may not fit their state: nobody has changed them through NVML
        # since a client was killed or the machine's control interface changed them.
        self.behind = set()
        self.kills = self.cut_off = 0
        self.history = []

    def new_worker(self):
        return Worker(self.node, self.model.boards)

    def end(self):
        self.chooser.end_sleepers()
        for worker in self.workers:
            worker.end()
        shutil.rmtree(self.node, ignore_errors=True)

    # ---- comparing

    def show(self, gpu):
        gpus = range(len(self.model.boards)) if gpu is None else [gpu]
        return "".join(self.model.show(i, self.uuids) for i in gpus)

    def check(self, operation, expected, answer):
        if answer == expected:
            return
        given, wanted = answer.split(" "), expected.split(" ")
        gpu = 0
        for mine, its in zip(wanted, given):
            gpu = int(mine[1:]) if mine.startswith("|") else gpu
            if mine != its and not self.learn(gpu, mine, its):
                break
        else:
            if len(given) == len(wanted):
                return
        raise Difference(f"after {operation.line}\n  the model says  {expected}\n"
                         f"  the library says {answer}\nbefore:\n  " +
                         "\n  ".join(self.history[-HISTORY:]))

    def learn(self, gpu, mine, its):
        """A UUID that was not seen before: must be a new one, of version 5, and is kept."""
        if not mine.startswith("D") or not mine.endswith(":?"):
            return False
        head, _, uuid = its.rpartition(":")
        gi, ci = map(int, head.split(":")[1].split("."))
        known = self.uuids.get((gpu, gi, ci))
        if head != mine[:-2] or not UUID.match(uuid) or known not in (None, uuid):
            return False
        if known is None and uuid in self.uuids.values():
            return False
        self.uuids[gpu, gi, ci] = uuid
        return True

    def apply(self, worker, operation):
        """What the worker has to answer."""
        changing = operation.line.split(" ")[0] not in ("find", "state", "keep", "keepci")
        code, first, second = operation.apply(self.model)
        commits = int(code == 0 and changing)
        self.commits += commits
        if operation.line == "state -":
            second = self.commits
        if code == 0:
            worker.keep(operation.line, first, self.model.boards)
        return f"{code} {first} {second} {commits}" + self.show(operation.gpu)

    def check_files(self, operations):
        """The capability files in /proc follow the instances."""
        for operation in operations:
            word = operation.line.split(" ")[0]
            if word in ("reset", "reload", "reboot"):
                self.behind.update(range(len(self.model.boards)))
        for gpu, board in enumerate(self.model.boards):
            if gpu in self.behind:
                continue
            wanted = sorted([f"gi{gi}" for gi in board.gis] +
                            [f"gi{gi}/ci{ci}" for gi, ci in self.model.devices(gpu)])
            top = self.node / CAPABILITIES / f"gpu{gpu}/mig"
            found = sorted(str(path.relative_to(top)) for pattern in ("gi*", "gi*/ci*")
                           for path in top.glob(pattern))
            if found != wanted:
                raise Difference(f"GPU {gpu} has the capability files {found}, not {wanted}")

    # ---- running

    def burst(self, count):
        """One client looks at all there is and does so many operations."""
        worker = self.rng.choice(self.workers)
        first = Operation("state -", None, lambda m: (0, 0, 0))
        if count == 1 and self.rng.random() < ALONE:
            first, count = self.chooser.choose_alone(self.model), 0
        operations, expected = [first], [self.apply(worker, first)]
        for _ in range(count):
            operation = self.chooser.choose(self.model, worker, self.uuids)
            operations.append(operation)
            expected.append(self.apply(worker, operation))
        for operation, want, answer in zip(operations, expected,
                                           worker.ask([o.line for o in operations])):
            self.check(operation, want, answer)
            self.history.append(f"{operation.line}: {answer.split(' |')[0]}")
            if answer.startswith("0 ") and operation.line.split(" ")[0] in CHANGES:
                self.behind.discard(operation.gpu)
        self.check_files(operations)
        return count

    def killed_burst(self, count):
        """The same, but the client is killed on the way. Old or new, nothing between."""
        slot = self.rng.randrange(len(self.workers))
        worker = self.workers[slot]
        operations, expected, models = [], [], []
        for _ in range(count):
            operation = self.chooser.choose(self.model, worker, self.uuids)
            if operation.line.startswith("set"):
                continue  # the next client could not start on a lost GPU
            models.append((self.model.copy(), self.commits))
            operations.append(operation)
            expected.append(self.apply(worker, operation))
        models.append((self.model.copy(), self.commits))
        worker.send(["timed -", f"arm - {self.rng.randrange(1, KILL_NS)}",
                     *(o.line for o in operations)])
        done = self.answers_of(worker, operations, expected)
        worker.end()
        self.kills += 1
        self.behind.update(range(len(self.model.boards)))
        del self.workers[slot]
        self.survive(operations, models, done)
        self.workers.append(self.new_worker())
        return done

    def answers_of(self, worker, operations, expected):
        """How many it answered; without the state, so that most of its time is in the calls."""
        if worker.read() is None or worker.read() is None:
            return 0
        for done, operation in enumerate(operations):
            answer = worker.read()
            if answer is None:
                return done
            short = [" ".join(text.split(" ", 3)[:3]) for text in (expected[done], answer)]
            self.check(operation, *short)
            self.history.append(f"{operation.line}: {short[1]}")
        return len(operations)

    def survive(self, operations, models, done):
        """The others find the state after `done` operations, or after one more."""
        witness = self.rng.choice(self.workers)
        answer = witness.ask(["state -"])[0]
        found = int(answer.split(" ")[2])
        self.history.append(f"killed after {done} of {len(operations)}; commits {found}")
        allowed = [after for after in models[done:done + 2] if after[1] == found]
        if not allowed:
            raise Difference(f"commits: {found}, not one of "
                             f"{[after[1] for after in models[done:done + 2]]}")
        self.cut_off += len(models) > done + 1 and models[done + 1][1] == found != models[done][1]
        self.model, self.commits = allowed[0]
        look = Operation("state -", None, lambda m: (0, 0, 0))
        self.check(look, self.apply(witness, look), answer)

    def run(self, count):
        done = 0
        while done < count:
            lost = any(board.lost for board in self.model.boards)
            kill = not lost and self.rng.random() < 0.06
            done += (self.killed_burst if kill else self.burst)(self.rng.randint(1, BURST))
        return done


class RandomOperations(unittest.TestCase):
    def test_library_agrees_with_the_model(self):
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="migemu-test-"))
        self.addCleanup(shutil.rmtree, scratch, ignore_errors=True)
        done = number = kills = cut_off = 0
        while done < OPERATIONS:
            rng = random.Random(f"{SEED}/{number}")
            episode = Episode(scratch, rng, number)
            try:
                done += episode.run(min(EPISODE, OPERATIONS - done))
            except Difference as error:
                gpus = ", ".join(board.gpu.name for board in episode.model.boards)
                raise Difference(f"MIGD_SEED={SEED}, machine {number} ({gpus}): {error}") from None
            finally:
                episode.end()
            number += 1
            kills += episode.kills
            cut_off += episode.cut_off
        print(f"# {done} operations on {number} machines by {WORKERS} clients, {kills} killed, "
              f"{cut_off} of them with the change made and not answered", flush=True)


if __name__ == "__main__":
    tap.main()
