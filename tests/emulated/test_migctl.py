# SPDX-License-Identifier: Apache-2.0
"""migctl on emulated nodes: every command in every format, every exit code, what it says, and that
its help, its man pages and its completions list the same options.

Golden texts are in tests/data/golden; MIG_UPDATE_GOLDEN=1 writes them anew.
"""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from json_doc import Documents, parse_yaml  # noqa: E402
from node import BUILD, CONFIG, MIGCTL, PLAIN, SOURCE, Node, run  # noqa: E402

GOLDEN = os.path.join(SOURCE, "tests/data/golden")
DOCUMENTS = Documents(os.path.join(SOURCE, "docs/json.md"))
A30, A100, H100 = "A30", "A100-SXM4-40GB", "H100 80GB HBM3"
COMMANDS = re.findall(r"^  (\S+) ", run([MIGCTL, "help"]).stdout.split("\n\n")[2], re.M)


def write_config(directory, entries):
    """A config file with one config, "test"."""
    path = os.path.join(directory, "test.yaml")
    with open(path, "w", encoding="utf-8") as out:
        json.dump({"version": "v1", "mig-configs": {"test": entries}}, out)
    return path


def entry(devices, **wanted):
    return {"devices": devices, "mig-enabled": True,
            "mig-devices": {name.replace("_", ".").lstrip("p"): n for name, n in wanted.items()}}


def stable(text):
    """Without what differs between runs and machines: UUIDs, times, paths, and blanks at the end."""
    text = re.sub(r"(GPU|MIG)-[0-9a-f]{8}-[0-9a-f-]{27}", r"\1-UUID", text)
    text = re.sub(r"done in \d+\.\d+ s", "done in N s", text)
    text = re.sub(r"pid \d+", "pid N", text)
    text = text.replace(SOURCE + "/", "")
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


class Case(unittest.TestCase):
    maxDiff = None

    def golden(self, name, done):
        """Holds what a command printed against tests/data/golden/NAME."""
        text = stable(f"{done.stdout}--- stderr\n{done.stderr}--- exit {done.returncode}\n")
        path = os.path.join(GOLDEN, name)
        if os.environ.get("MIG_UPDATE_GOLDEN"):
            with open(path, "w", encoding="utf-8") as out:
                out.write(text)
        with open(path, encoding="utf-8") as lines:
            self.assertEqual(text, lines.read(), f"differs from {path}")

    def described(self, document):
        self.assertEqual(DOCUMENTS.problems(document), [])

    def good(self, done):
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout


class Texts(Case):
    """What needs no node: help, man pages, completions, usage."""

    def options_of(self, text):
        return set(re.findall(r"--[a-z][a-z-]+", text))

    def test_commands_are_listed(self):
        self.assertIn("enable-persistence", COMMANDS)
        self.assertGreater(len(COMMANDS), 15)
        self.assertNotIn("complete", COMMANDS)

    def test_help_texts(self):
        self.assertEqual(run([MIGCTL, "help"]).stdout, run([MIGCTL, "--help"]).stdout)
        for command in COMMANDS:
            with self.subTest(command=command):
                text = self.good(run([MIGCTL, "help", command]))
                self.assertEqual(text, run([MIGCTL, command, "--help"]).stdout)
                self.assertTrue(text.startswith(f"Usage: migctl {command} "))
                self.assertLessEqual(max(map(len, text.splitlines())), 80)

    def test_man_pages_list_the_same_options(self):
        for command in COMMANDS:
            page = os.path.join(BUILD, f"man/migctl-{command}.1.scd")
            with self.subTest(command=command), open(page, encoding="utf-8") as text:
                listed = self.options_of(text.read().split("# OPTIONS")[1].split("# EXIT")[0])
                helped = run([MIGCTL, "help", command]).stdout.split("\nOptions", 1)[1]
                self.assertEqual(listed, self.options_of(helped.split("\nExit codes")[0]))

    def test_completions_list_the_same_options(self):
        folder = os.path.join(BUILD, "src/cli/completions")
        with open(os.path.join(folder, "migctl"), encoding="utf-8") as text:
            bash = text.read()
        with open(os.path.join(folder, "_migctl"), encoding="utf-8") as text:
            zsh = text.read()
        with open(os.path.join(folder, "migctl.fish"), encoding="utf-8") as text:
            fish = text.read()
        for command in COMMANDS:
            with self.subTest(command=command):
                helped = run([MIGCTL, "help", command]).stdout.split("\nOptions", 1)[1]
                helped = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", helped, re.M)
                in_bash = re.search(rf"^    {command}\) options='(.*)';;$", bash, re.M).group(1)
                self.assertEqual(set(re.findall(r"--\S+", in_bash)), set(helped))
                in_zsh = re.search(rf"^    {command}\)\n(.*?);;$", zsh, re.M | re.S).group(1)
                self.assertEqual(set(re.findall(r"'(--[a-z-]+)", in_zsh)), set(helped))
                own = re.findall(rf"from {command}' -l (\S+)", fish)
                common = re.findall(r"^complete -c migctl -l (\S+)", fish, re.M)
                self.assertEqual({"--" + name for name in own + common}, set(helped))

    def complete(self, words, env):
        """What bash offers for the last word."""
        script = (f'source "{BUILD}/src/cli/completions/migctl"; COMP_WORDS=({words}); '
                  'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _migctl; printf "%s\\n" "${COMPREPLY[@]}"')
        env = dict(env, PATH=os.path.dirname(MIGCTL) + ":" + env["PATH"])
        return run(["bash", "-c", script], env).stdout.split()

    def test_bash_completes(self):
        with Node(A30, options=["--mig", "on"]) as node:
            self.assertEqual(self.complete("migctl stat", node.env), ["status"])
            self.assertEqual(self.complete("migctl apply --on-busy ''", node.env), ["keep", "wait"])
            self.assertIn("--dry-run", self.complete("migctl apply --", node.env))
            self.assertNotIn("--dry-run", self.complete("migctl status --", node.env))
            self.assertEqual(self.complete("migctl create 2g", node.env), ["2g.12gb", "2g.12gb+me"])
            self.assertIn("all-balanced",
                          self.complete(f"migctl plan -f {CONFIG} -c all-b", node.env))

    def test_usage(self):
        for argv, message in (
                ([], "no command was given"),
                (["staus"], "there is no command 'staus'"),
                (["status", "--frob"], "there is no option '--frob'"),
                (["create"], "'create' needs PROFILE[@START]"),
                (["destroy"], "'destroy' needs either instances by UUID"),
                (["create", "1g.5gb", "--gi", "1"], "--gi needs --gpu"),
                (["fit", "1g.5gb=0"], "'1g.5gb=0' is not PROFILE[=COUNT]"),
                (["help", "complete"], "there is no command 'complete'")):
            with self.subTest(argv=argv):
                done = run([MIGCTL, *argv])
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertTrue(done.stderr.startswith("migctl: " + message), done.stderr)
                self.assertIn("\n  what to do: ", done.stderr)

    def test_usage_error_as_document(self):
        done = run([MIGCTL, "-o", "json", "status", "--frob"])
        document = json.loads(done.stdout)
        self.described(document)
        self.assertEqual((document["schema"], document["error"]["code"], done.returncode),
                         ("migctl/error/v1", 2, 2))

    def test_version(self):
        self.assertRegex(self.good(run([MIGCTL, "version"])), r"^migctl \d+\.\d+\.\d+, \d+ GPU models$")
        self.assertEqual(run([MIGCTL, "version"]).stdout, run([MIGCTL, "--version"]).stdout)
        self.described(json.loads(run([MIGCTL, "version", "-o", "json"]).stdout))

    def test_model_profiles_without_driver(self):
        done = run([MIGCTL, "profiles", "--model", A100])
        self.golden("profiles-a100.txt", done)
        document = json.loads(run([MIGCTL, "profiles", "--model", A100, "-o", "json"]).stdout)
        self.described(document)
        self.assertEqual(run([MIGCTL, "profiles", "--model", "Voodoo 2"]).returncode, 4)

    def test_full_device(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([MIGCTL, "help"], env=PLAIN, stdout=full, stderr=subprocess.PIPE,
                                  text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("could not write the output", done.stderr)


class Reading(Case):
    """Commands that change nothing, on nodes of three kinds."""

    NODES = {"a30": [A30 + "*2"], "a100": [A100 + "*8"], "h100": [H100]}

    def argvs(self):
        return (["status"], ["status", "-g", "0"], ["profiles"], ["plan", "-c", "all-disabled"],
                ["plan", "-c", "all-balanced"], ["assert", "-c", "all-disabled"],
                ["assert", "-c", "all-enabled"], ["validate", CONFIG], ["version"],
                ["validate", CONFIG, "--node", "-c", "all-balanced"])

    def test_all_formats(self):
        for name, gpus in self.NODES.items():
            with Node(*gpus) as node:
                for config in (None, "all-balanced"):
                    if config:
                        node.apply(config)
                    for argv in self.argvs():
                        with self.subTest(node=name, config=config, argv=argv):
                            self.one_in_all_formats(node, argv)

    def one_in_all_formats(self, node, argv):
        env = {"MIGCTL_CONFIG": CONFIG}
        table = node.migctl(*argv, **env)
        self.assertNotIn("\033", table.stdout + table.stderr)
        self.assertEqual(node.migctl(*argv, "-o", "wide", **env).returncode, table.returncode)
        code, document = node.json(*argv, **env)
        self.assertEqual(code, table.returncode)
        self.assertEqual(document["schema"], f"migctl/{argv[0]}/v1")
        self.assertEqual(document.get("error", {"code": 0})["code"], code)
        self.described(document)
        yaml = node.migctl(*argv, "-o", "yaml", **env)
        self.assertEqual(parse_yaml(yaml.stdout), document)

    def test_export_and_generate(self):
        with Node(A30) as node:
            node.apply("all-balanced")
            text = self.good(node.migctl("export", "-l", "now"))
            with open(os.path.join(node.directory, "now.yaml"), "w", encoding="utf-8") as out:
                out.write(text)
            self.good(node.migctl("assert", "-q", "-f", out.name, "-c", "now"))
            code, document = node.json("export", "-l", "now")
            self.assertEqual((code, list(document["mig-configs"])), (0, ["now"]))
            self.assertIn("all-balanced", self.good(node.migctl("generate-config")))
            self.assertIn("all-balanced", self.good(run([MIGCTL, "generate-config", "--catalog"])))

    def test_tree_names_what_other_commands_take(self):
        with Node(A30) as node:
            node.apply("all-balanced")
            node.job("0:1:0")
            self.golden("status-a30.txt", node.migctl("status"))
            self.golden("status-a30-wide.txt", node.migctl("status", "-o", "wide"))
            self.golden("status-a30-ascii.txt", node.migctl("status", LC_ALL="C"))
            self.golden("profiles-a30-balanced.txt", node.migctl("profiles"))
            gpu = node.json("status")[1]["gpus"][0]
            self.assertEqual(gpu["instances"][0]["holder"][:9], "train.py ")
            self.assertEqual(gpu["processes"][0]["name"], "train.py")

    def test_unknown_gpu(self):
        with Node(A30) as node:
            done = node.migctl("status", "--gpu", "7")
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("there is no GPU '7'", done.stderr)

    def test_validate_findings(self):
        with Node(A30) as node:
            path = write_config(node.directory, [entry("all", p9g_9gb=1)])
            done = node.migctl("validate", path)
            self.assertEqual(done.returncode, 3)
            self.assertRegex(done.stdout, r"test\.yaml:1:\d+: error: ")
            code, document = node.json("validate", path)
            self.described(document)
            self.assertEqual((code, document["valid"]), (3, False))
            self.assertEqual(node.migctl("validate", CONFIG, "-c", "nobody").returncode, 3)


class Terminal(Case):
    """Colors and progress: only on a terminal."""

    def on_terminal(self, node, argv, **env):
        """What a command prints on a pseudo-terminal of its own."""
        parent, child = pty.openpty()
        process = subprocess.Popen([MIGCTL, *argv], env=dict(node.env, **env), stdout=child,
                                   stderr=child, stdin=subprocess.DEVNULL)
        os.close(child)
        text = b""
        while select.select([parent], [], [], 30)[0]:
            try:
                part = os.read(parent, 65536)
            except OSError:
                break
            if not part:
                break
            text += part
        os.close(parent)
        self.assertEqual(process.wait(30), 0)
        return text.decode()

    def test_colors(self):
        with Node(A30) as node:
            node.apply("all-balanced")
            self.good(node.migctl("destroy", "0:6"))
            self.assertIn("\033[32mfree\033[0m", self.on_terminal(node, ["status"]))
            self.assertNotIn("\033", self.on_terminal(node, ["status", "--no-color"]))
            self.assertNotIn("\033", self.on_terminal(node, ["status"], NO_COLOR="1"))
            self.assertNotIn("\033", self.on_terminal(node, ["status"], TERM="dumb"))
            self.assertNotIn("\033", node.migctl("status").stdout)

    def test_progress(self):
        with Node(A30) as node:
            text = self.on_terminal(node, ["apply", "-f", CONFIG, "-c", "all-balanced"])
            self.assertIn("] GPU 0: ", text)
            node.apply("all-disabled")
            quiet = self.on_terminal(node, ["apply", "-q", "-f", CONFIG, "-c", "all-balanced"])
            self.assertEqual(quiet, "")
            node.apply("all-disabled")
            plain = node.migctl("apply", "-v", "-f", CONFIG, "-c", "all-balanced")
            self.assertRegex(plain.stderr, r"(?m)^migctl: \[1/\d+\] GPU 0: ")


class Changing(Case):
    """Commands that change the node, and their exit codes."""

    def test_a30_balanced(self):
        with Node(A30) as node:
            self.golden("apply-a30-balanced.txt",
                        node.migctl("apply", "-f", CONFIG, "-c", "all-balanced"))
            self.assertEqual(node.instances(), [(1, "2g.12gb", 0), (5, "1g.6gb", 2),
                                                (6, "1g.6gb", 3)])
            found = node.json("status")[1]["gpus"][0]["instances"]
            self.assertEqual([ci["sm_count"] for one in sorted(found, key=lambda one: one["gi_id"])
                              for ci in one["compute_instances"]], [28, 14, 14])
            self.assertIn("nothing to do", self.good(
                node.migctl("apply", "-f", CONFIG, "-c", "all-balanced")))

    def test_eight_a100(self):
        with Node(A100 + "*8") as node:
            for name, counts in (("all-3g.20gb", {"3g.20gb": 16}),
                                 ("all-balanced", {"1g.5gb": 16, "2g.10gb": 8, "3g.20gb": 8})):
                node.apply(name)
                found = {}
                for gpu in node.json("status")[1]["gpus"]:
                    for one in gpu["instances"]:
                        self.assertEqual(len(one["compute_instances"]), 1)
                        found[one["profile"]] = found.get(one["profile"], 0) + 1
                self.assertEqual(found, counts)
                self.good(node.migctl("assert", "-q", "-f", CONFIG, "-c", name))

    def test_plan_and_documents(self):
        with Node(A100) as node:
            node.apply("all-1g.5gb")
            self.golden("plan-a100-1g-to-balanced.txt",
                        node.migctl("plan", "-f", CONFIG, "-c", "all-balanced"))
            code, plan = node.json("plan", "-f", CONFIG, "-c", "all-balanced")
            self.described(plan)
            code, dry = node.json("apply", "-f", CONFIG, "-c", "all-balanced", "--dry-run")
            self.described(dry)
            self.assertEqual((code, dry["gpus"], dry["applied"]), (0, plan["gpus"], False))
            code, done = node.json("apply", "-f", CONFIG, "-c", "all-balanced")
            self.described(done)
            self.assertEqual((code, done["applied"], done["gpus"]), (0, True, plan["gpus"]))
            self.assertEqual(done["report"]["gi_created"], plan["gpus"][0]["gi_create"])

    def test_refused(self):
        with Node(A30) as node:
            node.apply("all-balanced")
            node.job("0:1:0")
            self.golden("apply-a30-refused.txt",
                        node.migctl("apply", "-f", CONFIG, "-c", "all-4g.24gb"))
            code, document = node.json("plan", "-f", CONFIG, "-c", "all-4g.24gb")
            self.described(document)
            refusal = document["gpus"][0]["refusal"]
            self.assertEqual((code, refusal["kind"]), (5, "blocked"))
            self.assertEqual([one["gi_id"] for one in refusal["blockers"]], [1])
            self.assertIn("train.py", refusal["blockers"][0]["holder"])
            before = node.instances()
            self.assertEqual(node.migctl("apply", "-f", CONFIG, "-c", "all-4g.24gb").returncode, 5)
            self.assertEqual(node.instances(), before)

    def test_busy_keeps_and_reshapes(self):
        with Node(A100) as node:
            path = write_config(node.directory, [entry("all", p3g_20gb=1, p1g_5gb=4)])
            self.good(node.migctl("apply", "-f", path))
            kept = [one for one in node.instances() if one[1] == "3g.20gb"]
            node.job(f"0:{kept[0][0]}:0")
            path = write_config(node.directory, [entry("all", p3g_20gb=1, p2g_10gb=2)])
            self.good(node.migctl("apply", "-f", path))
            after = node.instances()
            self.assertEqual([one for one in after if one[1] == "3g.20gb"], kept)
            self.assertEqual(sorted(one[1] for one in after), ["2g.10gb", "2g.10gb", "3g.20gb"])

    def test_does_not_fit(self):
        with Node(A30) as node:
            path = write_config(node.directory, [entry("all", p2g_12gb=3)])
            before = node.instances()
            self.golden("apply-a30-too-much.txt", node.migctl("apply", "-f", path))
            code, document = node.json("apply", "-f", path)
            self.described(document)
            self.assertEqual((code, document["error"]["class"]), (4, "no-fit"))
            self.assertEqual(node.instances(), before)
            path = write_config(node.directory, [entry("all", p3g_20gb=1)])
            self.assertEqual(node.migctl("plan", "-f", path).returncode, 4)

    def test_config_errors(self):
        with Node(A30) as node:
            path = os.path.join(node.directory, "bad.yaml")
            with open(path, "w", encoding="utf-8") as out:
                out.write("version: v1\nmig-configs:\n  a: [{devices: all, mig-enable: true}]\n")
            for argv in (["apply", "-f", path], ["plan", "-f", path], ["validate", path],
                         ["plan", "-f", CONFIG, "-c", "nobody"], ["restore", path],
                         ["restore", "/nonexistent"]):
                with self.subTest(argv=argv):
                    done = node.migctl(*argv)
                    self.assertEqual(done.returncode, 3, done.stderr)
            self.assertRegex(node.migctl("plan", "-f", path).stderr, r"bad\.yaml:3:\d+: ")

    def test_no_driver(self):
        for argv in (["status"], ["profiles"], ["apply", "-f", CONFIG, "-c", "all-enabled"],
                     ["export"], ["create", "1g.5gb"], ["fit", "1g.5gb"], ["checkpoint"]):
            with self.subTest(argv=argv):
                done = run([MIGCTL, *argv, "--library", "/nonexistent.so"])
                self.assertEqual(done.returncode, 6, done.stderr)
                self.assertIn("what to do", done.stderr)

    def test_failure_is_undone(self):
        with Node(A30) as node:
            node.apply("all-1g.6gb")
            before = node.instances()
            node.migemu("fault add", "DeviceCreateGpuInstanceWithPlacement nth=1 hits=1 -> UNKNOWN")
            code, document = node.json("apply", "-f", CONFIG, "-c", "all-balanced")
            self.described(document)
            self.assertEqual((code, document["applied"]), (1, False))
            self.assertTrue(document["report"]["rolled_back"])
            self.assertEqual([one[1:] for one in node.instances()], [one[1:] for one in before])

    def test_failure_that_cannot_be_undone(self):
        with Node(A30) as node:
            node.apply("all-1g.6gb")
            node.migemu("fault add", "DeviceCreateGpuInstanceWithPlacement hits=1000 -> UNKNOWN")
            done = node.migctl("apply", "-f", CONFIG, "-c", "all-balanced")
            self.assertEqual(done.returncode, 7, done.stderr)
            node.migemu("fault clear")
            done = node.migctl("apply", "-f", CONFIG, "-c", "all-balanced")
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_interrupted_run_is_repaired(self):
        with Node(A30) as node:
            node.apply("all-1g.6gb")
            before = node.instances()
            node.migemu("fault add", "DeviceCreateGpuInstanceWithPlacement before -> KILL")
            done = node.migctl("apply", "-f", CONFIG, "-c", "all-balanced")
            self.assertEqual(done.returncode, -9)
            self.assertIn("was interrupted", node.migctl("status").stdout)
            node.migemu("fault clear")
            code, document = node.json("status")
            self.assertTrue(document["change_on_record"])
            code, document = node.json("apply", "-f", CONFIG, "-c", "all-1g.6gb")
            self.described(document)
            self.assertEqual(code, 0)
            self.assertIn(document["recovery"]["kind"], ("finished", "restored"))
            self.assertEqual([one[1:] for one in node.instances()], [one[1:] for one in before])
            self.assertFalse(node.json("status")[1]["change_on_record"])

    @staticmethod
    def hear_hangup():
        """Under nohup the tests have SIGHUP ignored, and migctl would leave it so."""
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def slow_apply(self, node):
        """An apply that is at its first of several slow steps."""
        node.migemu("fault add", "DeviceCreateGpuInstanceWithPlacement hits=2 delay=700")
        process = subprocess.Popen([MIGCTL, "-v", "apply", "-f", CONFIG, "-c", "all-2g.12gb"],
                                   env=node.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, preexec_fn=self.hear_hangup)
        self.assertIn("create 2g.12gb", process.stderr.readline())
        return process

    def test_interrupt_waits_for_the_change(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with Node(A30, options=["--mig", "on"]) as node:
                process = self.slow_apply(node)
                process.send_signal(number)
                err = process.communicate(timeout=60)[1]
                self.assertEqual(process.returncode, 0, err)
                self.assertIn("finishing the change first", err)
                self.assertNotIn("GPU 4294967295", err)
                self.assertEqual(len(node.instances()), 2)

    def test_reader_that_goes_away_stops_no_change(self):
        with Node(A30, options=["--mig", "on"]) as node, self.slow_apply(node) as process:
            process.stderr.close()
            self.assertIn("2 created", process.stdout.read())
            self.assertEqual(process.wait(timeout=60), 0)
            self.assertEqual(len(node.instances()), 2)

    def test_interrupt_while_waiting_for_the_lock(self):
        with Node(A30, options=["--mig", "on"]) as node:
            first = self.slow_apply(node)
            second = subprocess.Popen([MIGCTL, "-v", "apply", "-f", CONFIG, "-c", "all-1g.6gb", "-t",
                                       "60"], env=node.env, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)
            self.assertIn("waiting for another change", second.stderr.readline())
            second.send_signal(signal.SIGINT)
            self.assertEqual(second.communicate(timeout=60)[1], "")
            self.assertEqual(second.returncode, -signal.SIGINT)
            first.communicate(timeout=60)
            self.assertEqual(first.returncode, 0)

    def test_unreadable_gpu_is_told_as_such(self):
        with Node(A30 + "*2", options=["--mig", "on"]) as node:
            node.migemu("fault add", "DeviceGetUUID gpu=1 -> GPU_IS_LOST")
            for argv, code in ((["status"], 0), (["profiles"], 0), (["destroy", "1:0"], 1),
                               (["create", "--gpu", "1", "1g.6gb"], 1),
                               (["apply", "-f", CONFIG, "-c", "all-disabled"], 1)):
                done = node.migctl(*argv)
                self.assertEqual(done.returncode, code, argv)
                self.assertIn("could not read its UUID: GPU is lost", done.stdout + done.stderr)
                self.assertNotIn("no MIG", done.stdout + done.stderr)
                self.assertNotIn("()", done.stdout + done.stderr)
            self.good(node.migctl("create", "--gpu", "0", "1g.6gb"))

    def test_output_that_cannot_be_written(self):
        with Node(A30, options=["--mig", "on"]) as node:
            for redirection in (">/dev/full", ">&-", "<&- >&-"):
                for output in ("table", "json", "yaml"):
                    done = run(["sh", "-c", f'exec "$0" status -o {output} {redirection}', MIGCTL],
                               node.env)
                    self.assertEqual(done.returncode, 1)
                    self.assertRegex(done.stderr, r"\Amigctl: could not write the output: .*\n\Z")
            # nothing that is opened gets the number of a closed descriptor
            done = run(["sh", "-c", 'exec "$0" apply -f "$1" -c all-balanced <&- >&- 2>&-', MIGCTL,
                        CONFIG], node.env)
            self.assertEqual(done.returncode, 1)
            self.assertEqual(len(node.instances()), 3)
            with open(os.path.join(node.path, "migd/lock"), encoding="utf-8") as lock:
                self.assertRegex(lock.read(), r"\Amigctl \(pid \d+\)\n\Z")

    def test_second_run_names_the_first(self):
        with Node(A30, options=["--mig", "on"]) as node:
            node.migemu("fault add", "DeviceCreateGpuInstanceWithPlacement hits=1 delay=1500")
            argv = ["apply", "-f", CONFIG, "-c", "all-4g.24gb"]
            first = subprocess.Popen([MIGCTL, "-v", *argv], env=node.env, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
            self.assertIn("create 4g.24gb", first.stderr.readline())
            second = node.migctl(*argv)
            self.assertEqual(second.returncode, 5, second.stderr)
            self.assertIn(str(first.pid), second.stderr)
            third = node.migctl(*argv, "-t", "30")
            self.assertEqual((third.returncode, third.stdout),
                             (0, "nothing to do: the node is as wanted\n"))
            first.communicate(timeout=60)
            self.assertEqual(first.returncode, 0)

    def test_wait_for_users(self):
        with Node(A30) as node:
            node.apply("all-balanced")
            pid = node.job("0:1:0")
            argv = ["apply", "-f", CONFIG, "-c", "all-4g.24gb", "--on-busy", "wait"]
            started = time.monotonic()
            done = node.migctl(*argv, "-t", "1")
            self.assertEqual(done.returncode, 5)
            self.assertLess(time.monotonic() - started, 30)
            self.assertIn("waiting at most 1 s for ", done.stderr)
            waiting = subprocess.Popen([MIGCTL, *argv], env=node.env, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
            line = waiting.stderr.readline()
            self.assertIn("waiting", line)
            node.migemu("job stop", str(pid))
            out, err = waiting.communicate(timeout=60)
            self.assertEqual((waiting.returncode, err), (0, ""))
            self.assertIn("1 created", out)

    def test_create_and_destroy(self):
        with Node(A30, options=["--mig", "on"]) as node:
            done = node.migctl("create", "1g.6gb@3")
            self.golden("create-a30.txt", done)
            code, document = node.json("create", "2g.12gb", "-g", "0")
            self.described(document)
            self.assertEqual((code, document["created"]["start"]), (0, 0))
            uuid = document["created"]["uuid"]
            done = node.migctl("create", "4g.24gb")
            self.assertEqual(done.returncode, 4)
            self.assertIn("2g.12gb at 0 (GI 1): idle", done.stderr)
            pid = node.job(uuid)
            done = node.migctl("destroy", uuid)
            self.assertEqual(done.returncode, 5)
            self.assertIn("in the way: train.py (pid ", done.stderr)
            self.assertEqual(node.migctl("create", "4g.24gb").returncode, 5)
            node.migemu("job stop", str(pid))
            code, document = node.json("destroy", uuid, "0:6")
            self.described(document)
            self.assertEqual((code, node.instances()), (0, []))
            self.assertEqual(node.migctl("destroy", "0:6").returncode, 2)

    def test_instance_without_compute_instance(self):
        with Node(A30, options=["--mig", "on"]) as node:
            self.good(node.migctl("create", "2g.12gb"))
            gi = node.instances()[0][0]
            self.good(node.migctl("destroy", f"0:{gi}:0"))
            self.golden("status-a30-bare.txt", node.migctl("status"))
            self.good(node.migctl("create", "2g.12gb"))
            self.assertEqual(len(node.instances()), 1)
            self.assertEqual(len(node.json("status")[1]["gpus"][0]["instances"][0]
                                 ["compute_instances"]), 1)

    def test_parts(self):
        with Node(A100, options=["--mig", "on"]) as node:
            for _ in range(3):
                self.good(node.migctl("create", "1c.3g.20gb"))
            found = node.json("status")[1]["gpus"][0]["instances"]
            self.assertEqual([len(one["compute_instances"]) for one in found], [3])
            gi = found[0]["gi_id"]
            self.good(node.migctl("destroy", "-g", "0", "--gi", str(gi), "--ci", "1"))
            self.good(node.migctl("create", "1c.3g.20gb", "-g", "0", "--gi", str(gi)))
            self.assertEqual(node.migctl("create", "1c.3g.20gb", "-g", "0", "--gi",
                                         str(gi)).returncode, 4)

    def test_checkpoint_and_restore(self):
        with Node(A30) as node:
            node.apply("all-balanced")
            before = node.instances()
            path = os.path.join(node.directory, "before.json")
            code, document = node.json("checkpoint", path)
            self.described(document)
            node.apply("all-disabled")
            code, document = node.json("restore", path, "--dry-run")
            self.described(document)
            self.assertEqual((code, node.instances()), (0, []))
            self.assertEqual(node.migctl("restore", path).returncode, 0)
            self.assertEqual(node.instances(), before)
            with open(path, encoding="utf-8") as text:
                self.assertEqual(node.migctl("checkpoint").stdout.strip(), text.read().strip())

    def test_fit(self):
        with Node(A100 + "*2", options=["--mig", "on"]) as node:
            self.good(node.migctl("create", "1g.5gb@0", "-g", "0"))
            done = node.migctl("fit", "3g.20gb=3", "1g.5gb")
            self.golden("fit-a100.txt", done)
            code, document = node.json("fit", "3g.20gb=3", "1g.5gb")
            self.described(document)
            self.assertEqual((code, document["fits"], document["destroy_count"]), (0, True, 0))
            code, document = node.json("fit", "7g.40gb=3")
            self.described(document)
            self.assertEqual((code, document["unplaced"]), (4, [{"profile": "7g.40gb", "count": 1}]))
            node.job("0:13:0" if node.instances()[0][0] == 13 else f"0:{node.instances()[0][0]}:0")
            code, document = node.json("fit", "7g.40gb=2")
            self.described(document)
            self.assertEqual((code, document["fits_empty"]), (5, True))

    def test_mode_only(self):
        with Node(A30) as node:
            self.good(node.migctl("apply", "-f", CONFIG, "-c", "all-balanced", "--mode-only"))
            gpu = node.json("status")[1]["gpus"][0]
            self.assertEqual((gpu["mig_mode"], gpu["instances"]), ("enabled", []))
            self.good(node.migctl("assert", "-m", "-f", CONFIG, "-c", "all-balanced"))
            self.assertEqual(node.migctl("assert", "-f", CONFIG, "-c", "all-balanced").returncode, 1)


class Persistence(Case):
    def test_files(self):
        with Node(A30) as node, tempfile.TemporaryDirectory() as root:
            code, document = node.json("enable-persistence", "--root", root, "--state-dir", "/var/x")
            self.described(document)
            self.assertEqual(code, 0)
            unit = os.path.join(root, "etc/systemd/system/migctl-restore.service")
            self.assertEqual(document["wrote"], [
                root + "/var/x/last-good.json", unit,
                root + "/etc/systemd/system/multi-user.target.wants/migctl-restore.service"])
            with open(unit, encoding="utf-8") as text:
                text = text.read()
            self.assertIn('ConditionFileNotEmpty=/var/x/last-good.json\n', text)
            self.assertRegex(text, r'ExecStart="/\S+/migctl" restore .*"/var/x/last-good.json"\n')
            self.assertNotIn(root, text)
            self.assertEqual(os.path.realpath(document["wrote"][2]), os.path.realpath(unit))
            code, document = node.json("enable-persistence", "--root", root, "--state-dir", "/var/x",
                                       "--disable")
            self.described(document)
            self.assertEqual(len(document["removed"]), 3)
            self.assertFalse(os.path.exists(unit))

    def test_state_directory_that_no_unit_can_name(self):
        with tempfile.TemporaryDirectory() as root:
            for bad in ("x", "/x\ny"):
                done = run([MIGCTL, "enable-persistence", "--root", root, "--state-dir", bad])
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertEqual(os.listdir(root), [])

    def test_checkpoint_follows_changes(self):
        with Node(A30) as node, tempfile.TemporaryDirectory() as root:
            path = os.path.join(node.env["MIGD_STATE_DIR"], "last-good.json")
            node.apply("all-1g.6gb")
            self.assertFalse(os.path.exists(path))
            self.good(run([MIGCTL, "enable-persistence", "--root", root], node.env))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(root + path, path)
            node.apply("all-balanced")
            before = node.instances()
            node.migemu("reboot")
            self.assertEqual(node.instances(), [])
            self.assertEqual(node.migctl("restore", path).returncode, 0)
            self.assertEqual(node.instances(), before)
            self.good(node.migctl("destroy", "0:6"))
            with open(path, encoding="utf-8") as text:
                self.assertEqual(text.read().strip(), node.migctl("checkpoint").stdout.strip())


if __name__ == "__main__":
    tap.main()
