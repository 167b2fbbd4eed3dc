#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gRPC with another implementation, grpcio (C-core), both ways on a unix socket. No GPU is involved."""
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from concurrent import futures

from client_case import BUILD, peer_path, tap

PEER = pathlib.Path(BUILD) / "tests/clients/grpc_peer"
WAIT_S = 30
MIB = 1 << 20
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GrpcCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = peer_path("python-grpc")
        if not PEER.exists():
            raise unittest.SkipTest("tests/clients/grpc_peer is not built")
        sys.path.insert(0, str(folder))
        os.environ["GRPC_VERBOSITY"] = "NONE"
        try:
            import grpc
        except ImportError as error:
            raise unittest.SkipTest(f"grpcio does not load: {error}") from None
        cls.grpc = grpc

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="migd-grpc-")
        self.addCleanup(folder.cleanup)
        self.socket = folder.name + "/socket"


class Server(GrpcCase):
    """Our server, their client."""

    def setUp(self):
        super().setUp()
        self.server = subprocess.Popen([PEER, "server", self.socket], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        self.assertEqual(self.server.stdout.readline(), "ready\n")
        self.channel = self.grpc.insecure_channel("unix:" + self.socket, options=UNLIMITED)
        self.addCleanup(self.channel.close)

    def stop(self):
        if self.server.poll() is None:
            self.server.stdin.close()
            self.assertEqual(self.server.wait(WAIT_S), 0)
        self.server.stdout.close()

    def unary(self, method, message, timeout=WAIT_S, **arguments):
        return self.channel.unary_unary("/peer.Peer/" + method)(message, timeout=timeout, **arguments)

    def refused(self, code, method, message, **arguments):
        with self.assertRaises(self.grpc.RpcError) as caught:
            self.unary(method, message, **arguments)
        self.assertEqual(caught.exception.code(), code)
        return caught.exception

    def test_echo(self):
        self.assertEqual(self.unary("Echo", b"hello"), b"hello")
        self.assertEqual(self.unary("Echo", b""), b"")

    def test_messages_up_to_the_limit(self):
        message = bytes(range(256)) * (4 * MIB // 256)
        self.assertEqual(self.unary("Echo", message), message)
        error = self.refused(self.grpc.StatusCode.RESOURCE_EXHAUSTED, "Echo", message + b"x")
        self.assertIn("larger than 4 MiB", error.details())
        self.assertEqual(self.unary("Echo", b"still there"), b"still there")

    def test_status(self):
        text = "no \"50 %\" slice\nof GPU é"
        error = self.refused(self.grpc.StatusCode.NOT_FOUND, "Fail", text.encode())
        self.assertEqual(error.details(), text)

    def test_unknown_method(self):
        error = self.refused(self.grpc.StatusCode.UNIMPLEMENTED, "Nothing", b"")
        self.assertIn("/peer.Peer/Nothing", error.details())

    def test_compressed(self):
        error = self.refused(self.grpc.StatusCode.UNIMPLEMENTED, "Echo", b"x" * 10000,
                             compression=self.grpc.Compression.Gzip)
        self.assertIn("compressed", error.details())

    def test_stream(self):
        stream = self.channel.unary_stream("/peer.Peer/Stream")(b"2000", timeout=WAIT_S)
        self.assertEqual(list(stream), [b"message %d" % i for i in range(2000)])

    def test_many_at_once(self):
        calls = [self.channel.unary_unary("/peer.Peer/Echo").future(b"%d" % i, timeout=WAIT_S)
                 for i in range(300)]
        self.assertEqual([call.result() for call in calls], [b"%d" % i for i in range(300)])

    def test_deadline(self):
        self.refused(self.grpc.StatusCode.DEADLINE_EXCEEDED, "Hold", b"", timeout=0.3)
        self.assertEqual(self.server.stdout.readline(), "held\n")
        self.assertEqual(self.server.stdout.readline(), "cancelled\n")

    def test_cancel(self):
        call = self.channel.unary_unary("/peer.Peer/Hold").future(b"")
        self.assertEqual(self.server.stdout.readline(), "held\n")
        call.cancel()
        self.assertEqual(self.server.stdout.readline(), "cancelled\n")
        self.assertEqual(self.unary("Echo", b"still there"), b"still there")

    def test_large_metadata(self):
        metadata = [("x-large", "a" * 40000)]
        with self.assertRaises(self.grpc.RpcError):
            self.unary("Echo", b"x", metadata=metadata)
        self.assertEqual(self.unary("Echo", b"still there"), b"still there")

    def test_server_stops(self):
        call = self.channel.unary_unary("/peer.Peer/Hold").future(b"", timeout=WAIT_S)
        self.assertEqual(self.server.stdout.readline(), "held\n")
        self.server.stdin.close()
        self.assertEqual(call.code(), self.grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.server.wait(WAIT_S), 0)
        self.assertFalse(os.path.exists(self.socket))


class Client(GrpcCase):
    """Our client, their server."""

    def setUp(self):
        super().setUp()
        grpc = self.grpc

        def fail(message, context):
            context.abort(grpc.StatusCode.NOT_FOUND, message.decode())

        def stream(message, context):
            yield from (b"message %d" % i for i in range(int(message)))

        def large(message, context):
            return bytes(4 * MIB + 1)

        def compressed(message, context):
            context.set_compression(grpc.Compression.Gzip)  # though it is not accepted
            return message

        def hold(message, context):
            gone = threading.Event()
            context.add_callback(gone.set)
            gone.wait(WAIT_S)
            return b""

        handlers = {"Echo": grpc.unary_unary_rpc_method_handler(lambda message, context: message),
                    "Fail": grpc.unary_unary_rpc_method_handler(fail),
                    "Large": grpc.unary_unary_rpc_method_handler(large),
                    "Compressed": grpc.unary_unary_rpc_method_handler(compressed),
                    "Hold": grpc.unary_unary_rpc_method_handler(hold),
                    "Stream": grpc.unary_stream_rpc_method_handler(stream)}
        self.server = grpc.server(futures.ThreadPoolExecutor(4), options=UNLIMITED)
        self.server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("peer.Peer", handlers)])
        self.server.add_insecure_port("unix:" + self.socket)
        self.server.start()
        self.addCleanup(lambda: self.server.stop(0).wait())

    def call(self, method, text, *arguments):
        done = subprocess.run([PEER, "client", self.socket, "/peer.Peer/" + method, text,
                               *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                              timeout=WAIT_S, check=True)
        return done.stdout.splitlines()

    def test_echo(self):
        self.assertEqual(self.call("Echo", "hello"), ["message 5 hello", "status 0 "])
        self.assertEqual(self.call("Echo", ""), ["message 0 ", "status 0 "])

    def test_messages_up_to_the_limit(self):
        message, status = self.call("Echo", f"@{4 * MIB}")
        self.assertTrue(message.startswith(f"message {4 * MIB} xxx"))
        self.assertEqual(status, "status 0 ")
        self.assertEqual(self.call("Large", ""), ["status 8 the message is larger than 4 MiB"])

    def test_compressed(self):
        self.assertEqual(self.call("Compressed", "@10000"),
                         ["status 13 compressed messages are not supported"])

    def test_status(self):
        self.assertEqual(self.call("Fail", "no \"50 %\" é"), ["status 5 no \"50 %\" é"])
        self.assertEqual(self.call("Nothing", ""), ["status 12 Method not found!"])

    def test_stream(self):
        lines = self.call("Stream", "2000")
        self.assertEqual(len(lines), 2001)
        self.assertEqual(lines[1999:], ["message 12 message 1999", "status 0 "])

    def test_deadline(self):
        started = time.monotonic()
        self.assertTrue(self.call("Hold", "", 300)[0].startswith("status 4 "))
        self.assertLess(time.monotonic() - started, WAIT_S)

    def test_many_at_once(self):
        lines = self.call("Echo", "hello", 0, 200)
        self.assertEqual(lines.count("message 5 hello"), 200)
        self.assertEqual(lines.count("status 0 "), 200)


del GrpcCase
if __name__ == "__main__":
    tap.main()
