#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the header that names the protocol between migd and migd-helper.

    gen-protocol-id.py OUTPUT VERSION FILE...

The name is the version and a checksum of the files that say how a message looks, so that no one has
to remember to count it up: two programs that were built of others do not work together.
"""
import pathlib
import sys
import zlib


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    output, version, *files = sys.argv[1:]
    checksum = 0
    for name in sorted(files, key=lambda one: pathlib.Path(one).name):
        checksum = zlib.crc32(pathlib.Path(name).read_bytes(), checksum)
    with open(output, "w", encoding="ascii") as file:
        file.write("/* SPDX-License-Identifier: Apache-2.0 */\n"
                   "/* Made by tools/gen-protocol-id.py. */\n"
                   f'#define MIG_PROTOCOL_ID "{version}-{checksum:08x}"\n')


if __name__ == "__main__":
    main()
