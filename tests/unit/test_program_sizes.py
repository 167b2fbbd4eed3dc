# SPDX-License-Identifier: Apache-2.0
"""What the build records of its programs: sizes, and that they bring no runtime of their own."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MIG_BUILD", "build"))
PROGRAMS = {"migd": "src/daemon/migd", "migd-helper": "src/daemon/migd-helper",
            "migctl": "src/cli/migctl"}
# what ARCHITECTURE.md names below "Programs", and what sanitizers add
KNOWN = ("libc.", "libm.", "libmig.", "libuv.", "libnghttp2.", "libssl.", "libcrypto.",
         "libprotobuf-c.", "libmicrohttpd.", "libjansson.", "libyaml-", "libsmartcols.",
         "libasan.", "libubsan.", "libtsan.", "ld-linux")


class ProgramSizes(unittest.TestCase):
    def setUp(self):
        lines = (BUILD / "sizes.tsv").read_text(encoding="utf-8").splitlines()
        self.rows = {name: (int(size), libraries.split())
                     for name, size, libraries in (line.split("\t") for line in lines)}

    def test_O2_sizes_are_those_of_the_programs(self):
        for name, path in PROGRAMS.items():
            with tempfile.NamedTemporaryFile() as file:
                subprocess.run(["strip", "-o", file.name, BUILD / path], check=True)
                self.assertEqual(self.rows[name][0], os.stat(file.name).st_size, name)
        print("# stripped: " + ", ".join(f"{name} {size // 1024} KiB"
                                         for name, (size, _) in self.rows.items()))

    def test_O2_libraries_are_those_of_the_distribution(self):
        for name, (_, libraries) in self.rows.items():
            unknown = [one for one in libraries if not one.startswith(KNOWN)]
            self.assertEqual(unknown, [], name)
        # one program under two names, not two
        self.assertEqual((BUILD / "src/daemon/nvidia-mig-manager").resolve(),
                         (BUILD / PROGRAMS["migd"]).resolve())

    def test_O2_no_runtime_of_a_language(self):
        for name, path in PROGRAMS.items():
            sections = subprocess.run(["objdump", "-h", BUILD / path], capture_output=True,
                                      text=True, check=True).stdout
            self.assertNotIn(".go.buildinfo", sections, name)


if __name__ == "__main__":
    tap.main()
