# SPDX-License-Identifier: Apache-2.0
"""As much of a kubelet as a device plugin sees: takes registrations, dials back, watches the lists of devices,
allocates one device of each resource. Prints what it saw as JSON when the plugin has ended or been stopped.

usage: kubelet.py SECONDS RESOURCES [--then COMMAND...] -- PLUGIN...

It waits up to SECONDS for lists of RESOURCES resources; then runs COMMAND, where there is one, and waits again
for a list with an unhealthy device. The messages (kubelet API v1beta1) are small enough to be read by hand.
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from wire import fields, texts  # noqa: E402

FOLDER = "/var/lib/kubelet/device-plugins"


# ---- the wire format ----

def field(number, data):
    size, head = len(data), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes(head) + bytes([size]) + data


# ---- the kubelet ----

class Kubelet:
    def __init__(self):
        self.changed = threading.Condition()
        self.lists = {}  # resource -> lists as they came: {device: health}
        self.channels = {}
        self.registrations = []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        method = grpc.unary_unary_rpc_method_handler(self.register)
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
            "v1beta1.Registration", {"Register": method})])
        self.server.add_insecure_port(f"unix://{FOLDER}/kubelet.sock")
        self.server.start()

    def register(self, request, _):
        """Dials back before it answers, as the kubelet does."""
        version, endpoint, resource = (texts(request, number)[0] for number in (1, 2, 3))
        channel = grpc.insecure_channel(f"unix://{FOLDER}/{endpoint}")
        options = channel.unary_unary("/v1beta1.DevicePlugin/GetDevicePluginOptions")(
            b"", timeout=10)
        self.registrations.append({"version": version, "endpoint": endpoint, "resource": resource,
                                   "options": dict(fields(options))})
        self.channels[resource] = channel
        threading.Thread(target=self.watch, args=(resource, channel), daemon=True).start()
        return b""

    def watch(self, resource, channel):
        try:
            for message in channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch")(b""):
                devices = {texts(one, 1)[0]: texts(one, 2)[0]
                           for number, one in fields(message) if number == 1}
                with self.changed:
                    self.lists.setdefault(resource, []).append(devices)
                    self.changed.notify_all()
        except grpc.RpcError:
            pass  # the plugin has gone

    def wait(self, seconds, condition, plugin):
        limit = time.monotonic() + seconds
        with self.changed:
            while not condition(self.lists) and time.monotonic() < limit and plugin.poll() is None:
                self.changed.wait(0.2)

    def allocate(self, resource):
        device = sorted(self.lists[resource][-1])[0]
        call = self.channels[resource].unary_unary("/v1beta1.DevicePlugin/Allocate")
        answer = call(field(1, field(1, device.encode())), timeout=10)
        container = next(value for number, value in fields(answer) if number == 1)
        return {"device": device,
                "environment": {texts(one, 1)[0]: texts(one, 2)[0]
                                for number, one in fields(container) if number == 1},
                "nodes": [texts(one, 1)[0] for number, one in fields(container) if number == 3]}


def main():
    split = sys.argv.index("--")
    seconds, resources = float(sys.argv[1]), int(sys.argv[2])
    then, command = sys.argv[4:split], sys.argv[split + 1:]
    os.makedirs(FOLDER, exist_ok=True)
    kubelet = Kubelet()
    with open(f"{FOLDER}/log", "w+", encoding="utf-8") as log:
        plugin = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        kubelet.wait(seconds, lambda lists: len(lists) >= resources, plugin)
        allocated = {name: kubelet.allocate(name) for name in list(kubelet.lists)}
        if then:
            subprocess.run(then, check=True, stdout=subprocess.DEVNULL)
            kubelet.wait(seconds, lambda lists: any("Unhealthy" in one[-1].values()
                                                    for one in lists.values()), plugin)
        status = plugin.poll()
        plugin.terminate()
        plugin.wait()
        log.seek(0)
        print(json.dumps({"registrations": kubelet.registrations, "lists": kubelet.lists,
                          "allocated": allocated, "status": status, "log": log.read()}))
    kubelet.server.stop(None)


main()
