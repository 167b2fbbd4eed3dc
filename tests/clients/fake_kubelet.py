# SPDX-License-Identifier: Apache-2.0
"""A kubelet as device plugins see it, on grpc's own implementation (C core).

It takes registrations and dials back before it answers, keeps ListAndWatch open, drops the devices of a resource
when its stream ends and the resource itself after a grace, deletes all sockets of plugins when it starts, keeps
what it allocated in a checkpoint, and merges the answers for several resources of a container as the kubelet does.
It also serves the pod resources API, and with `watch_registry` finds plugins in plugins_registry as
the kubelet's plugin watcher does.

The messages are small enough to be written by hand, which makes them a second opinion on those of the plugin.
"""
import concurrent.futures
import json
import os
import stat
import threading
import time

from wire import fields, texts

GRACE_S = 300  # after which the kubelet forgets a resource without a plugin


# ---- the wire format ----

def text(data, number):
    return next(iter(texts(data, number)), "")


def encode_varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, data):
    """A length-delimited field; a number is a varint field."""
    if isinstance(data, int):
        return encode_varint(number << 3) + encode_varint(data)
    if isinstance(data, str):
        data = data.encode()
    return encode_varint(number << 3 | 2) + encode_varint(len(data)) + data


def pairs(data, number):
    return {text(one, 1): text(one, 2) for field_, one in fields(data) if field_ == number}


class Device:
    def __init__(self, data):
        self.id = text(data, 1)
        self.health = text(data, 2)
        topology = next((one for number, one in fields(data) if number == 3), None)
        self.numa = None if topology is None else [
            next((value for n, value in fields(node) if n == 1), 0)
            for number, node in fields(topology) if number == 1]


class Answer:
    """A ContainerAllocateResponse."""

    def __init__(self, data=b""):
        self.envs = pairs(data, 1)
        self.mounts = [(text(one, 1), text(one, 2), dict(fields(one)).get(3, 0))
                       for number, one in fields(data) if number == 2]
        self.nodes = [(text(one, 1), text(one, 2), text(one, 3))
                      for number, one in fields(data) if number == 3]
        self.annotations = pairs(data, 4)
        self.cdi = [text(one, 1) for number, one in fields(data) if number == 5]

    def merge(self, other):
        """What the kubelet does with the answers for one container: keys that are there stay."""
        for key, value in other.envs.items():
            self.envs.setdefault(key, value)
        self.mounts += [one for one in other.mounts if one[0] not in {m[0] for m in self.mounts}]
        self.nodes += [one for one in other.nodes if one[0] not in {n[0] for n in self.nodes}]
        for key, value in other.annotations.items():
            self.annotations.setdefault(key, value)
        self.cdi += other.cdi


class Resource:
    def __init__(self, name):
        self.name = name
        self.lists = []   # [Device] each, as they came
        self.times = []   # when
        self.ended = []   # when streams ended, since the last registration
        self.generation = 0
        self.channel = None
        self.options = {}
        self.endpoint = ""

    def devices(self):
        return {device.id: device.health for device in self.lists[-1]} if self.lists else {}


class FakeKubelet:
    """`delay_s`: how long Register takes before it dials back."""

    def __init__(self, directory, delay_s=0):
        import grpc  # the tests are skipped without it
        self.grpc = grpc
        self.directory = directory
        self.plugins = os.path.join(directory, "device-plugins")
        self.checkpoint = os.path.join(self.plugins, "kubelet_internal_checkpoint")
        self.delay_s = delay_s
        self.refuse = set()        # resources whose registration fails
        self.changed = threading.Condition()
        self.resources = {}
        self.registrations = []    # (time, resource, version, endpoint, options as sent)
        self.allocated = {}        # (namespace, pod, container) -> {resource: [ids]}
        self.server = self.pods_server = None
        self.registry = os.path.join(directory, "plugins_registry")
        self.watcher = None        # (thread, stop)
        os.makedirs(self.plugins, exist_ok=True)
        os.makedirs(os.path.join(directory, "pod-resources"), exist_ok=True)

    # ---- starting and stopping ----

    def start(self):
        for name in os.listdir(self.plugins):
            path = os.path.join(self.plugins, name)
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        if os.path.exists(self.checkpoint):
            with open(self.checkpoint, encoding="utf-8") as file:
                self.allocated = {tuple(key): value for key, value in json.load(file)}
        self.server = self.serve("v1beta1.Registration", {"Register": self.register},
                                 os.path.join(self.plugins, "kubelet.sock"))
        pods = os.path.join(self.directory, "pod-resources/kubelet.sock")
        if os.path.exists(pods):
            os.unlink(pods)
        self.pods_server = self.serve("v1.PodResourcesLister", {"List": self.list_pods}, pods)
        return self

    def serve(self, service, methods, path):
        server = self.grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        handlers = {name: self.grpc.unary_unary_rpc_method_handler(method)
                    for name, method in methods.items()}
        server.add_generic_rpc_handlers(
            [self.grpc.method_handlers_generic_handler(service, handlers)])
        server.add_insecure_port("unix://" + path)
        server.start()
        return server

    def stop(self):
        """As a kubelet that is killed: connections go, sockets stay."""
        if self.watcher:
            self.watcher[1].set()
            self.watcher[0].join()
            self.watcher = None
        for resource in self.resources.values():
            resource.generation += 1
            if resource.channel:
                resource.channel.close()
        for server in (self.server, self.pods_server):
            if server:
                server.stop(None).wait()
        self.server = self.pods_server = None

    def restart(self):
        self.stop()
        self.resources = {}
        return self.start()

    # ---- the kubelet's side of the API ----

    def register(self, request, context):
        version, endpoint, name = (text(request, number) for number in (1, 2, 3))
        options = next((dict(fields(one)) for number, one in fields(request) if number == 4), {})
        if version != "v1beta1" or name in self.refuse:
            context.abort(self.grpc.StatusCode.UNKNOWN, "not this one")
        time.sleep(self.delay_s)
        try:
            self.connect(name, os.path.join(self.plugins, endpoint), version, options)
        except self.grpc.RpcError as error:
            context.abort(self.grpc.StatusCode.UNKNOWN, f"failed to dial: {error}")
        return b""

    def dial(self, path):
        # a subchannel pool of its own: the same path is another socket each time
        return self.grpc.insecure_channel(
            "unix://" + path,
            options=[("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)])

    def connect(self, name, path, version, options):
        channel = self.dial(path)
        try:
            answer = channel.unary_unary("/v1beta1.DevicePlugin/GetDevicePluginOptions")(
                b"", timeout=10)
        except self.grpc.RpcError:
            channel.close()
            raise
        endpoint = os.path.basename(path)
        with self.changed:
            resource = self.resources.setdefault(name, Resource(name))
            resource.generation += 1
            if resource.channel:
                resource.channel.close()
            resource.channel, resource.endpoint = channel, endpoint
            resource.ended = []
            resource.options = dict(fields(answer))
            self.registrations.append((time.monotonic(), name, version, endpoint, options))
            threading.Thread(target=self.watch, args=(resource, channel, resource.generation),
                             daemon=True).start()
            self.changed.notify_all()

    # ---- the plugin watcher ----

    def watch_registry(self):
        os.makedirs(self.registry, exist_ok=True)
        stop = threading.Event()
        self.watcher = (threading.Thread(target=self.look, args=(stop,), daemon=True), stop)
        self.watcher[0].start()
        return self

    def look(self, stop):
        """Sockets that came are asked, those that went are forgotten; those that were refused are
        asked again."""
        known = {}  # path -> (identity, resource or None)
        while not stop.wait(0.05):
            found = {}
            for entry in os.scandir(self.registry):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISSOCK(status.st_mode):
                    found[entry.path] = (status.st_ino, status.st_ctime_ns)
            for path, (identity, name) in list(known.items()):
                if found.get(path) != identity:
                    del known[path]
                    if name:
                        self.forget(name)
            for path, identity in found.items():
                if path not in known or known[path][1] is None:
                    known[path] = (identity, self.discover(path))

    def forget(self, name):
        with self.changed:
            resource = self.resources[name]
            resource.generation += 1
            resource.ended.append(time.monotonic())
            if resource.channel:
                resource.channel.close()
            self.changed.notify_all()

    def discover(self, path):
        """Asks who is at a socket and registers it; the resource, or None."""
        channel = self.dial(path)
        ask = "/pluginregistration.Registration/"
        try:
            info = channel.unary_unary(ask + "GetInfo")(b"", timeout=5)
            kind, name, endpoint = (text(info, number) for number in (1, 2, 3))
            if kind != "DevicePlugin" or "v1beta1" not in texts(info, 4) or name in self.refuse:
                channel.unary_unary(ask + "NotifyRegistrationStatus")(field(2, "not this one"),
                                                                      timeout=5)
                return None
            self.connect(name, endpoint or path, "v1beta1", {})
            channel.unary_unary(ask + "NotifyRegistrationStatus")(field(1, 1), timeout=5)
            return name
        except self.grpc.RpcError:
            return None
        finally:
            channel.close()

    def watch(self, resource, channel, generation):
        try:
            for message in channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch")(b""):
                devices = [Device(one) for number, one in fields(message) if number == 1]
                with self.changed:
                    if resource.generation != generation:
                        return
                    resource.lists.append(devices)
                    resource.times.append(time.monotonic())
                    self.changed.notify_all()
        except (self.grpc.RpcError, ValueError):
            pass  # the plugin has gone, or the channel was closed
        with self.changed:
            if resource.generation == generation:
                resource.ended.append(time.monotonic())
                self.changed.notify_all()

    def list_pods(self, _request, _context):
        out = b""
        for (namespace, pod, container), resources in sorted(self.allocated.items()):
            devices = b"".join(field(2, field(1, name) + b"".join(field(2, one) for one in ids))
                               for name, ids in resources.items())
            out += field(1, field(1, pod) + field(2, namespace) +
                         field(3, field(1, container) + devices))
        return out

    # ---- what a node would say ----

    def capacity(self, name):
        resource = self.resources.get(name)
        if resource is None or (resource.ended and time.monotonic() - resource.ended[-1] > GRACE_S):
            return 0
        return len(resource.devices())

    def allocatable(self, name):
        resource = self.resources.get(name)
        if resource is None or resource.ended:
            return 0
        return sum(health == "Healthy" for health in resource.devices().values())

    def wait(self, condition, seconds=20):
        """True when `condition()` came true in time."""
        limit = time.monotonic() + seconds
        with self.changed:
            while not condition():
                left = limit - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(min(left, 0.1))
        return True

    # ---- admitting pods ----

    def free(self, name):
        taken = {one for resources in self.allocated.values() for one in resources.get(name, [])}
        return [one for one, health in self.resources[name].devices().items()
                if health == "Healthy" and one not in taken]

    def call(self, name, method, request):
        return self.resources[name].channel.unary_unary("/v1beta1.DevicePlugin/" + method)(
            request, timeout=10)

    def preferred(self, name, available, size, must_include=()):
        request = field(1, b"".join(field(1, one) for one in available) +
                        b"".join(field(2, one) for one in must_include) + field(3, size))
        answer = self.call(name, "GetPreferredAllocation", request)
        return [one for number, part in fields(answer) if number == 1 for one in texts(part, 1)]

    def allocate(self, name, ids):
        answer = self.call(name, "Allocate", field(1, b"".join(field(1, one) for one in ids)))
        return Answer(next(value for number, value in fields(answer) if number == 1))

    def admit(self, pod, wanted, namespace="default", container="main"):
        """A container that asks for {resource: count}; what it would be started with."""
        merged = Answer()
        taken = {}
        for name, count in wanted.items():
            available = self.free(name)
            chosen = [one for one in self.preferred(name, available, count) if one in available]
            chosen += [one for one in available if one not in chosen]
            if len(chosen) < count:
                raise AssertionError(f"UnexpectedAdmissionError: {name}: {len(chosen)} free")
            taken[name] = chosen[:count]
            merged.merge(self.allocate(name, taken[name]))
        self.allocated[(namespace, pod, container)] = taken
        self.save()
        return merged

    def end(self, pod, namespace="default", container="main"):
        del self.allocated[(namespace, pod, container)]
        self.save()

    def save(self):
        with open(self.checkpoint, "w", encoding="utf-8") as file:
            json.dump([[list(key), value] for key, value in self.allocated.items()], file)
