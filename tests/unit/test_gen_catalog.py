# SPDX-License-Identifier: Apache-2.0
"""tools/gen-catalog.py refuses facts that the C tables could not hold, and names them."""
import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import tap  # noqa: E402

GENERATOR = ROOT / "tools/gen-catalog.py"
MODELS = json.loads((ROOT / "facts/gpus.json").read_text(encoding="utf-8"))
TIMINGS = (ROOT / "facts/timings.tsv").read_text(encoding="utf-8")


class GenCatalog(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.models = copy.deepcopy(MODELS)
        self.a30 = next(model for model in self.models if model["name"] == "NVIDIA A30")
        self.profile = self.a30["gpu_instance_profiles"][2]  # 2g.12gb
        self.ci = self.profile["compute_instance_profiles"]

    def generate(self, what, text):
        source = pathlib.Path(self.folder.name) / "input"
        self.output = pathlib.Path(self.folder.name) / "output.c"
        source.write_text(text, encoding="utf-8")
        return subprocess.run([sys.executable, GENERATOR, what, source, self.output],
                              capture_output=True, text=True, timeout=60)

    def refused(self, *words, what="models", text=None):
        done = self.generate(what, json.dumps(self.models) if text is None else text)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertFalse(self.output.exists())
        self.assertNotIn("Traceback", done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_the_facts_are_accepted(self):
        self.assertEqual(self.generate("models", json.dumps(self.models)).returncode, 0)
        self.assertEqual(self.generate("timings", TIMINGS).returncode, 0)

    def test_start_past_the_end(self):
        self.profile["placements"]["starts"] = [0, 3]
        self.refused("NVIDIA A30: 2g.12gb", "start 3 and size 2 go past the end at 4")

    def test_starts_not_ascending(self):
        self.profile["placements"]["starts"] = [2, 0]
        self.refused("2g.12gb", "not ascending")

    def test_placements_missing_on_a_known_board(self):
        self.profile["placements"] = None
        self.refused("2g.12gb", "placements")

    def test_two_defaults(self):
        self.ci[0]["default"] = True
        self.refused("2g.12gb", "2 default compute-instance profiles")

    def test_no_default(self):
        self.ci[1]["default"] = False
        self.refused("2g.12gb", "0 default compute-instance profiles")

    def test_profile_name_twice(self):
        self.a30["gpu_instance_profiles"][0]["name"] = "1g.6gb+me"
        self.a30["gpu_instance_profiles"][0]["variant"] = "me"
        self.refused("NVIDIA A30", "'1g.6gb+me' occurs twice")

    def test_enum_twice(self):
        self.profile["enum_value"] = 0
        self.refused("NVIDIA A30", '"enum_value" 0 occurs twice')

    def test_name_of_another_model(self):
        self.a30["aliases"].append("h100_pcie")
        self.refused("h100 pcie", "NVIDIA A30")

    def test_name_and_variant_disagree(self):
        self.profile["variant"] = "gfx"
        self.refused("2g.12gb", '+gfx')

    def test_name_and_slices_disagree(self):
        self.profile["slice_count"] = 3
        self.refused("2g.12gb", "3 compute slices")

    def test_part_of_another_profile(self):
        self.ci[0]["name"] = "1c.2g.10gb"
        self.refused("1c.2g.10gb", "not a part of 2g.12gb")

    def test_more_compute_instances_than_slices(self):
        self.ci[0]["max_instances"] = 3
        self.refused("1c.2g.12gb", "3 x 1 slices do not fit in 2")

    def test_limits(self):
        for key, value in (("memory_slices", 33), ("compute_slices", 0), ("max_mig_devices", 400),
                           ("total_memory_mib", -1), ("sm_total", "56"), ("memory_slices", 4.0),
                           ("mig_enable_needs_gpu_reset", None), ("architecture", "volta"),
                           ("confidence", "certain"), ("compute_capability", "8")):
            with self.subTest(key):
                self.models = copy.deepcopy(MODELS)
                self.models[0][key] = value
                self.refused("NVIDIA A30", key)

    def test_missing_field(self):
        del self.profile["variant"]
        self.refused("2g.12gb", '"variant" is missing')

    def test_pci_identity_that_does_not_add_up(self):
        self.a30["pci"][0]["nvml_pci_device_id"] = "0x20B810DE"
        self.refused("NVIDIA A30", "nvml_pci_device_id")

    def test_not_json(self):
        self.refused("input", text="{")
        self.refused("not a list", text="{}")

    def test_timings(self):
        head, first, *rest = TIMINGS.splitlines(keepends=True)
        self.refused(":1: the columns", what="timings", text=first)
        self.refused("occurs twice", what="timings", text=head + first + first)
        self.refused(":2: 1 cells", what="timings", text=head + "NVIDIA A30\n")
        self.refused(":2", "create_ms", what="timings", text=head + first.replace("110", "0.11"))
        self.refused("no rows", what="timings", text=head)

    def test_usage(self):
        done = subprocess.run([sys.executable, GENERATOR, "models"], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage", done.stderr)


if __name__ == "__main__":
    tap.main()
