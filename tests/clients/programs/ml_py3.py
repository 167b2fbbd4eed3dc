# SPDX-License-Identifier: Apache-2.0
"""Monitoring with the binding of driver 352, whose structs are the short old ones; prints JSON.
usage: ml_py3.py MIGEMU NODE"""
import json
import subprocess
import sys

import pynvml as nvml


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def describe(gpu):
    pci = nvml.nvmlDeviceGetPciInfo(gpu)
    memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
    return {"name": text(nvml.nvmlDeviceGetName(gpu)), "uuid": text(nvml.nvmlDeviceGetUUID(gpu)),
            "bus": text(pci.busId), "id": pci.pciDeviceId, "total": memory.total >> 20,
            "processes": [(one.pid, one.usedGpuMemory >> 20)
                          for one in nvml.nvmlDeviceGetComputeRunningProcesses(gpu)]}


def main():
    migemu, node = sys.argv[1:]
    nvml.nvmlInit()
    gpus = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    for number in range(3):
        subprocess.run([migemu, "job", "start", node, "--on", "0", "--memory", f"{number + 1}G"],
                       check=True, capture_output=True)
    seen = {"gpus": [describe(gpu) for gpu in gpus]}
    events = nvml.nvmlEventSetCreate()
    nvml.nvmlDeviceRegisterEvents(gpus[1], nvml.nvmlEventTypeXidCriticalError, events)
    subprocess.run([migemu, "xid", node, "--gpu", "1", "31"], check=True)
    data = nvml.nvmlEventSetWait(events, 5000)
    seen["event"] = (data.eventType, data.eventData)
    try:
        nvml.nvmlEventSetWait(events, 10)
    except nvml.NVMLError as error:
        seen["after"] = error.value
    nvml.nvmlEventSetFree(events)
    nvml.nvmlShutdown()
    print(json.dumps(seen))


main()
