# SPDX-License-Identifier: Apache-2.0
"""Loads Slurm's gpu/nvml plugin as slurmd does and prints as JSON the GPUs that it finds.

slurmd itself cannot be asked without a controller: in 22.05 its -G leaves the plugin alone.
usage: slurm_host.py PLUGIN_DIR
"""
import ctypes
import json
import sys

Convert = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_void_p))


class NodeConfig(ctypes.Structure):
    _fields_ = [("cpu_count", ctypes.c_uint32), ("in_slurm_conf", ctypes.c_bool),
                ("machine_to_abstract", Convert)]


class Gres(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint32), ("count", ctypes.c_uint64),
                ("cpu_count", ctypes.c_uint32), ("cpus", ctypes.c_char_p),
                ("cpus_bitmap", ctypes.c_void_p), ("file", ctypes.c_char_p),
                ("links", ctypes.c_char_p), ("name", ctypes.c_char_p),
                ("type_name", ctypes.c_char_p), ("unique_id", ctypes.c_char_p)]


def load(folder):
    ctypes.CDLL("libnvidia-ml.so.1", mode=ctypes.RTLD_GLOBAL)
    slurm = ctypes.CDLL(f"{folder}/libslurmfull.so", mode=ctypes.RTLD_GLOBAL)
    slurm.slurm_xstrdup.restype = ctypes.c_void_p
    slurm.slurm_list_pop.restype = ctypes.POINTER(Gres)
    slurm.slurm_list_pop.argtypes = [ctypes.c_void_p]
    plugin = ctypes.CDLL(f"{folder}/gpu_nvml.so")
    plugin.gpu_p_get_system_gpu_list.restype = ctypes.c_void_p
    return slurm, plugin


def main():
    slurm, plugin = load(sys.argv[1])

    def keep(text, result):  # CPU numbers are the same on both sides
        result[0] = slurm.slurm_xstrdup(text)
        return 0

    config = NodeConfig(1024, True, Convert(keep))
    if plugin.init() != 0:
        sys.exit("the plugin does not start")
    found = plugin.gpu_p_get_system_gpu_list(ctypes.byref(config))
    rows = []
    entry = slurm.slurm_list_pop(found) if found else None
    while entry:
        one = entry.contents
        rows.append({"name": one.name.decode(), "type": one.type_name.decode(),
                     "file": one.file.decode(), "id": (one.unique_id or b"").decode(),
                     "count": one.count})
        entry = slurm.slurm_list_pop(found)
    print(json.dumps(rows))


main()
