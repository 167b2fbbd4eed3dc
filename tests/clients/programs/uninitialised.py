# SPDX-License-Identifier: Apache-2.0
"""Calls functions of a libnvidia-ml before nvmlInit, each in a child of its own, and prints as JSON what each
returns for zeros and for room to write to. A crash shows as the negative number of its signal.

usage: uninitialised.py LIBRARY FUNCTION...
"""
import ctypes
import json
import os
import sys

ARGUMENTS = 9
ROOM = 1 << 16


def call(function, arguments):
    pid = os.fork()
    if pid == 0:
        os._exit(function(*arguments) & 0xff)  # 255 stands for -1, and 231 for 999
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main():
    library = ctypes.CDLL(sys.argv[1])
    room = [ctypes.create_string_buffer(ROOM) for _ in range(ARGUMENTS)]
    seen = {"codes": {}, "texts": {}}
    for name in sys.argv[2:]:
        function = getattr(library, name)
        seen["codes"][name] = [call(function, [ctypes.c_void_p(0)] * ARGUMENTS),
                               call(function, [ctypes.byref(buffer) for buffer in room])]
    library.nvmlErrorString.restype = ctypes.c_char_p
    for number in (*range(-3, 64), 255, 998, 999, 1000, 2**31 - 1):
        seen["texts"][number] = library.nvmlErrorString(number).decode()
    version = ctypes.create_string_buffer(80)
    seen["version"] = [library.nvmlSystemGetNVMLVersion(version, size) for size in (0, 5, 80)]
    seen["version"].append(version.value.decode())
    seen["init"] = [library.nvmlInit_v2(), library.nvmlInit(), library.nvmlInitWithFlags(0),
                    library.nvmlShutdown(), library.nvmlShutdown()]
    print(json.dumps(seen))


main()
