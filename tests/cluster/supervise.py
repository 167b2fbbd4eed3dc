# SPDX-License-Identifier: Apache-2.0
"""The first process of a PID namespace: starts programs, restarts them, reaps, takes commands.

Commands come one per connection on a unix socket, as a line: `start NAME`, `stop NAME`,
`kill NAME` (it is started again), `list`. The answer is `ok ...` or `failed: why`. When this process ends, the
kernel ends everything in the namespace, so nothing else needs to be undone.
"""
import os
import select
import signal
import socket
import subprocess
import sys
import time

RESTART_AFTER_S = 0.5
LINE_MAX = 256


class Program:
    def __init__(self, name, argv, log, environment=None, restart=True, before=None,
                 after=None):
        self.name = name
        self.argv = [str(word) for word in argv]
        self.log = log
        self.environment = environment
        self.restart = restart
        self.before = before  # called in the child
        self.after = after  # called with the process
        self.process = None
        self.wanted = False
        self.due = 0.0
        self.starts = 0

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment,
                                            preexec_fn=self.before, start_new_session=True)
        self.starts += 1
        try:
            if self.after:
                self.after(self.process)
        except Exception:
            self.process.kill()
            self.process.wait()
            self.process = None
            raise

    @property
    def pid(self):
        return self.process.pid if self.process else 0


class Supervisor:
    def __init__(self, socket_path):
        self.programs = {}
        if os.path.exists(socket_path):
            os.unlink(socket_path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(socket_path))
        self.listener.listen(16)
        self.wakeup, write_end = socket.socketpair()
        self.wakeup.setblocking(False)
        write_end.setblocking(False)
        self.write_end = write_end
        signal.set_wakeup_fd(write_end.fileno())
        signal.signal(signal.SIGCHLD, lambda *unused: None)
        signal.signal(signal.SIGTERM, lambda *unused: sys.exit(0))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.inputs = {}  # descriptor: what to call when it can be read

    def add(self, program, start=True):
        self.programs[program.name] = program
        program.wanted = start
        if start:
            program.start()
        return program

    def watch(self, descriptor, callback):
        self.inputs[descriptor] = callback

    # ---- children ----

    def reap(self):
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for program in self.programs.values():
                if program.pid == pid:
                    program.process.returncode = 0
                    program.process = None
                    program.due = time.monotonic() + RESTART_AFTER_S

    def restart_due(self):
        """Starts what has to run and does not; returns the seconds until the next is due."""
        wait = None
        for program in self.programs.values():
            if program.process or not program.wanted or not program.restart:
                continue
            left = program.due - time.monotonic()
            if left <= 0:
                program.start()
            else:
                wait = left if wait is None else min(wait, left)
        return wait

    # ---- commands ----

    def answer(self):
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(2)
            try:
                line = connection.recv(LINE_MAX).decode().split()
                connection.sendall((self.command(line) + "\n").encode())
            except OSError:
                pass

    def command(self, words):
        if words == ["list"]:
            return "ok " + " ".join(f"{one.name}={one.pid}:{one.starts}"
                                    for one in self.programs.values())
        if len(words) != 2 or words[1] not in self.programs:
            return f"failed: no such command or program: {' '.join(words)}"
        program = self.programs[words[1]]
        if words[0] == "start":
            program.wanted = True
            try:
                if not program.process:
                    program.start()
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                return f"failed: {error}"
        elif words[0] in ("stop", "kill"):
            program.wanted = words[0] == "kill"
            if program.process:
                os.kill(program.pid, signal.SIGKILL)
        else:
            return f"failed: no such command: {words[0]}"
        return "ok"

    def run(self, poll=None, interval_s=0.2):
        """Runs for ever; `poll` is called at least every `interval_s` as long as it says True."""
        while True:
            self.reap()
            wait = self.restart_due()
            if poll:
                poll = poll if poll() else None
                wait = interval_s if wait is None else min(wait, interval_s)
            ready, _, _ = select.select([self.listener, self.wakeup, *self.inputs], [], [], wait)
            for one in ready:
                if one is self.listener:
                    self.answer()
                elif one is self.wakeup:
                    try:
                        self.wakeup.recv(4096)
                    except BlockingIOError:
                        pass
                else:
                    self.inputs[one]()


def ask(socket_path, line, timeout_s=10):
    """Sends a command and returns the answer; raises RuntimeError when it failed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(socket_path))
        connection.sendall(line.encode())
        answer = connection.recv(65536).decode().strip()
    if not answer.startswith("ok"):
        raise RuntimeError(f"{line}: {answer or 'no answer'}")
    return answer[3:]
