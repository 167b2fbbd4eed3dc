# SPDX-License-Identifier: Apache-2.0
"""migctl under the name nvidia-mig-parted: its command line, lines and exit codes, its hooks, and the
right outcome where that program leaves a node worse than it found it.

With MIG_PEER naming a real nvidia-mig-parted, its files and ours are also exchanged.
"""
import json
import os
import re
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from node import BUILD, CONFIG, MIGEMU, PLAIN, Node, run  # noqa: E402

PARTED = os.path.join(BUILD, "src/cli/nvidia-mig-parted")
PEER = os.environ.get("MIG_PEER")
APPLIED = "MIG configuration applied successfully\n"
IS_APPLIED = "Selected MIG configuration currently applied\n"
FATAL = r'^time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)" level=fatal msg="(.*)"$'
A100 = "A100-SXM4-40GB"
COMMANDS = ("apply", "assert", "export", "generate-config", "checkpoint", "restore")


def entry(devices, **wanted):
    """{"devices": ..., "mig-devices": {"1g.5gb": n}} for p1g_5gb=n; None = MIG off."""
    if wanted.get("off"):
        return {"devices": devices, "mig-enabled": False}
    return {"devices": devices, "mig-enabled": True,
            "mig-devices": {name[1:].replace("_", "."): n for name, n in wanted.items()}}


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="parted-test-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def node(self, *gpus, options=()):
        node = Node(*gpus, options=options)
        self.addCleanup(node.close)
        return node

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "w", encoding="utf-8") as out:
                out.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def config(self, *entries, **more):
        return self.path("config.yaml", {"version": "v1",
                                         "mig-configs": {"test": list(entries), **more}})

    def parted(self, node, *argv, text_input=None, **env):
        return run([PARTED, *argv], dict(node.env if node else PLAIN, **env), text_input)

    def good(self, done, line):
        self.assertEqual((done.returncode, done.stdout), (0, line), done.stderr)
        return done

    def fatal(self, done, pattern, code=1):
        """One fatal line on standard error, nothing else there."""
        found = re.fullmatch(FATAL, done.stderr.strip().splitlines()[-1])
        self.assertEqual(done.returncode, code, done.stdout)
        self.assertTrue(found, done.stderr)
        self.assertRegex(found.group(2), pattern)
        return found.group(2)

    def apply(self, node, *entries):
        return self.good(self.parted(node, "apply", "-f", self.config(*entries)), APPLIED)

    def state(self, node):
        """Everything a user of slices can see: modes, instances, MIG UUIDs."""
        document = node.json("status")[1]
        return [(gpu["mig_mode"], [(one["gi_id"], one["profile"], one["start"],
                                    [ci["uuid"] for ci in one["compute_instances"]])
                                   for one in gpu["instances"]]) for gpu in document["gpus"]]

    def changes(self, node):
        """Creates and destroys since the last call."""
        counts = json.loads(node.migemu("stats", "--json", "--zero").stdout)
        return counts["creates"], counts["destroys"]


class CommandLine(Case):
    """Arguments, variables, exit codes and lines."""

    def test_help(self):
        whole = self.parted(None)
        self.assertEqual(whole.returncode, 0)
        for argv in (["--help"], ["-h"], ["help"], ["h"], ["-d", "help"]):
            self.assertEqual(self.parted(None, *argv).stdout, whole.stdout)
        for command in COMMANDS:
            self.assertIn(f"   {command} ", whole.stdout)
            text = self.parted(None, "help", command).stdout
            self.assertEqual(text, self.parted(None, command, "--help").stdout)
            self.assertEqual(text, self.parted(None, command, "-d", "-h").stdout)
            self.assertIn(f"nvidia-mig-parted {command} - ", text)

    def test_version(self):
        for argv in (["--version"], ["-v"]):
            done = self.parted(None, *argv)
            self.assertRegex(done.stdout, r"^nvidia-mig-parted version \S+\ncommit: \S+\n$")

    def test_unknown_subcommand(self):
        for argv in (["foo"], ["help", "foo"], ["-d", "foo", "--bar"]):
            done = self.parted(None, *argv)
            self.assertEqual((done.returncode, done.stdout, done.stderr),
                             (3, "", "No help topic for 'foo'\n"))

    def test_unknown_flags_and_bad_values(self):
        for argv in (["apply", "--bogus"], ["apply", "-x"], ["--config-file", "x"],
                     ["export", "-sm"], ["apply", "-f"], ["apply", "-s=perhaps"], ["assert", "-mx"]):
            done = self.parted(None, *argv)
            self.assertTrue(done.stderr.startswith("Incorrect Usage: "), argv)
            self.assertIn("OPTIONS:", done.stdout)
            self.fatal(done, "lag|boolean")
        done = self.parted(None, "apply", "-f", CONFIG, MIG_PARTED_SKIP_RESET="perhaps")
        self.fatal(done, "MIG_PARTED_SKIP_RESET")

    def test_missing_flags(self):
        for command, flag in (("apply", "config-file"), ("assert", "config-file"),
                              ("checkpoint", "checkpoint-file"), ("restore", "checkpoint-file")):
            done = self.parted(None, command)
            self.assertIn("OPTIONS:", done.stdout)
            self.assertEqual(self.fatal(done, "Missing"), f"Missing required flags '{flag}'")
        self.assertEqual(self.fatal(self.parted(None, "export", "-o", "xml"), "format"),
                         "Unrecognized 'output-format': xml")

    def test_forms_of_flags(self):
        valid = "Selected MIG configuration is valid\n"
        for argv in (["--config-file", CONFIG, "--selected-config", "all-balanced"],
                     [f"--config-file={CONFIG}", "--selected-config=all-balanced"],
                     ["-config-file", CONFIG, "-c", "all-balanced"],
                     ["-f", CONFIG, "-c=all-balanced", "operand", "--", "-x"]):
            self.good(self.parted(None, "assert", "-a", *argv), valid)
        for argv in (["-am", "-f", CONFIG], ["-amf", CONFIG], ["-a=true", f"-f={CONFIG}"],
                     ["-m", "--valid-config", f"-f{CONFIG}"]):
            self.good(self.parted(None, "assert", "-c", "all-1g.5gb", *argv), valid)

    def test_variables_and_that_flags_beat_them(self):
        env = {"MIG_PARTED_CONFIG_FILE": CONFIG, "MIG_PARTED_SELECTED_CONFIG": "all-balanced",
               "MIG_PARTED_VALID_CONFIG": "1"}
        self.good(self.parted(None, "assert", **env), "Selected MIG configuration is valid\n")
        self.fatal(self.parted(None, "assert", "-c", "none-such", **env),
                   "^Error selecting MIG config: .*there is no config 'none-such'")
        done = self.parted(None, "assert", MIG_PARTED_DEBUG="true", **env)
        self.assertIn("level=debug", done.stderr)

    def test_config_file_errors(self):
        self.fatal(self.parted(None, "assert", "-a", "-f", self.path("none")),
                   "^Error parsing config file: could not open .*No such file or directory$")
        self.fatal(self.parted(None, "assert", "-a", "-f", self.path("c", "version: v2\n")),
                   r"^Error parsing config file: .*c:1:10: unknown version 'v2', expected v1$")
        self.fatal(self.parted(None, "assert", "-a", "-f", self.path("c", "")),
                   "^Error selecting MIG config: ")
        self.fatal(self.parted(None, "assert", "-a", "-f", CONFIG), "^Error selecting MIG config: ")

    def test_standard_input(self):
        with open(CONFIG, encoding="utf-8") as text:
            content = text.read()
        self.good(self.parted(None, "assert", "-a", "-f", "-", "-c", "all-balanced",
                              text_input=content), "Selected MIG configuration is valid\n")
        # a line of more than 64 KiB hides nothing behind it
        broken = "# " + "x" * 70000 + "\n" + content + "\n}}}\n"
        self.fatal(self.parted(None, "assert", "-a", "-f", "-", "-c", "all-balanced",
                               text_input=broken), "^Error parsing config file: <stdin>:")

    def test_no_driver(self):
        self.fatal(self.parted(None, "apply", "-f", CONFIG, "-c", "all-balanced"),
                   "^Error applying MIG configuration with hooks: ")
        self.fatal(self.parted(None, "assert", "-f", CONFIG, "-c", "all-balanced"),
                   "^Assertion failure: selected configuration not currently applied$")
        self.fatal(self.parted(None, "export"), "libnvidia-ml")
        output = self.path("generated")
        self.fatal(self.parted(None, "generate-config", "-f", output), "^Error generating MIG config")
        self.assertFalse(os.path.exists(output))


class MainJob(Case):
    """Each subcommand does its work on a node."""

    def test_apply_assert_and_the_only_config(self):
        node = self.node("A30*2")
        self.fatal(self.parted(node, "assert", "-f", CONFIG, "-c", "all-balanced"), "Assertion")
        self.good(self.parted(node, "apply", "-f", CONFIG, "-c", "all-balanced"), APPLIED)
        self.good(self.parted(node, "assert", "-f", CONFIG, "-c", "all-balanced"), IS_APPLIED)
        self.good(self.parted(node, "assert", "-m", "-f", CONFIG, "-c", "all-enabled"),
                  "Selected MIG mode settings from configuration currently applied\n")
        only = self.config(entry("all", p1g_6gb=2, p2g_12gb=1))
        self.good(self.parted(node, "assert", "-f", only), IS_APPLIED)
        done = self.parted(node, "-d", "assert", "-f", CONFIG, "-c", "all-1g.6gb")
        self.fatal(done, "Assertion failure")
        self.assertRegex(done.stderr, "level=debug.*GPU 0")

    def test_a_second_apply_changes_nothing(self):
        node = self.node(A100 + "*2", "A30", "H100 80GB HBM3")
        self.good(self.parted(node, "apply", "-f", CONFIG, "-c", "all-balanced"), APPLIED)
        before = self.state(node)
        self.changes(node)
        self.good(self.parted(node, "apply", "-f", CONFIG, "-c", "all-balanced"), APPLIED)
        self.assertEqual(self.changes(node), (0, 0))
        self.assertEqual(self.state(node), before)

    def test_export_is_a_config(self):
        node = self.node(A100, "A30")
        self.apply(node, entry([0], p1c_3g_20gb=3, p1g_5gb=1), entry([1], off=True))
        done = self.parted(node, "export", "-l", "now")
        self.assertEqual(done.stdout, "version: v1\nmig-configs:\n  now:\n"
                         '  - device-filter: "0x20B010DE"\n    devices: all\n    mig-enabled: true\n'
                         "    mig-devices:\n      1c.3g.20gb: 3\n      1g.5gb: 1\n"
                         '  - device-filter: "0x20B710DE"\n    devices: all\n'
                         "    mig-enabled: false\n    mig-devices: {}\n")
        self.good(self.parted(node, "assert", "-f", self.path("x", done.stdout)), IS_APPLIED)
        done = self.parted(node, "export", MIG_PARTED_OUTPUT_FORMAT="json")
        self.assertIn("current", json.loads(done.stdout)["mig-configs"])
        self.assertFalse(done.stdout.endswith("\n"))

    def test_generate_config(self):
        node = self.node("A30*2")
        text = self.parted(node, "generate-config").stdout
        path = self.path("generated")
        self.good(self.parted(node, "generate-config", "-f", path), "")
        with open(path, encoding="utf-8") as written:
            self.assertEqual(written.read(), text)
        for name in re.findall(r"^  (all-\S+):", text, re.M):
            self.good(self.parted(node, "apply", "-f", path, "-c", name), APPLIED)
            self.good(self.parted(node, "assert", "-f", path, "-c", name), IS_APPLIED)
        names = json.loads(self.parted(node, "generate-config", "-o", "json").stdout)["mig-configs"]
        self.assertEqual(names["all-balanced"][0]["mig-devices"], {"1g.6gb": 2, "2g.12gb": 1})

    def test_checkpoint_and_restore(self):
        node = self.node(A100 + "*2")
        path = self.path("checkpoint")
        self.apply(node, entry([0], p1c_3g_20gb=1, p2c_3g_20gb=1, p1g_5gb=2), entry([1], p7g_40gb=1))
        before = self.state(node)
        self.good(self.parted(node, "checkpoint", "-f", path),
                  "MIG configuration checkpointed successfully\n")
        self.good(self.parted(node, "apply", "-f", CONFIG, "-c", "all-disabled"), APPLIED)
        self.good(self.parted(node, "restore", "-m", "-f", path),
                  "MIG configuration restored successfully\n")
        self.assertEqual([len(gpu[1]) for gpu in self.state(node)], [0, 0])
        self.good(self.parted(node, "restore", "-f", path),
                  "MIG configuration restored successfully\n")
        self.assertEqual(self.state(node), before)
        self.changes(node)
        self.good(self.parted(node, "restore", "-f", path),
                  "MIG configuration restored successfully\n")
        self.assertEqual(self.changes(node), (0, 0))

    def test_restore_refuses_what_is_not_of_this_node(self):
        large, small = self.node("A30*2"), self.node("A30")
        path = self.path("checkpoint")
        self.parted(large, "checkpoint", "-f", path)
        self.fatal(self.parted(small, "restore", "-f", path),
                   "^Error parsing checkpoint file: .*this node has no GPU 'GPU-")
        with open(path, encoding="utf-8") as text:
            damaged = text.read().replace('"v1"', '"v7"')
        self.fatal(self.parted(large, "restore", "-f", self.path("damaged", damaged)),
                   "^Error parsing checkpoint file: .*damaged:1:12: unknown version 'v7'")


class Outcomes(Case):
    """Situations that end badly with the other program."""

    def test_sliced_gpus_are_not_touched_for_the_mode_of_another(self):
        node = self.node(A100 + "*4")
        self.apply(node, entry([0, 1, 2], p1g_5gb=7))
        before = self.state(node)
        self.changes(node)
        self.apply(node, entry("all", p1g_5gb=7))
        self.assertEqual(self.state(node)[:3], before[:3])
        self.assertEqual(self.changes(node), (14, 0))  # seven GPU and seven compute instances

    def test_a_busy_gpu_does_not_stop_the_mode_change_of_another(self):
        node = self.node(A100 + "*4")
        self.apply(node, entry([0, 1, 2], p1g_5gb=7))
        node.job("0:9:0")
        before = self.state(node)
        self.apply(node, entry([3], p2g_10gb=3))
        self.assertEqual(self.state(node)[:3], before[:3])
        self.assertEqual(len(self.state(node)[3][1]), 3)

    def test_unlisted_gpus_keep_their_instances(self):
        node = self.node(A100 + "*4")
        self.apply(node, entry([0, 1, 2], p3g_20gb=2))
        before = self.state(node)
        self.apply(node, entry([3], p7g_40gb=1))
        self.apply(node, entry([3], off=True))
        self.assertEqual(self.state(node)[:3], before[:3])

    def test_what_cannot_fit_changes_nothing(self):
        node = self.node(A100)
        self.apply(node, entry("all", p3g_20gb=1, p1g_5gb=2))
        before = self.state(node)
        self.changes(node)
        for wanted in ({"p1g_5gb": 4, "p2g_10gb": 2, "p3g_20gb": 1},
                       {"p1g_5gb": 7, "p2g_10gb": 3, "p3g_20gb": 2}, {"p1g_5gb": 1000000}):
            done = self.parted(node, "apply", "-f", self.config(entry("all", **wanted)))
            self.fatal(done, "^Error applying MIG configuration with hooks: .*GPU 0")
        self.assertEqual(self.changes(node), (0, 0))
        self.assertEqual(self.state(node), before)

    def test_a_busy_instance_is_kept_while_others_are_reshaped(self):
        node = self.node(A100)
        self.apply(node, entry("all", p3g_20gb=1, p1g_5gb=4))
        busy = next(one for one in self.state(node)[0][1] if one[1] == "3g.20gb")
        node.job(f"0:{busy[0]}:0")
        self.apply(node, entry("all", p3g_20gb=1, p2g_10gb=2))
        after = self.state(node)[0][1]
        self.assertIn(busy, after)
        self.assertEqual(sorted(one[1] for one in after), ["2g.10gb", "2g.10gb", "3g.20gb"])

    def test_users_in_the_way_are_named_and_nothing_is_destroyed(self):
        node = self.node(A100)
        self.apply(node, entry("all", p1g_5gb=7))
        pid = node.job("0:9:0", name="train.py")
        before = self.state(node)
        self.changes(node)
        for wanted in ({"p7g_40gb": 1}, {"off": True}):
            done = self.parted(node, "apply", "-f", self.config(entry("all", **wanted)))
            self.fatal(done, rf"train\.py \(pid {pid}\)")
        self.assertEqual(self.changes(node), (0, 0))
        self.assertEqual(self.state(node), before)

    def test_a_failed_step_is_taken_back(self):
        node = self.node(A100 + "*2")
        self.apply(node, entry("all", p1g_5gb=7))
        before = self.state(node)
        # the second GPU fails after the first was done
        node.migemu("fault add", "DeviceCreateGpuInstanceWithPlacement gpu=1 nth=2 -> UNKNOWN")
        done = self.parted(node, "apply", "-f", self.config(entry("all", p3g_20gb=2)))
        self.fatal(done, "^Error applying MIG configuration with hooks: ")
        self.assertEqual(self.state(node), before)

    def test_a_profile_that_no_gpu_has_is_an_error(self):
        node = self.node(A100)
        self.apply(node, entry("all", p1g_5gb=7))
        before = self.state(node)
        done = self.parted(node, "apply", "-f", self.config(entry("all", p1g_6gb=4)))
        self.assertIn("1g.6gb", self.fatal(done, "GPU 0 "))
        self.assertEqual(self.state(node), before)

    def test_a_gpu_that_is_not_there_is_an_error(self):
        node = self.node(A100 + "*2")
        for bad, pattern in ((entry([9], p1g_5gb=7), "there is no GPU 9; the node has 2"),
                             ({**entry("all", p1g_5gb=7), "device-filter": "zz"}, "not a PCI id"),
                             ({**entry("all", p1g_10gb=7), "device-filter": "0x233010DE"},
                              "applies to none of the 2 GPUs")):
            done = self.parted(node, "apply", "-f", self.config(bad))
            self.fatal(done, pattern)
        self.assertEqual(self.state(node)[0][1], [])

    def test_an_orphan_is_handled_by_the_first_apply(self):
        node = self.node(A100)
        self.apply(node, entry("all"))
        smi = ["nvidia-smi", "mig", "-i", "0", "-cgi", "9"]  # a 3g.20gb without compute instance
        self.assertEqual(run(smi, node.env).returncode, 0)
        config = self.config(entry("all", p1g_5gb=4, p3g_20gb=1))
        self.fatal(self.parted(node, "assert", "-f", config), "Assertion failure")
        self.good(self.parted(node, "apply", "-f", config), APPLIED)
        self.good(self.parted(node, "assert", "-f", config), IS_APPLIED)
        self.apply(node, entry("all", p3g_20gb=1))
        self.assertEqual(run(smi[:4] + ["-cgi", "19"], node.env).returncode, 0)
        self.good(self.parted(node, "apply", "-f", self.config(entry("all", p7g_40gb=1))), APPLIED)
        self.assertEqual([one[1] for one in self.state(node)[0][1]], ["7g.40gb"])

    def test_assert_looks_at_listed_gpus_only(self):
        node = self.node(A100 + "*3")
        config = self.config(entry([1], p1g_5gb=7))
        self.good(self.parted(node, "apply", "-f", config), APPLIED)
        self.good(self.parted(node, "assert", "-f", config), IS_APPLIED)

    def test_assert_knows_other_spellings(self):
        node = self.node(A100)
        self.apply(node, {"devices": "all", "mig-enabled": True,
                          "mig-devices": {"7c.7g.40gb": 1, "1g.5gb": 0}})
        for spelling in ("7c.7g.40gb", "7g.40gb", "07g.40gb"):
            config = self.config({"devices": "all", "mig-enabled": True,
                                  "mig-devices": {spelling: 1, "1g.5gb": 0}})
            self.good(self.parted(node, "assert", "-f", config), IS_APPLIED)

    def test_overlapping_entries_are_one_change(self):
        node = self.node(A100 + "*2")
        self.changes(node)
        self.apply(node, entry("all", p1g_5gb=7), entry([1], p7g_40gb=1))
        self.assertEqual(self.changes(node), (16, 0))
        self.assertEqual([len(gpu[1]) for gpu in self.state(node)], [7, 1])

    def test_a_mode_that_cannot_change_now(self):
        node = self.node("A30*2")
        node.migemu("holder add", "--on", "1", "--kind", "leaked")
        on = ("-f", CONFIG, "-c", "all-enabled")
        self.fatal(self.parted(node, "apply", *on), "in use")
        self.assertEqual(self.parted(node, "export").stdout.count("mig-enabled: false"), 1)
        self.good(self.parted(node, "apply", "-s", "-m", *on), APPLIED)
        self.fatal(self.parted(node, "assert", "-m", *on), "Assertion failure")
        self.fatal(self.parted(node, "apply", "-s", "-f", CONFIG, "-c", "all-balanced"), "pending")
        node.migemu("holder remove", "all")
        self.good(self.parted(node, "apply", "-f", CONFIG, "-c", "all-balanced"), APPLIED)
        self.good(self.parted(node, "assert", "-f", CONFIG, "-c", "all-balanced"), IS_APPLIED)


class Hooks(Case):
    """Which hooks run, in which order, with which environment."""

    def hooks(self, **commands):
        """A hooks file: each hook notes its name, then runs what it is given."""
        log = self.path("log")
        return self.path("hooks.yaml", {"version": "v1", "hooks": {
            name.replace("_", "-"): [{"command": "/bin/sh", "args": [
                "-c", f"echo {name} >> {log}; {commands.get(name, '')}"]}]
            for name in ("apply_start", "pre_apply_mode", "pre_apply_config", "apply_exit")}})

    def ran(self):
        path = self.path("log")
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8") as text:
            names = text.read().split()
        os.unlink(path)
        return names

    def test_order(self):
        node, hooks = self.node("A30"), self.hooks()

        def after(config, *argv):
            self.good(self.parted(node, "apply", "-f", CONFIG, "-c", config, "-k", hooks, *argv),
                      APPLIED)
            return self.ran()

        everything = ["apply_start", "pre_apply_mode", "pre_apply_config", "apply_exit"]
        self.assertEqual(after("all-balanced"), everything)
        self.assertEqual(after("all-balanced"), ["apply_start", "apply_exit"])
        self.assertEqual(after("all-1g.6gb"), ["apply_start", "pre_apply_config", "apply_exit"])
        self.assertEqual(after("all-disabled"), ["apply_start", "pre_apply_mode", "apply_exit"])
        self.assertEqual(after("all-balanced", "-m"),
                         ["apply_start", "pre_apply_mode", "apply_exit"])
        self.assertEqual(after("all-enabled"), ["apply_start", "apply_exit"])

    def test_failures(self):
        node = self.node("A30")

        def refused(pattern, **commands):
            done = self.parted(node, "apply", "-f", CONFIG, "-c", "all-balanced", "-k",
                               self.hooks(**commands))
            self.fatal(done, pattern)
            return self.ran()

        self.assertEqual(refused("error running apply-start hook: .*exit status 3",
                                 apply_start="exit 3"), ["apply_start"])
        self.assertEqual(refused("error running pre-apply-mode hook", pre_apply_mode="exit 1"),
                         ["apply_start", "pre_apply_mode", "apply_exit"])
        self.assertEqual(self.state(node)[0][1], [])
        self.assertEqual(refused("error running apply-exit hook", apply_exit="exit 1")[-1],
                         "apply_exit")
        self.assertEqual(len(self.state(node)[0][1]), 3)  # that hook is the last
        done = self.parted(node, "apply", "-k", self.hooks(apply_exit="exit 1"), "-f",
                           self.config(entry([5], off=True)))
        self.fatal(done, "there is no GPU 5")
        self.assertIn("level=error", done.stderr)
        self.assertEqual(self.ran(), ["apply_start", "apply_exit"])

    def test_hooks_may_end_users(self):
        node = self.node("A30")
        self.apply(node, entry("all", p1g_6gb=4))
        pid = node.job("0:3:0")
        hooks = self.hooks(pre_apply_config=f"{MIGEMU} job stop {node.path} {pid}")
        self.good(self.parted(node, "apply", "-f", CONFIG, "-c", "all-4g.24gb", "-k", hooks), APPLIED)
        self.assertEqual([one[1] for one in self.state(node)[0][1]], ["4g.24gb"])

    def test_nobody_is_stopped_for_what_cannot_fit(self):
        node = self.node("A30")
        config = self.config(entry("all", p1g_6gb=5))
        self.fatal(self.parted(node, "apply", "-f", config, "-k", self.hooks()), "GPU 0")
        self.assertEqual(self.ran(), ["apply_start", "apply_exit"])

    def test_environment_and_output(self):
        node, out = self.node("A30"), self.path("out")
        config = self.config(entry("all", off=True))
        hooks = self.hooks(apply_start=f"/usr/bin/env | /usr/bin/sort > {out}; echo seen >&2")
        done = self.good(self.parted(node, "apply", "-m", "-f", config, "-k", hooks), APPLIED)
        self.assertEqual(done.stderr, "")
        with open(out, encoding="utf-8") as text:
            lines = [line for line in text.read().splitlines() if not line.startswith("PWD=")]
        self.assertEqual(lines, [f"MIG_PARTED_CONFIG_FILE={config}",
                                 f"MIG_PARTED_HOOKS_FILE={hooks}",
                                 "MIG_PARTED_MODE_CHANGE_ONLY=true",
                                 "MIG_PARTED_SELECTED_CONFIG=test", "MIG_PARTED_SKIP_RESET=false"])
        done = self.parted(node, "apply", "-d", "-f", config, "-k", hooks)
        self.assertIn("seen\n", done.stderr)

    def test_restore_has_the_same_hooks(self):
        node, out = self.node("A30"), self.path("out")
        checkpoint = self.path("checkpoint")
        self.good(self.parted(node, "apply", "-f", CONFIG, "-c", "all-balanced"), APPLIED)
        self.parted(node, "checkpoint", "-f", checkpoint)
        self.good(self.parted(node, "apply", "-f", CONFIG, "-c", "all-disabled"), APPLIED)
        hooks = self.hooks(apply_exit=f"/usr/bin/env | /usr/bin/sort > {out}")
        self.good(self.parted(node, "restore", "-f", checkpoint, "-k", hooks),
                  "MIG configuration restored successfully\n")
        self.assertEqual(self.ran(), ["apply_start", "pre_apply_mode", "pre_apply_config",
                                      "apply_exit"])
        with open(out, encoding="utf-8") as text:
            self.assertIn(f"MIG_PARTED_CHECKPOINT_FILE={checkpoint}", text.read())

    def test_bad_hooks_file(self):
        done = self.parted(None, "apply", "-f", CONFIG, "-c", "all-balanced", "-k",
                           self.path("hooks.yaml", "hooks: {apply-start: [{args: []}]}"))
        self.fatal(done, r"^Error parsing hooks file: .*hooks\.yaml:1:23: a hook without 'command'$")


@unittest.skipUnless(PEER, "MIG_PEER names no nvidia-mig-parted")
class Peer(Case):
    """Files exchanged with the program itself, on the same node."""

    def peer(self, node, *argv):
        return run([MIGEMU, "run", node.path, "--", PEER, *argv], node.env)

    def test_exports_and_checkpoints_are_the_same_bytes(self):
        node = self.node(A100 + "*2", "A30", "H100 PCIe")
        self.apply(node, entry([0], p1c_3g_20gb=3, p1g_5gb=2), entry([1], p7g_40gb=1),
                   entry([2], p1g_6gb=4), entry([3], off=True))
        for argv in ([], ["-o", "json"], ["-l", "a: b"]):
            self.assertEqual(self.parted(node, "export", *argv).stdout,
                             self.peer(node, "export", *argv).stdout)
        ours, theirs = self.path("ours"), self.path("theirs")
        self.parted(node, "checkpoint", "-f", ours)
        self.peer(node, "checkpoint", "-f", theirs)
        with open(ours, "rb") as a, open(theirs, "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_each_restores_the_checkpoint_of_the_other(self):
        node, path = self.node(A100), self.path("checkpoint")
        self.apply(node, entry("all", p3g_20gb=1, p2g_10gb=1, p1g_5gb=1))
        before = self.state(node)
        self.parted(node, "checkpoint", "-f", path)
        self.apply(node, entry("all", off=True))
        self.assertEqual(self.peer(node, "restore", "-f", path).returncode, 0)
        self.assertEqual(self.state(node), before)
        self.peer(node, "checkpoint", "-f", path)
        self.apply(node, entry("all", off=True))
        self.good(self.parted(node, "restore", "-f", path),
                  "MIG configuration restored successfully\n")
        self.assertEqual(self.state(node), before)

    def test_each_finds_applied_what_the_other_applied(self):
        node, argv = self.node("A30", A100), ("-f", CONFIG, "-c", "all-balanced")
        self.good(self.parted(node, "apply", *argv), APPLIED)
        self.assertEqual(self.peer(node, "assert", *argv).stdout, IS_APPLIED)
        self.peer(node, "apply", "-f", CONFIG, "-c", "all-1g.5gb")
        self.good(self.parted(node, "assert", "-f", CONFIG, "-c", "all-1g.5gb"), IS_APPLIED)


if __name__ == "__main__":
    tap.main()
