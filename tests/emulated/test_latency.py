#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long changes take: presets, options, and what other clients see meanwhile."""
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from machine_case import MIGEMU, NodeCase, call  # noqa: E402

LONG_MS = 90000  # longer than a command may take here; never waited for to its end


class Latency(NodeCase):
    def durations_ms(self, node, function):
        """Of the calls that succeeded, by the driver's own trace."""
        lines = self.succeeds(node.migemu("trace", "--json")).splitlines()
        calls = [json.loads(line) for line in lines]
        return [one["duration_us"] / 1000 for one in calls
                if one["function"] == function and one["result"] == "SUCCESS"]

    def begin(self, node, *command):
        """Starts a command that will take long; it is ended with the test."""
        process = subprocess.Popen(command, env=node.environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def sees(self, node, text, process=None):
        """Waits until `migemu show` has the text."""
        for _ in range(600):
            if text in self.succeeds(node.migemu("show")):
                return
            if process:
                self.assertIsNone(process.poll(), "it ended before anybody could see it")
            time.sleep(0.02)
        self.fail(f"never seen: {text}")

    def test_off_unless_asked(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.migemu("set", f"gi-create-ms={LONG_MS}"))
        self.succeeds(node.migemu("set", "latency=off"))
        self.succeeds(node.smi("mig", "-cgi", "0", "-C"))  # else it would take too long

    def test_preset_takes_the_times_of_the_facts(self):
        node = self.node("--gpu", "H100 PCIe", "--mig", "on", "--latency", "h100")
        self.succeeds(node.smi("mig", "-cgi", "9,19"))
        made = self.durations_ms(node, "nvmlDeviceCreateGpuInstance")
        self.assertEqual(len(made), 2)
        self.assertGreaterEqual(made[0], 330)
        self.assertGreaterEqual(made[1], 160)
        self.succeeds(node.smi("mig", "-dgi"))
        gone = self.durations_ms(node, "nvmlGpuInstanceDestroy")
        self.assertGreaterEqual(sum(gone), 250 + 210)
        self.assertTrue(all(one >= 210 for one in gone), gone)

    def test_refusals_come_at_once(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.smi("mig", "-cgi", "0", "-C"))
        self.succeeds(node.migemu("set", f"gi-create-ms={LONG_MS}", f"gi-destroy-ms={LONG_MS}"))
        self.fails(node.smi("mig", "-cgi", "0"), 23)
        self.fails(node.smi("mig", "-dgi"), 19)

    def test_mode_is_pending_meanwhile(self):
        node = self.node("--gpu", "A30")
        self.succeeds(node.migemu("set", f"mode-ms={LONG_MS}"))
        process = self.begin(node, "nvidia-smi", "-mig", "1")
        self.sees(node, "GPU 0: MIG disabled, pending enabled", process)
        process.kill()
        process.wait()
        # nobody finished it: the mode stays pending until somebody resets the GPU
        self.sees(node, "GPU 0: MIG disabled, pending enabled")
        self.succeeds(node.migemu("reset"))
        self.sees(node, "GPU 0: MIG enabled, persistence")

    def test_instances_meanwhile(self):
        node = self.node("--gpu", "A30", "--mig", "on")
        self.succeeds(node.migemu("set", f"gi-create-ms={LONG_MS}", f"gi-destroy-ms={LONG_MS}"))
        creating = self.begin(node, "nvidia-smi", "mig", "-cgi", "0")
        self.sees(node, "GPU 0 GI 0: 4g.24gb", creating)
        self.fails(node.smi("mig", "-cgi", "14"), 23)  # its units are taken
        creating.kill()
        destroying = self.begin(node, "nvidia-smi", "mig", "-dgi")
        time.sleep(0.2)
        self.sees(node, "GPU 0 GI 0: 4g.24gb", destroying)

    def test_refuses_other_presets(self):
        self.fails(call(MIGEMU, "create", self.scratch / "x", "--gpu", "A30", "--latency", "b200"), 2,
                   "no value for --latency")
        node = self.node("--gpu", "A30")
        self.fails(node.migemu("set", "latency=quick"), 2, "no value of 'latency'")


if __name__ == "__main__":
    tap.main()
