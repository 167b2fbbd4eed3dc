#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every number of every GPU that can be emulated: what NVML says, against facts/gpus.json.

Asked through ctypes, with layouts taken from facts/nvml-abi.tsv: from the JSON to a client's
struct, neither the project's generator nor its header is trusted.
"""
import ctypes
import functools
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import reference_model as reference  # noqa: E402
import tap  # noqa: E402
from nvml_worker import LIBRARY, create  # noqa: E402

ABI = reference.FACTS.parent / "nvml-abi.tsv"
ENUMS = 19  # profile numbers to ask for: all, and one past the end
TEXT = 96  # bytes of a name
PER_NODE = 17


@functools.lru_cache(None)
def layout(struct):
    """(size, {field: (offset, size)})"""
    fields = {}
    for line in ABI.read_text(encoding="utf-8").splitlines():
        columns = line.split("\t")
        if columns[0] == struct:
            fields[columns[1]] = (int(columns[2]), int(columns[3]))
    return fields.pop("(sizeof)")[1], fields


class Struct:
    """Room for one of NVML's structs, read by the offsets in the facts."""

    def __init__(self, name, version=None):
        self.size, self.fields = layout(name)
        self.bytes = (ctypes.c_ubyte * self.size)()
        if version:
            word = self.size | version << 24
            self.bytes[0:4] = word.to_bytes(4, "little")

    def __getitem__(self, field):
        offset, size = self.fields[field]
        raw = bytes(self.bytes[offset:offset + size])
        if field == "name":
            return raw.split(b"\0")[0].decode()
        return int.from_bytes(raw, "little")


def known(value):
    """A figure that the sources do not give shows as 0."""
    return 0 if value is None else value


@functools.lru_cache(None)
def nvml():
    return ctypes.CDLL(str(LIBRARY))


@unittest.skipIf(b"__asan_init" in LIBRARY.read_bytes(),
                 "Python cannot load a library that is built with the address sanitizer")
class Numbers(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="migemu-test-")
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def ok(self, name, *arguments):
        self.assertEqual(getattr(nvml(), name)(*arguments), 0, name)

    def check_gi_profile(self, handle, enum, row):
        info = Struct("nvmlGpuInstanceProfileInfo_v2_t", 2)
        code = nvml().nvmlDeviceGetGpuInstanceProfileInfoV(handle, enum, info.bytes)
        if row is None:
            self.assertEqual(code, 3 if enum < 18 else 2, f"profile number {enum}")
            return
        self.assertEqual(code, 0, row["name"])
        memory = row["memory_mib"] or row["memory_mib_estimate"]
        self.assertEqual(
            {field: info[field] for field in info.fields if field != "version"},
            {"id": row["profile_id"], "isP2pSupported": int(row["p2p"]),
             "name": "MIG " + row["name"], "sliceCount": row["slice_count"],
             "instanceCount": row["max_instances"],
             "multiprocessorCount": known(row["sm_count"]),
             "copyEngineCount": known(row["copy_engines"]), "decoderCount": known(row["decoders"]),
             "encoderCount": known(row["encoders"]), "jpegCount": known(row["jpegs"]),
             "ofaCount": known(row["ofas"]), "memorySizeMB": memory}, row["name"])
        self.check_placements("nvmlDeviceGetGpuInstancePossiblePlacements_v2", handle,
                              row["profile_id"], row["placements"])

    def check_placements(self, function, handle, number, expected):
        places, count = (ctypes.c_uint * 64)(), ctypes.c_uint(0)
        self.ok(function, handle, number, places, ctypes.byref(count))
        self.assertEqual([tuple(places[2 * i:2 * i + 2]) for i in range(count.value)],
                         [(start, expected["size"]) for start in expected["starts"]])

    def check_ci_profiles(self, handle, row):
        """The compute instances of each kind of GPU instance, on one that is made for it."""
        gi = ctypes.c_void_p()
        self.ok("nvmlDeviceCreateGpuInstance", handle, row["profile_id"], ctypes.byref(gi))
        for ci in row["compute_instance_profiles"]:
            info = Struct("nvmlComputeInstanceProfileInfo_v2_t", 2)
            self.ok("nvmlGpuInstanceGetComputeInstanceProfileInfoV", gi, ci["enum_value"], 0,
                    info.bytes)
            number = ci["enum_value"] if ci["profile_id"] is None else ci["profile_id"]
            self.assertEqual(
                {field: info[field] for field in info.fields if field != "version"},
                {"id": number, "name": "MIG " + ci["name"], "sliceCount": ci["slice_count"],
                 "instanceCount": ci["max_instances"],
                 "multiprocessorCount": known(ci["sm_count"]),
                 "sharedCopyEngineCount": known(row["copy_engines"]),
                 "sharedDecoderCount": known(row["decoders"]),
                 "sharedEncoderCount": known(row["encoders"]),
                 "sharedJpegCount": known(row["jpegs"]), "sharedOfaCount": known(row["ofas"])},
                ci["name"])
            self.check_placements("nvmlGpuInstanceGetComputeInstancePossiblePlacements", gi,
                                  number, ci["placements"])
        self.check_mig_device(handle, gi, row)
        self.ok("nvmlGpuInstanceDestroy", gi)

    def check_mig_device(self, handle, gi, row):
        """What the MIG device that fills the instance says of itself."""
        ci = next(ci for ci in row["compute_instance_profiles"] if ci["default"])
        instance, device = ctypes.c_void_p(), ctypes.c_void_p()
        self.ok("nvmlGpuInstanceCreateComputeInstance", gi, ci["enum_value"],
                ctypes.byref(instance))
        self.ok("nvmlDeviceGetMigDeviceHandleByIndex", handle, 0, ctypes.byref(device))
        attributes, memory = Struct("nvmlDeviceAttributes_t"), Struct("nvmlMemory_t")
        self.ok("nvmlDeviceGetAttributes_v2", device, attributes.bytes)
        self.ok("nvmlDeviceGetMemoryInfo", device, memory.bytes)
        mib = row["memory_mib"] or row["memory_mib_estimate"]
        self.assertEqual((attributes["multiprocessorCount"], attributes["memorySizeMB"],
                          attributes["gpuInstanceSliceCount"],
                          attributes["computeInstanceSliceCount"]),
                         (known(ci["sm_count"]), mib, row["slice_count"], ci["slice_count"]))
        self.assertEqual((memory["total"] >> 20, memory["used"] + memory["free"]),
                         (mib, memory["total"]), row["name"])
        name = ctypes.create_string_buffer(TEXT)
        self.ok("nvmlDeviceGetName", device, name, TEXT)
        self.assertTrue(name.value.decode().endswith(" MIG " + row["name"]), name.value)
        self.ok("nvmlComputeInstanceDestroy", instance)

    def check_gpu(self, index, gpu):
        handle, count = ctypes.c_void_p(), ctypes.c_uint(0)
        self.ok("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(handle))
        name, pci = ctypes.create_string_buffer(TEXT), Struct("nvmlPciInfo_t")
        self.ok("nvmlDeviceGetName", handle, name, TEXT)
        self.ok("nvmlDeviceGetPciInfo_v3", handle, pci.bytes)
        self.assertEqual(name.value.decode(), gpu.name)
        self.assertIn(pci["pciDeviceId"], [int(one["nvml_pci_device_id"], 16)
                                           for one in gpu.row["pci"]])
        rows = {row["enum_value"]: row for row in gpu.row["gpu_instance_profiles"]}
        for enum in range(ENUMS):
            self.check_gi_profile(handle, enum, rows.get(enum))
        activation = ctypes.c_int(-1)
        self.ok("nvmlDeviceSetMigMode", handle, 1, ctypes.byref(activation))
        self.ok("nvmlDeviceGetMaxMigDeviceCount", handle, ctypes.byref(count))
        self.assertEqual((activation.value, count.value), (0, gpu.max_devices))
        for row in rows.values():
            self.check_ci_profiles(handle, row)

    def test_every_gpu(self):
        gpus = reference.catalogue()
        self.assertGreater(len(gpus), 30)
        for first in range(0, len(gpus), PER_NODE):
            node = os.path.join(self.scratch, str(first))
            create(node, gpus[first:first + PER_NODE])
            os.environ["MIGEMU_NODE"] = node
            self.ok("nvmlInit_v2")
            for index, gpu in enumerate(gpus[first:first + PER_NODE]):
                with self.subTest(gpu=gpu.name):
                    self.check_gpu(index, gpu)
            self.ok("nvmlShutdown")


if __name__ == "__main__":
    tap.main()
