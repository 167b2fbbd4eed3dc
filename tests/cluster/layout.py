# SPDX-License-Identifier: Apache-2.0
"""What a test cluster consists of: its nodes, addresses, and where everything of it lies.

A cluster is one directory. `cluster.json` in it is this description; `log/`, `pki/` and `nodes/` are
on the machine's disk; `run/` is a tmpfs that only the cluster's own mount namespace sees.
"""
import dataclasses
import json
import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
DEFAULT_DIRECTORY = os.environ.get("MIGD_CLUSTER", "/tmp/migd-cluster")
PROGRAMS = pathlib.Path(os.environ.get("MIGD_KUBE", "~/.cache/migd-kube")).expanduser()
BUILD = pathlib.Path(os.environ.get("MIG_BUILD", SOURCE / "build")).resolve()

API_ADDRESS = "10.98.0.1"
SERVICE_ADDRESS = "10.96.0.1"
SERVICE_RANGE = "10.96.0.0/16"
PREFIX = 24
API_PORT = 443
API_URL = f"https://{API_ADDRESS}:{API_PORT}"

PROXY_PORT = 8443
PROXY_URL = f"https://{API_ADDRESS}:{PROXY_PORT}"

NODES_MAX = 9


@dataclasses.dataclass
class Worker:
    """One worker node: an emulated GPU host of its own."""
    name: str
    number: int
    gpus: list
    options: list = dataclasses.field(default_factory=list)

    @property
    def address(self):
        return f"10.98.0.{10 + self.number}"

    @property
    def pod_range(self):
        return f"10.244.{self.number}.0/24"

    @property
    def pod_gateway(self):
        return f"10.244.{self.number}.1"


class Cluster:
    def __init__(self, directory, workers=(), ident=""):
        self.directory = pathlib.Path(directory).resolve()
        self.workers = list(workers)
        self.ident = ident

    @classmethod
    def load(cls, directory):
        with open(pathlib.Path(directory) / "cluster.json", encoding="utf-8") as file:
            document = json.load(file)
        return cls(directory, [Worker(**one) for one in document["workers"]], document["ident"])

    def save(self):
        document = {"ident": self.ident,
                    "workers": [dataclasses.asdict(one) for one in self.workers]}
        path = self.directory / "cluster.json"
        path.with_suffix(".new").write_text(json.dumps(document, indent=1), encoding="utf-8")
        path.with_suffix(".new").rename(path)

    def path(self, *parts):
        return self.directory.joinpath(*parts)

    def machine(self, worker):
        """The directory of the worker's emulated GPUs."""
        return self.path("nodes", worker.name, "gpu")

    def driver_root(self, worker):
        return self.path("nodes", worker.name, "driver")

    def worker(self, name):
        for one in self.workers:
            if one.name == name:
                return one
        raise KeyError(f"no such node: '{name}' (there are: "
                       f"{', '.join(one.name for one in self.workers) or 'none'})")


def program(name):
    """A program of the cluster by name: those that were built, else those of the system."""
    built = PROGRAMS / "bin" / name
    return str(built) if built.exists() else name
