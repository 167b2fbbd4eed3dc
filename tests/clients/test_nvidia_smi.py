#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's own nvidia-smi, unmodified, on emulated machines, and ours held against it.

The comparisons run the same commands with both on two machines made alike: output, exit status and
what is left must be the same, byte for byte but for the time of day.
"""
import re
import xml.etree.ElementTree as xml

from client_case import Client, tap

IN_USE = 19
NO_ROOM = 23
TIME = re.compile(r"^\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4} *$", re.M)
XML_TIME = re.compile(r"<timestamp>.*</timestamp>")
LOG_TIME = re.compile(r"^Timestamp +: .*$", re.M)

LISTS = (["-L"], ["mig", "-lgip"], ["mig", "-lgipp"], ["mig", "-lgi"], ["mig", "-lci"],
         ["mig", "-lcip"], ["mig", "-lcipp"], [])

# Commands that fail, on a machine whose GPU 1 has MIG off.
REFUSED = (["-mig", "2"], ["-pm", "7"], ["-foo"], ["mig", "-foo"], ["mig", "-cgi"], ["-i"],
           ["-i", "17"], ["-i", "GPU-nonsense"], ["-x"], ["-L", "-i", "0"], ["-r", "-mig", "1"],
           ["--query-gpu=nonsense", "--format=csv"], ["--query-gpu=name"],
           ["mig", "-lgi", "-i", "9"], ["mig", "-lgi", "-i", "1"], ["mig", "-lcip", "-i", "1"],
           ["mig", "-cgi", "14", "-i", "1"], ["mig", "-cgi", "99"], ["mig", "-cgi", "1g.99gb"],
           ["mig", "-cgi", "14:7"], ["mig", "-dgi", "-gi", "7"], ["mig", "-dci", "-ci", "4"],
           ["mig", "-cci", "9"], ["mig", "-cci"], ["mig", "-lci", "-gi", "17"], ["mig", "-dgi"])


def untimed(text):
    for pattern in (TIME, XML_TIME, LOG_TIME):
        text = pattern.sub("(time)", text)
    return text


def is_subsequence(some, whole):
    """The first line of `some` that `whole` lacks behind the ones before it; None when none is."""
    rest = iter(whole)
    for line in some:
        if not any(line == other for other in rest):
            return line
    return None


class Smi(Client):
    client = "nvidia-smi"
    branch = ""
    newest = "NVIDIA H200"  # of the boards that the branch knows

    @classmethod
    def setUpClass(cls):
        cls.peer = f"nvidia-smi-{cls.branch}"
        super().setUpClass()
        cls.real = cls.home / "usr/lib/nvidia/current/nvidia-smi"

    def machine(self, *options, name="node"):
        return self.node(*options, "--driver", self.version(), name=name)

    def smi(self, node, *arguments):
        """NVIDIA's."""
        return node.run(self.real, *arguments)

    def query(self, node, fields, *arguments):
        out = self.succeeds(self.smi(node, f"--query-gpu={fields}", "--format=csv,noheader",
                                     *arguments))
        return [line.split(", ") for line in out.splitlines()]


class Life(Smi):
    """What nvidia-smi does on a machine, from enabling MIG to the reset."""

    def test_enable_create_list_destroy(self):
        node = self.machine("--gpu", "A30*2")
        self.assertIn("Enabled MIG Mode for GPU", self.succeeds(self.smi(node, "-mig", "1")))
        self.assertEqual(self.query(node, "mig.mode.current"), [["Enabled"]] * 2)
        out = self.succeeds(self.smi(node, "mig", "-cgi", "5,14,14", "-C", "-i", "0"))
        self.assertEqual(re.findall(r"created (\w+) instance ID +(\d+)", out),
                         [("GPU", "1"), ("compute", "0"), ("GPU", "5"), ("compute", "0"),
                          ("GPU", "6"), ("compute", "0")])
        self.assertEqual(self.succeeds(self.smi(node, "-L")).count("  MIG "), 3)
        self.fails(self.smi(node, "mig", "-cgi", "14", "-i", "0"), NO_ROOM,
                   "Insufficient Resources")
        self.succeeds(self.smi(node, "mig", "-cgi", "14:3", "-i", "1"))
        self.assertIn("3:1", self.succeeds(self.smi(node, "mig", "-lgi", "-i", "1")))
        self.succeeds(self.smi(node, "mig", "-cci", "-gi", "6", "-i", "1"))
        self.fails(self.smi(node, "mig", "-dgi", "-gi", "6", "-i", "1"), IN_USE,
                   "In use by another client")
        self.succeeds(self.smi(node, "mig", "-dci"))
        self.succeeds(self.smi(node, "mig", "-dgi"))
        self.assertEqual(self.succeeds(self.smi(node, "-L")).count("  MIG "), 0)
        self.assertIn("Disabled MIG Mode", self.succeeds(self.smi(node, "-mig", "0")))

    def test_mode_stays_pending_while_in_use_until_a_reset(self):
        node = self.machine("--gpu", "A30*2")
        pid = self.job(node, "0")
        out = self.succeeds(self.smi(node, "-mig", "1", "-i", "0"))
        self.assertIn("MIG mode is in pending enable state", out)
        self.assertIn("In use by another client", out)
        self.assertEqual(self.query(node, "mig.mode.current,mig.mode.pending"),
                         [["Disabled", "Enabled"], ["Disabled", "Disabled"]])
        self.fails(self.smi(node, "--gpu-reset", "-i", "0"), 255, "could not be reset",
                   "In use by another client")
        node.migemu(["job", "stop"], pid)
        self.assertIn("successfully reset", self.succeeds(self.smi(node, "-r", "-i", "0")))
        self.assertEqual(self.query(node, "mig.mode.current"), [["Enabled"], ["Disabled"]])

    def test_reset_ends_instances(self):
        node = self.machine("--gpu", "A30*2", "--mig", "on")
        self.succeeds(self.smi(node, "mig", "-cgi", "0", "-C"))
        bus = self.query(node, "pci.bus_id")[1][0]
        self.succeeds(self.smi(node, "-r", "-i", bus))
        self.assertEqual(self.succeeds(self.smi(node, "-L")).count("  MIG "), 1)

    def test_users_are_shown_and_in_the_way(self):
        node = self.machine("--gpu", "H100 PCIe", "--mig", "on")
        self.succeeds(self.smi(node, "mig", "-cgi", "9,9", "-C"))
        pid = self.job(node, "0:2:0", "llama-server", "3G")
        shown = self.succeeds(self.smi(node))
        self.assertRegex(shown, rf"\|  +0 +2 +0 +{pid} +C +llama-server +3072MiB \|")
        self.fails(self.smi(node, "mig", "-dci", "-gi", "2"), IN_USE, "In use by another client")
        self.succeeds(self.smi(node, "mig", "-dci", "-gi", "1"))
        apps = self.succeeds(self.smi(node, "--query-compute-apps=pid,name,used_memory",
                                      "--format=csv,noheader"))
        self.assertEqual(apps, f"{pid}, llama-server, 3072 MiB\n")

    def test_xml(self):
        node = self.machine("--gpu", "A100-SXM4-80GB", "--mig", "on")
        self.succeeds(self.smi(node, "mig", "-cgi", "14,19,19", "-C"))
        tree = xml.fromstring(self.succeeds(self.smi(node, "-q", "-x")))
        self.assertEqual([one.findtext("gpu_instance_id") for one in tree.iter("mig_device")],
                         ["5", "7", "13"])
        self.assertEqual(tree.find("gpu/mig_mode/current_mig").text, "Enabled")
        self.assertEqual(tree.find("gpu/mig_devices/mig_device/fb_memory_usage/total").text,
                         "19968 MiB")


class Twins(Smi):
    """Ours beside NVIDIA's, on two machines made alike."""

    def twins(self, *options):
        self.ours = self.machine(*options, name="ours")
        self.theirs = self.machine(*options, name="theirs")

    def same(self, *arguments):
        ours = self.ours.smi(*arguments)
        theirs = self.smi(self.theirs, *arguments)
        with self.subTest(arguments=arguments):
            self.assertEqual(untimed(ours.stdout), untimed(theirs.stdout))
            self.assertEqual((ours.returncode, ours.stderr), (theirs.returncode, theirs.stderr))

    def holds(self, *arguments):
        """What ours says of a GPU, NVIDIA's says in the same order, among more."""
        ours = untimed(self.ours.smi(*arguments).stdout).splitlines()
        theirs = untimed(self.smi(self.theirs, *arguments).stdout).splitlines()
        with self.subTest(arguments=arguments):
            self.assertIsNone(is_subsequence(ours, theirs))
            self.assertGreater(len(ours), 50)

    def test_lists_while_a_machine_changes(self):
        self.twins("--gpu", "A30", "--gpu", "A100-SXM4-40GB", "--gpu", "H100 PCIe")
        steps = (["-mig", "1", "-i", "0,1,2"], ["mig", "-i", "0", "-cgi", "14,5,14", "-C"],
                 ["mig", "-i", "1", "-cgi", "19,14,9"], ["mig", "-i", "1", "-cci", "1,0", "-gi", "1"],
                 ["mig", "-i", "2", "-cgi", "2g.20gb,1g.20gb:0,1g.10gb+me", "-C"],
                 ["mig", "-i", "2", "-dci", "-gi", "5"], ["mig", "-dgi", "-i", "2", "-gi", "5"],
                 ["-r", "-i", "0"], ["-mig", "0"])
        for step in steps:
            self.same(*step)
            for listing in LISTS:
                self.same(*listing)

    def test_boards_of_both_numberings(self):
        for number, options in enumerate((
                ("--gpu", "A100-SXM4-80GB", "--gi-numbering", "half-swapped"),
                ("--gpu", self.newest), ("--gpu", "NVIDIA H100 NVL"))):
            with self.subTest(options=options):
                self.ours = self.machine(*options, "--mig", "on", name=f"ours{number}")
                self.theirs = self.machine(*options, "--mig", "on", name=f"theirs{number}")
                self.same("mig", "-cgi", "9,14,19,19", "-C")
                for listing in LISTS:
                    self.same(*listing)

    def test_refusals(self):
        self.twins("--gpu", "A30*2", "--gpu", "H100 PCIe")
        self.same("-mig", "1", "-i", "0,2")
        self.same("mig", "-cgi", "14,5", "-C")
        for refused in REFUSED:
            self.same(*refused)

    def test_processes_and_pending_mode(self):
        self.twins("--gpu", "A30*2")
        self.same("-mig", "1", "-i", "0")
        self.same("mig", "-cgi", "14,5", "-C", "-i", "0")
        for node in (self.ours, self.theirs):
            self.job(node, "0:3:0", "train.py")
            self.job(node, "0:2:0", "/usr/bin/python3.11")
            self.job(node, "1", "render")
        for command in ([], ["-mig", "1", "-i", "1"], ["mig", "-dci"], ["-r", "-i", "0"], ["-r"],
                        [], ["-mig", "0"], ["--query-compute-apps=pid,name,used_memory,gpu_uuid",
                                        "--format=csv"], []):
            self.same(*command)

    def test_lost_gpu(self):
        self.twins("--gpu", "A30*3", "--mig", "on")
        self.same("mig", "-cgi", "14", "-C")
        for node in (self.ours, self.theirs):
            self.succeeds(node.migemu("xid", "--gpu", "1", "79"))
        for command in (["-L"], [], ["-q"], ["-i", "1"], ["mig", "-lgi"]):
            self.same(*command)

    def test_queries(self):
        self.twins("--gpu", "A30", "--gpu", "H100 PCIe")
        self.same("-mig", "1", "-i", "0")
        self.same("mig", "-cgi", "14,5", "-C", "-i", "0")
        for fields in ("index,name,uuid,pci.bus_id,serial,driver_version,count",
                       "mig.mode.current,mig.mode.pending,memory.total,memory.used,memory.free",
                       "temperature.gpu,power.draw,utilization.gpu,ecc.mode.current,pstate"):
            for form in ("csv", "csv,noheader", "csv,noheader,nounits"):
                self.same(f"--query-gpu={fields}", f"--format={form}")
        for node in (self.ours, self.theirs):
            for place in ("0:3:0", "0:2:0", "1", "1"):
                self.job(node, place)
        for arguments in (["-q"], ["-q", "-x"], ["-q", "-i", "0"]):
            self.holds(*arguments)


class NvidiaSmi535(Life, Twins):
    """Enables MIG, creates, lists, destroys, waits for a reset while in use, resets; the texts of ours
    are the same byte for byte"""
    branch = "535"
    newest = "NVIDIA H800"


class NvidiaSmi550(Life, Twins):
    """Enables MIG, creates, lists, destroys, waits for a reset while in use, resets; the texts of ours
    are the same byte for byte"""
    branch = "550"


del Smi, Life, Twins  # not cases of their own

if __name__ == "__main__":
    tap.main()
