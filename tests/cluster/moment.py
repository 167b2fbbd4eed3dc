# SPDX-License-Identifier: Apache-2.0
"""The moment at which something happens to migd: see moment.c, which this talks to."""
import os
import pathlib
import re
import signal
import struct

from layout import BUILD, SOURCE

LIBRARY = BUILD / "tests/cluster/libmoment.so"
TEXT_AT, SIZE = 16, 4096


def enum(header, name):
    """The members of an enum of the product, as its log names them: READ_NODE is read-node."""
    text = (SOURCE / header).read_text(encoding="utf-8")
    body = re.search(rf"^enum {name} {{(.*?)^}};", text, re.M | re.S).group(1)
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    members = [word for word in re.findall(r"\bMIG_[A-Z_]+\b", body) if not word.endswith("_COUNT")]
    prefix = os.path.commonprefix(members)
    return [one[len(prefix):].lower().replace("_", "-") for one in members]


def field(pid, name):
    """A line of /proc/PID/status; None when there is no such process."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(name + ":"):
                return line.split(":")[1].strip()
    except OSError:
        pass
    return None


class Moment:
    """A file on the machine; migd started with `environment` obeys it."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.write_bytes(bytes(SIZE))
        self.path.chmod(0o666)
        self.environment = {"LD_PRELOAD": str(LIBRARY), "MIGD_MOMENT": str(self.path)}

    def write(self, at, data):
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(data)

    def stop_at(self, text):
        """The next process that logs this text stops then."""
        data = text.encode() + b"\0"
        self.write(TEXT_AT + 1, data[1:])
        self.write(TEXT_AT, data[:1])

    def jump(self, real_s=0, monotonic_s=0):
        """Clocks are ahead by this from now on."""
        self.write(0, struct.pack("=qq", real_s, monotonic_s))


def family(supervisor):
    """{agent, helper, supervisor: pid} of a migd that runs."""
    found = {"supervisor": supervisor}
    children = pathlib.Path(f"/proc/{supervisor}/task/{supervisor}/children")
    for pid in children.read_text(encoding="utf-8").split():
        if field(pid, "Name") == "migd-helper":
            found["helper"] = int(pid)
        elif int(field(pid, "CapEff") or "1", 16) == 0:  # just forked, it is neither yet
            found["agent"] = int(pid)
    return found


def go_on(pid):
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
