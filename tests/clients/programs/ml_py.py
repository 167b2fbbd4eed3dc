# SPDX-License-Identifier: Apache-2.0
"""A small MIG manager over nvidia-ml-py: prints what it did as JSON. usage: ml_py.py MIGEMU NODE"""
import ctypes
import json
import subprocess
import sys
import time

import pynvml as nvml

seen = {"errors": {}}


def refused(name, call, *arguments):
    try:
        call(*arguments)
        seen["errors"][name] = 0
    except nvml.NVMLError as error:
        seen["errors"][name] = error.value


def migemu(*words):
    out = subprocess.run([sys.argv[1], *words], check=True, capture_output=True, text=True).stdout
    return out


def profiles(gpu):
    found = {}
    for number in range(nvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        try:
            info = nvml.nvmlDeviceGetGpuInstanceProfileInfo(gpu, number)
        except nvml.NVMLError_NotSupported:
            continue
        except nvml.NVMLError_InvalidArgument:
            break
        found[info.name] = (info.id, info.instanceCount, info.memorySizeMB)
    return found


def create(gpu, profile, start, compute):
    place = nvml.c_nvmlGpuInstancePlacement_t(start=start[0], size=start[1])
    gi = nvml.nvmlDeviceCreateGpuInstanceWithPlacement(gpu, profile, ctypes.byref(place))
    return gi, nvml.nvmlGpuInstanceCreateComputeInstance(gi, compute)


def mig_devices(gpu):
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except nvml.NVMLError_NotFound:
            return


def describe(device):
    uuid = nvml.nvmlDeviceGetUUID(device)
    has = nvml.nvmlDeviceGetAttributes(device)
    again = nvml.nvmlDeviceGetHandleByUUID(uuid)
    parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device)
    memory = nvml.nvmlDeviceGetMemoryInfo(device, version=nvml.nvmlMemory_v2)
    return {"name": nvml.nvmlDeviceGetName(device), "uuid": uuid,
            "gi": nvml.nvmlDeviceGetGpuInstanceId(device),
            "ci": nvml.nvmlDeviceGetComputeInstanceId(device),
            "sms": has.multiprocessorCount, "memory": has.memorySizeMB,
            "total": memory.total >> 20, "free": memory.free >> 20,
            "same": nvml.nvmlDeviceGetUUID(again) == uuid,
            "parent": nvml.nvmlDeviceGetIndex(parent),
            "processes": [(one.pid, one.usedGpuMemory >> 20, one.gpuInstanceId,
                           one.computeInstanceId)
                          for one in nvml.nvmlDeviceGetComputeRunningProcesses(device)]}


def watch(gpu, node):
    """Waits for nothing, then for an XID of an instance."""
    events = nvml.nvmlEventSetCreate()
    wanted = nvml.nvmlDeviceGetSupportedEventTypes(gpu) & nvml.nvmlEventTypeXidCriticalError
    nvml.nvmlDeviceRegisterEvents(gpu, wanted, events)
    before = time.monotonic()
    refused("wait", nvml.nvmlEventSetWait, events, 300)
    seen["waited"] = time.monotonic() - before
    migemu("xid", node, "--gpu", "0", "--gi", "2", "--ci", "0", "94")
    data = nvml.nvmlEventSetWait(events, 5000)
    seen["event"] = (data.eventType, data.eventData, data.gpuInstanceId, data.computeInstanceId)
    nvml.nvmlEventSetFree(events)


def main():
    node = sys.argv[2]
    refused("early", nvml.nvmlDeviceGetCount)
    nvml.nvmlInit()
    seen["driver"] = nvml.nvmlSystemGetDriverVersion()
    seen["count"] = nvml.nvmlDeviceGetCount()
    gpu = nvml.nvmlDeviceGetHandleByIndex(0)
    seen["profiles_off"] = profiles(gpu)
    refused("create_off", nvml.nvmlDeviceCreateGpuInstance, gpu, 19)
    seen["activation"] = nvml.nvmlDeviceSetMigMode(gpu, nvml.NVML_DEVICE_MIG_ENABLE)
    seen["mode"] = nvml.nvmlDeviceGetMigMode(gpu)
    half, compute = create(gpu, 9, (4, 4), 2)
    create(gpu, 19, (0, 1), 0)
    refused("taken", create, gpu, 19, (0, 1), 0)
    refused("unaligned", create, gpu, 9, (2, 4), 2)
    migemu("job", "start", node, "--on", "0:2:0", "--memory", "2G", "--name", "train.py")
    seen["devices"] = [describe(device) for device in mig_devices(gpu)]
    seen["left"] = nvml.nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, 14)
    refused("in_use", nvml.nvmlComputeInstanceDestroy, compute)
    refused("has_compute", nvml.nvmlGpuInstanceDestroy, half)
    watch(gpu, node)  # an XID 94 ends the instance's processes
    nvml.nvmlComputeInstanceDestroy(compute)
    nvml.nvmlGpuInstanceDestroy(half)
    refused("gone", nvml.nvmlGpuInstanceGetInfo, half)
    seen["rest"] = [nvml.nvmlDeviceGetGpuInstanceId(device) for device in mig_devices(gpu)]
    handles = (nvml.c_nvmlGpuInstance_t * 7)()
    count = ctypes.c_uint(12345)  # is written, never read
    nvml.nvmlDeviceGetGpuInstances(gpu, 19, handles, ctypes.byref(count))
    seen["instances"] = [nvml.nvmlGpuInstanceGetInfo(handles[i]).id for i in range(count.value)]
    nvml.nvmlShutdown()
    print(json.dumps(seen))


main()
