# SPDX-License-Identifier: Apache-2.0
"""The cluster's API from the test's own process, as the administrator: a request takes milliseconds.

Only the socket is made in the cluster's network namespace; it stays there wherever it is used.
"""
import ctypes
import http.client
import json
import os
import socket
import ssl

from layout import API_ADDRESS, API_PORT

CLONE_NEWNET = 0x40000000
LIMIT_S = 20
MERGE = "application/merge-patch+json"


class Refused(Exception):
    """An answer other than 2xx."""

    def __init__(self, status, document):
        super().__init__(f"{status}: {document.get('message', document)}")
        self.status = status
        self.document = document


def connect_in(pid, address):
    """A TCP connection from the network namespace of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        return socket.create_connection(address, LIMIT_S)
    finally:
        libc.setns(own, CLONE_NEWNET)
        os.close(own)
        os.close(there)


class Connection(http.client.HTTPSConnection):
    def __init__(self, pid, context):
        super().__init__(API_ADDRESS, API_PORT, context=context, timeout=LIMIT_S)
        self.pid = pid
        self.secure = context

    def connect(self):
        plain = connect_in(self.pid, (API_ADDRESS, API_PORT))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.secure.wrap_socket(plain, server_hostname=API_ADDRESS)


class Api:
    def __init__(self, layout, pid):
        pki = layout.path("pki")
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(str(pki / "admin.crt"), str(pki / "admin.key"))
        self.connection = Connection(pid, context)

    def exchange(self, method, path, body=None, content_type="application/json"):
        """Status and text of the answer. A connection that went away is made anew."""
        headers = {"Content-Type": content_type} if body is not None else {}
        data = json.dumps(body) if body is not None else None
        for attempt in (1, 2):
            try:
                self.connection.request(method, path, data, headers)
                response = self.connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException):
                self.connection.close()
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def call(self, method, path, body=None, content_type="application/json"):
        """The document that is answered; raises Refused."""
        status, text = self.exchange(method, path, body, content_type)
        try:
            document = json.loads(text)
        except ValueError:
            document = {"message": text.decode(errors="replace")}
        if status >= 300:
            raise Refused(status, document)
        return document

    def get(self, path):
        return self.call("GET", path)

    def history(self, path, name, version):
        """Each state of an object after a version, in order: a watch from there, cut after a second."""
        query = f"watch=true&timeoutSeconds=1&resourceVersion={version}&fieldSelector=metadata.name={name}"
        status, text = self.exchange("GET", f"{path}?{query}")
        if status >= 300:
            raise Refused(status, {"message": text.decode(errors="replace")})
        return [json.loads(line)["object"] for line in text.splitlines()]

    def patch(self, path, body):
        return self.call("PATCH", path, body, MERGE)

    def post(self, path, body):
        return self.call("POST", path, body)

    def delete(self, path, body=None):
        try:
            return self.call("DELETE", path, body)
        except Refused as error:
            if error.status != 404:
                raise
            return None
