# SPDX-License-Identifier: Apache-2.0
"""kill -9 at every transition that the manager has a name for: when each of its actions begins and
ends, at each stage of a change in the helper, and at each state. Who dies is the agent, the helper,
or the supervisor with all that hangs on it; then there is the wanted geometry, a true state, and
nothing is left behind.

The transitions are read from the product's own enums, so a new one without a scenario fails. Each
is met by one of the three, in turn from MIGD_SEED on; MIGD_KILLS=all lets all three die at each
(some minutes).
"""
import fcntl
import itertools
import os
import signal
import struct

from cluster_case import pod, until
from layout import BUILD
from migd_case import CONFIG, STATE, MigdCase
from moment import Moment, enum, family, field, go_on

SEED = int(os.environ.get("MIGD_SEED", "1"))
VICTIMS = ("agent", "helper", "supervisor")
ACTIONS = enum("src/manager/manager.h", "mig_manager_action_kind")
STAGES = enum("include/mig/apply.h", "mig_apply_stage")
STATES = enum("src/manager/internal.h", "mig_manager_state")
ANSWERED = ACTIONS[ACTIONS.index("patch"):]  # those before it are told and done
MIGCTL = BUILD / "src/cli/migctl"
SYSTEMCTL = BUILD / "tests/emulated/fake-systemctl"
HOST = "/run/host-stand-in"  # what migd takes for the host's root, with a systemd
SERVICE = "nvsm.service"
TAINT = {"key": "migd.dev/mig-not-ready", "effect": "NoSchedule"}
CLIENTS = {"nvidia.com/gpu.deploy.device-plugin": "true", "nvidia.com/gpu.deploy.dcgm": "false"}
GEOMETRIES = {"all-balanced": [["1g.6gb", "1g.6gb", "2g.12gb"]], "all-disabled": [[]]}
JOURNAL, LOCK = "/var/lib/migd/journal", "/var/lib/migd/lock"
F_OFD_SETLK = 37

# (what is logged, what makes it happen): a change of mode brings the most
AT_A_START = {"begin publish-config"}
OF_A_CHANGE = ([f"begin {one}" for one in ACTIONS if one not in ("log", "evict", "reboot")] +
               [f"end {one}" for one in ANSWERED if one not in ("evict", "reboot")] +
               ["is wanted", "stage step", "stage mode", "stage verify", "state pending",
                "state success"])
OF_OTHERS = {
    "stage recover": "interrupted", "stage wait-lock": "locked", "stage rollback": "refused",
    "state failed": "refused", "stage reset": "blocked", "state none": "nothing",
    "begin evict": "held", "end evict": "held",
    "begin reboot": "rebooted", "end reboot": "rebooted", "state rebooting": "rebooted",
}
# what is no transition: a log line is one of the actions, LEAVE is what is before the first state,
# and the manager lets nobody wait in the helper
LEFT_OUT = {"begin log", "state leave", "stage wait-idle"}
MOMENTS = sorted(OF_A_CHANGE) + list(OF_OTHERS)


class Kills(MigdCase):
    def setUp(self):
        super().setUp()
        self.moment = Moment(self.cluster.layout.path("nodes", self.node, "moment"))
        self.names = itertools.cycle(("all-balanced", "all-disabled"))
        self.passed_s = 0
        self.succeeds(self.cluster.on(self.node, "sh", "-c", f"""
            mkdir -p {HOST}/run/systemd/system {HOST}/units {HOST}/usr/bin {HOST}/dev
            cp {SYSTEMCTL} {HOST}/usr/bin/systemctl
            echo loaded active > {HOST}/units/{SERVICE}
            printf 'version: v1\\nsystemd-services: [{SERVICE}]\\n' > {HOST}/clients.yaml"""))
        self.addCleanup(self.cluster.on, self.node, "rm", "-rf", HOST)
        self.addCleanup(self.set_taint, False)
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}", {"metadata": {"labels": CLIENTS}})

    def start(self, *options, **environment):
        return super().start(*options, **{
            "CONFIG_FILE": "", "CDI_ENABLED": "true", "HOST_ROOT_MOUNT": HOST,
            "WITH_SHUTDOWN_HOST_GPU_CLIENTS": "true", "GPU_CLIENTS_FILE": f"{HOST}/clients.yaml",
            **self.moment.environment, **environment})

    def set_taint(self, there=True):
        path = f"/api/v1/nodes/{self.node}"
        taints = [one for one in self.cluster.api.get(path)["spec"].get("taints", [])
                  if one["key"] != TAINT["key"]]
        self.cluster.api.patch(path, {"spec": {"taints": taints + [TAINT] * there}})

    def taints(self):
        spec = self.cluster.api.get(f"/api/v1/nodes/{self.node}")["spec"]
        return [one["key"] for one in spec.get("taints", [])]

    # ---- dying ----

    def strike(self, victim):
        """SIGKILL to one of the three while the agent stands still; the others go on."""
        self.moment.stop_at("")  # it may have been armed again when it was met already
        pids = {**family(self.migd.pid), "agent": self.agent}
        os.kill(pids.get(victim, self.agent), signal.SIGKILL)
        go_on(self.agent)
        if victim != "helper":
            self.migd.entered.wait(20)

    def die_and_come_back(self, victim, *options, **environment):
        self.strike(victim)
        if victim != "helper":
            self.start(*options, **environment)

    def has_stopped(self):
        return (field(self.agent, "State") or "-")[0] == "T"

    def pass_time(self):
        """Nobody waits for the pause before the manager tries again: its clock goes ahead, and the
        agent, which sleeps by the old one, is woken by a change of the node object."""
        self.passed_s += 8
        self.moment.jump(monotonic_s=self.passed_s)
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}",
                               {"metadata": {"annotations": {"passed": str(self.passed_s)}}})

    def until(self, check, what, limit_s=30):
        """Waits for it, and lets time pass whenever a try has failed."""
        def tried():
            if check():
                return True
            if self.said()[0] == "failed":
                self.pass_time()
            return False
        until(tried, lambda: f"{what}: {self.said()}\n{self.log()}", limit_s, 0.02)

    def begin(self, name, text=None, *options, **environment):
        """A wish that leads to the moment, for a migd that runs or is started."""
        self.name = name
        self.set_taint()
        if text:
            self.moment.stop_at(text + "\n" * text.startswith(("begin", "end")))
        self.wish(name)
        if not self.migd:
            self.start(*options, **environment)
        self.agent = until(lambda: family(self.migd.pid).get("agent"), self.log, 10, 0.01)

    def wish_until_it_stops(self, text):
        """Asks for one config after the other until the agent stands at the moment."""
        for _ in range(3):
            self.begin(next(self.names), text)
            self.until(lambda: self.has_stopped() or self.is_in_place(), text)
            if self.has_stopped():
                return
        self.moment.stop_at("")
        self.fail(f"{text!r} is never met\n{self.log()}")

    def is_in_place(self):
        state, message = self.said()
        return state == "success" and f"'{self.name}'" in message

    # ---- afterwards ----

    def leftovers(self):
        """What is not as it has to be when nothing is under way."""
        node = self.metadata()
        kept = [one for one in ("migd.dev/paused-clients", "migd.dev/stopped-services")
                if one in node.get("annotations", {})]
        wrong = [one for one, value in CLIENTS.items() if node["labels"].get(one) != value]
        root = f"/proc/{self.migd.pid}/root"
        with open(f"{root}{HOST}/units/{SERVICE}", encoding="utf-8") as file:
            stopped = [] if file.read() == "loaded active\n" else [SERVICE]
        journal = [JOURNAL] if os.path.exists(root + JOURNAL) else []
        known = family(self.migd.pid).values()
        helpers = [f"{field(pid, 'Name')} {field(pid, 'State')} {pid}"
                   for pid in self.processes() if pid not in known]
        return kept + wrong + self.paused() + self.taints() + stopped + journal + helpers

    def processes(self):
        """Pids of all processes of any migd that this case has started."""
        mark = f"MIGD_MOMENT={self.moment.path}".encode()
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if mark in file.read().split(b"\0") and field(pid, "Name").startswith("migd"):
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def check_end(self):
        self.until(self.is_in_place, self.name, 60)
        self.assertEqual(self.geometry(), GEOMETRIES[self.name])
        until(lambda: not self.leftovers(), lambda: f"{self.leftovers()}\n{self.log()}", 10, 0.05)

    # ---- scenarios ----

    def rounds(self, moments):
        """(moment, who dies at it), the victims in turn."""
        for count, text in enumerate(moments):
            if os.environ.get("MIGD_KILLS") == "all":
                yield from ((text, victim) for victim in VICTIMS)
            else:
                yield text, VICTIMS[(count + SEED) % len(VICTIMS)]

    def test_every_transition_has_a_scenario(self):
        named = {f"begin {one}" for one in ACTIONS} | {f"end {one}" for one in ANSWERED}
        named |= {f"stage {one}" for one in STAGES} | {f"state {one}" for one in STATES}
        self.assertEqual(named - set(MOMENTS) - LEFT_OUT, set())
        self.assertEqual(LEFT_OUT - named, set())

    def test_during_a_change_of_mode(self):
        for text, victim in self.rounds(OF_A_CHANGE):
            with self.subTest(moment=text, victim=victim):
                if text in AT_A_START:
                    self.stop()
                self.wish_until_it_stops(text)
                self.die_and_come_back(victim)
                self.check_end()

    def test_during_everything_else(self):
        for text, victim in self.rounds(OF_OTHERS):
            with self.subTest(moment=text, victim=victim):
                self.stop()
                self.moment.stop_at("")
                self.cluster.migemu(self.node, "fault clear")
                self.cluster.migemu(self.node, "set", "mode-blocked=none")
                getattr(self, OF_OTHERS[text])(text, victim)
                self.check_end()

    def first(self, name, *options, **environment):
        """A config that is in place before anything happens, as this migd says, and none before."""
        self.cluster.api.patch(f"/api/v1/nodes/{self.node}",
                               {"metadata": {"labels": {STATE: None}}})
        self.begin(name, None, *options, **environment)
        self.until(self.is_in_place, name)

    def meet(self, text):
        self.until(self.has_stopped, text)

    def interrupted(self, text, victim):
        """A migctl died in a change, and the next change finds its journal."""
        self.first("all-disabled")
        self.cluster.migemu(self.node, "fault add",
                            "GpuInstanceCreateComputeInstance* nth=1 -> KILL")
        done = self.cluster.on(self.node, MIGCTL, "apply", "-f", CONFIG, "-c", "all-1g.6gb")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.begin("all-balanced", text)
        self.meet(text)
        self.die_and_come_back(victim)

    def refused(self, text, victim):
        """The driver refuses the second instance: what was there is put back."""
        self.first("all-disabled")
        self.cluster.migemu(self.node, "fault add",
                            "DeviceCreateGpuInstance* nth=2 -> INSUFFICIENT_RESOURCES")
        self.begin("all-balanced", text)
        self.meet(text)
        self.die_and_come_back(victim)

    def locked(self, text, victim):
        """Somebody else changes the node just now."""
        self.first("all-disabled")
        with open(f"/proc/{self.migd.pid}/root{LOCK}", "r+b") as file:
            fcntl.fcntl(file, F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))
            self.begin("all-balanced", text)
            self.meet(text)
        self.die_and_come_back(victim)

    def blocked(self, text, victim):
        """The mode stays pending until the GPU is reset."""
        self.first("all-disabled")
        self.cluster.migemu(self.node, "set", "mode-blocked=UNKNOWN")
        self.begin("all-balanced", text)
        self.meet(text)
        self.cluster.migemu(self.node, "set", "mode-blocked=none")
        self.die_and_come_back(victim)

    def nothing(self, text, victim):
        """Nothing is asked for any more; then the same again."""
        self.first("all-balanced", "--cluster-policy", "no")
        self.begin(None, text)
        self.meet(text)
        self.die_and_come_back(victim, "--cluster-policy", "no")
        until(lambda: self.said() == (None, ""), self.log, 20)
        self.assertEqual(self.geometry(), GEOMETRIES["all-balanced"])
        self.begin("all-balanced")

    def held(self, text, victim):
        """A pod is evicted for it."""
        options = ("--roles", "manager,device-plugin", "--on-busy", "evict")
        self.first("all-balanced", *options)
        self.cluster.apply(pod("holder", self.node, {"nvidia.com/gpu": "1"}, ["sleep", "1000"]))
        self.cluster.wait_phase("holder", "Running")
        self.begin("all-disabled", text)
        self.meet(text)
        self.die_and_come_back(victim, *options)
        self.check_end()
        self.assertEqual(self.cluster.phase("holder"), "absent")

    def rebooted(self, text, victim):
        """The mode can only be changed by a reboot of the host, which ends them all."""
        self.first("all-disabled", WITH_REBOOT="true")
        self.cluster.migemu(self.node, "fault add", "--preset", "mode-stuck")
        self.begin("all-balanced", text)
        self.meet(text)
        self.strike(victim)
        self.stop()
        self.cluster.seem_to_boot(self.node)
        self.start(WITH_REBOOT="true")
