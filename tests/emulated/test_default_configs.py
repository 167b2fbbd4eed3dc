# SPDX-License-Identifier: Apache-2.0
"""Default config files on every GPU of the catalogue: each config is applied or refused exactly as
the facts say it can be, and what is applied needs one pass in which no call fails.

The files are our own and, where the Go module cache has nvidia-mig-parted, the one that it ships
(GOMODCACHE, or MIG_DEFAULT_CONFIGS with paths). What can be is worked out here, from
facts/gpus.json, by trying placements one by one.
"""
import functools
import glob
import json
import os
import re
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap  # noqa: E402
from node import CONFIG, SOURCE, Node  # noqa: E402

FITS, NO_MATCH, NO_FIT = 0, 3, 4  # exit codes
CHANGES = re.compile(r"(Create|Destroy)\w*Instance|SetMigMode")


def shipped_files():
    if "MIG_DEFAULT_CONFIGS" in os.environ:
        return os.environ["MIG_DEFAULT_CONFIGS"].split(":")
    cache = os.environ.get("GOMODCACHE")
    if not cache:
        try:
            cache = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True,
                                   timeout=20, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return []
    found = glob.glob(cache + "/github.com/!n!v!i!d!i!a/mig-parted@*/deployments/systemd/"
                              "config-default.yaml")
    return sorted(found)[-1:]


def read_configs(path):
    """{config: [(filters, enabled, {profile: count})]} of a file in the usual layout."""
    configs, entries = {}, None
    with open(path, encoding="utf-8") as text:
        content = re.sub(r",\n\s*", ", ", re.sub(r"(^|\s)#.*", "", text.read(), flags=re.M))
    for line in content.splitlines():
        words = line.replace("- ", "  ", 1).strip()
        depth = len(line) - len(line.lstrip(" "))
        if depth == 2 and words.endswith(":") and not line.lstrip().startswith("-"):
            entries = configs.setdefault(words[:-1].strip('"'), [])
        if entries is None or not words:
            continue
        if line.lstrip().startswith("- "):
            entries.append([[], None, {}])
        key, _, value = words.partition(":")
        if key == "device-filter":
            entries[-1][0] = re.findall(r"0x[0-9A-Fa-f]{8}", value)
        elif key == "mig-enabled":
            entries[-1][1] = value.strip() == "true"
        elif re.match(r'"?\d+(c\.\d+)?g\.', key):
            entries[-1][2][key.strip('"')] = int(value)
    return configs


def split_name(name):
    """Slices, attributes and memory of a profile name."""
    found = re.fullmatch(r"(\d+)g\.(\d+)gb(.*)", name)
    return (found.group(1), found.group(3)), int(found.group(2))


def is_drift(a, b):
    return abs(a - b) * 100 <= max(a, b) * 2 or (abs(a - b) == 1 and max(a, b) >= 10)


def find_profile(gpu, name):
    kind, memory = split_name(name)
    same = [(split_name(one["name"])[1], one) for one in gpu["gpu_instance_profiles"]
            if split_name(one["name"])[0] == kind]
    exact = [one for known, one in same if known == memory]
    near = [one for known, one in same if is_drift(known, memory)]
    return exact[0] if exact else near[0] if len(near) == 1 else None


def media_allow(variants):
    """At most one instance has the shared media engines; beside all of them only those with none."""
    if sum(variant in ("me", "me.all") for variant in variants) > 1:
        return False
    return "me.all" not in variants or all(v in ("me.all", "no-me") for v in variants)


def can_place(profiles):
    """Tries every start of every instance."""
    @functools.lru_cache(None)
    def place(index, taken):
        if index == len(profiles):
            return True
        size, starts = profiles[index]
        for start in starts:
            mask = (1 << size) - 1 << start
            if not taken & mask and place(index + 1, taken | mask):
                return True
        return False
    return place(0, 0)


def expected(gpu, entries):
    device = gpu["pci"][0]["nvml_pci_device_id"].lower()
    matching = [one for one in entries if not one[0] or device in [f.lower() for f in one[0]]]
    if not matching:
        return NO_MATCH
    _, enabled, wanted = matching[-1]
    if not enabled:
        return FITS
    instances = []
    for name, count in wanted.items():
        profile = find_profile(gpu, name)
        if not profile:
            return NO_FIT
        instances += [profile] * count
    if not media_allow([one["variant"] for one in instances]):
        return NO_FIT
    placements = sorted(((one["placements"]["size"], tuple(one["placements"]["starts"]))
                         for one in instances), reverse=True)
    return FITS if can_place(tuple(placements)) else NO_FIT


def catalogue():
    with open(os.path.join(SOURCE, "facts/gpus.json"), encoding="utf-8") as text:
        return [gpu for gpu in json.load(text)
                if gpu["pci"] and gpu["memory_slices"] and gpu["gpu_instance_profiles"]]


def failed_changes(node):
    """Calls that change something and did not succeed, of those since the last look."""
    lines = node.migemu("trace").stdout.splitlines()
    return [line for line in lines if CHANGES.search(line) and "= SUCCESS" not in line]


def problems_on(gpu, path, configs):
    """What goes wrong when all configs are applied to one GPU, each after the one before."""
    problems = []
    with Node(gpu["name"].split(" (")[0]) as node:
        for name, entries in configs.items():
            wanted = expected(gpu, entries)
            done = node.migctl("apply", "-f", path, "-c", name)
            if done.returncode != wanted:
                problems.append(f"{gpu['name']}: {name}: exit {done.returncode}, expected {wanted}: "
                                f"{done.stderr}")
            elif wanted == FITS and failed_changes(node):
                problems.append(f"{gpu['name']}: {name}: " + "; ".join(failed_changes(node)))
    return problems


class DefaultConfigs(unittest.TestCase):
    maxDiff = None

    def check(self, path):
        configs = read_configs(path)
        self.assertGreater(len(configs), 80)
        gpus = catalogue()
        self.assertGreater(len(gpus), 25)
        with ThreadPoolExecutor(max_workers=2) as pool:
            results = list(pool.map(lambda gpu: problems_on(gpu, path, configs), gpus))
        self.assertEqual([problem for result in results for problem in result], [])
        return configs, gpus

    def test_our_file(self):
        configs, gpus = self.check(CONFIG)
        # and every GPU has its balanced config in it
        for gpu in gpus:
            self.assertEqual(expected(gpu, configs["all-balanced"]), FITS, gpu["name"])

    def test_the_file_that_nvidia_mig_parted_ships(self):
        files = shipped_files()
        if not files:
            self.skipTest("no nvidia-mig-parted in the Go module cache")
        for path in files:
            self.check(path)


if __name__ == "__main__":
    tap.main()
