# SPDX-License-Identifier: Apache-2.0
"""A cgroup of the cluster's own in every hierarchy of the machine, v1 or v2.

Everything a cluster starts is below directories of one name, so that what is left is found by name.
On v1 they are below the caller's own cgroups; on v2 at the top, because a cgroup with processes
in it cannot hand its controllers down.
"""
import os
import pathlib
import signal
import time

PREFIX = "migd-cluster-"
V2_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io")
WAIT_S = 20


def mounts():
    """Yields (mount point, root inside the hierarchy, kind, controllers) of each hierarchy."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, right = line.rstrip().split(" - ")
            kind, _, options = right.split(" ", 2)
            if kind == "cgroup2":
                yield pathlib.Path(left.split()[4]), left.split()[3], kind, ()
            elif kind == "cgroup":
                names = [word for word in options.split(",") if word not in ("rw", "ro")
                         and not word.startswith(("release_agent", "clone_children", "xattr"))]
                yield pathlib.Path(left.split()[4]), left.split()[3], kind, tuple(names)


def own_paths():
    """The caller's cgroup by hierarchy: {controllers: path}, () for v2."""
    paths = {}
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip().split(":", 2)
            paths[frozenset(controllers.split(",")) if controllers else frozenset()] = path
    return paths


def is_v2_only():
    return not any(kind == "cgroup" for _, _, kind, _ in mounts())


def parents():
    """Yields the directory in which the cluster's own is made, per hierarchy."""
    paths = own_paths()
    for point, root, kind, controllers in mounts():
        path = paths.get(frozenset(controllers), "/")
        if kind == "cgroup2" or not path.startswith(root):
            yield point
        else:
            yield point / os.path.relpath(path, root)


def make(name):
    """Makes the cgroup NAME (may have slashes) everywhere; returns its directories."""
    made = []
    for parent in parents():
        directory = parent
        for part in name.split("/"):
            hand_down(directory)
            directory = directory / part
            directory.mkdir(exist_ok=True)
            inherit_cpuset(directory)
        made.append(directory)
    return made


def hand_down(directory):
    control = directory / "cgroup.subtree_control"
    if not control.exists():
        return
    there = (directory / "cgroup.controllers").read_text(encoding="utf-8").split()
    for one in V2_CONTROLLERS:
        if one in there:
            try:
                control.write_text(f"+{one}", encoding="utf-8")
            except OSError:
                pass  # said by the kubelet, if it needs it


def inherit_cpuset(directory):
    """A new v1 cpuset is empty, and takes no process until it is filled."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = directory / name
        if path.exists() and not (directory / "cgroup.controllers").exists() \
                and not path.read_text(encoding="utf-8").strip():
            path.write_text((directory.parent / name).read_text(encoding="utf-8"),
                            encoding="utf-8")


def enter(directories):
    """Moves the calling process."""
    for directory in directories:
        (directory / "cgroup.procs").write_text("0", encoding="utf-8")


def find(ident=""):
    """All top directories of clusters (of one, when named) in all hierarchies."""
    found = []
    for point, _, _, _ in mounts():
        for path, names, _ in os.walk(point):
            for name in list(names):
                if name.startswith(PREFIX + ident):
                    found.append(pathlib.Path(path) / name)
                    names.remove(name)
    return found


def processes(top):
    pids = set()
    for path, _, files in os.walk(top):
        if "cgroup.procs" in files:
            try:
                text = pathlib.Path(path, "cgroup.procs").read_text(encoding="utf-8")
            except OSError:
                continue
            pids.update(int(word) for word in text.split() if word != "0")
    return pids


def remove(top):
    """Ends what still runs in there and removes it; False when that was not possible in time."""
    deadline = time.monotonic() + WAIT_S
    while top.exists() and time.monotonic() < deadline:
        for pid in processes(top) - {os.getpid()}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for path, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                pass
        if top.exists():
            time.sleep(0.05)
    return not top.exists()
