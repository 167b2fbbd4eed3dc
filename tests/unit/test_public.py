# SPDX-License-Identifier: Apache-2.0
"""What libmig shows to others: each public header stands alone, as C99 and as C++17, and the shared
library exports what the headers declare, neither more nor less."""
import os
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402

BUILD = os.environ.get("MIG_BUILD", "build")
SOURCE = os.environ.get("MIG_SOURCE", ".")
INCLUDE = os.path.join(SOURCE, "include")
HEADERS = sorted(os.listdir(os.path.join(INCLUDE, "mig")))


def compile_alone(header, compiler, language, standard):
    """Compiles a file that includes nothing but the header, twice."""
    text = f"#include <mig/{header}>\n" * 2
    return subprocess.run([compiler, "-x", language, f"-std={standard}", "-pedantic", "-Wall",
                           "-Wextra", "-Werror", "-fsyntax-only", "-I", INCLUDE, "-"], input=text,
                          capture_output=True, text=True, timeout=60, check=False)


def declared():
    names = set()
    for header in HEADERS:
        with open(os.path.join(INCLUDE, "mig", header), encoding="utf-8") as text:
            text = re.sub(r"/\*.*?\*/", "", text.read(), flags=re.S)
        names |= set(re.findall(r"^MIG_PUBLIC\s[^;]*?\b(mig_\w+)\(", text, re.M))
    return names


class Public(unittest.TestCase):
    def check_headers(self, compiler, language, standard):
        if not shutil.which(compiler):
            self.skipTest(f"there is no {compiler}")
        for header in HEADERS:
            done = compile_alone(header, compiler, language, standard)
            self.assertEqual((done.returncode, done.stderr), (0, ""), header)

    def test_headers_as_c99(self):
        self.check_headers("cc", "c", "c99")

    def test_headers_as_cxx17(self):
        self.check_headers("c++", "c++", "c++17")

    def test_exports(self):
        if not shutil.which("nm"):
            self.skipTest("there is no nm")
        lines = subprocess.run(["nm", "-D", "--defined-only", os.path.join(BUILD, "libmig.so.0")],
                               capture_output=True, text=True, timeout=60, check=True).stdout
        exported = {line.split()[-1].split("@")[0] for line in lines.splitlines()
                    if line.split()[-2] != "A"}
        if any(name.startswith(("__asan", "__tsan", "__sanitizer", "__odr")) for name in exported):
            self.skipTest("a sanitizer adds symbols of its own")
        self.assertEqual(exported, declared())


if __name__ == "__main__":
    tap.main()
