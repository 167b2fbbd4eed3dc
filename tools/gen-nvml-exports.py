#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the linker's version script of the emulated library of one driver branch.

    gen-nvml-exports.py OUTPUT nvml-branches.tsv nvml-functions.tsv BRANCH

It exports what that branch of NVIDIA's library does, without symbol versions, and the one symbol of
our own that nvidia-smi for emulated hosts needs.
"""
import csv
import sys

PRIVATE = "migemu_reset_gpu"


def read(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    output, branches, functions, branch = sys.argv[1:]
    since = {row["symbol"]: int(row["since"]) for row in read(branches)}
    known = {row["symbol"] for row in read(functions)}
    if known != set(since):
        sys.exit(f"{branches}: not the symbols of {functions}: {sorted(known ^ set(since))}")
    symbols = sorted(symbol for symbol in since if since[symbol] <= int(branch))
    if not symbols or int(branch) not in since.values():
        sys.exit(f"{branches}: branch {branch} is not listed")
    with open(output, "w", encoding="utf-8") as file:
        file.write("{\n  global:\n" + "".join(f"    {one};\n" for one in [*symbols, PRIVATE]) +
                   "  local: *;\n};\n")


if __name__ == "__main__":
    main()
