# SPDX-License-Identifier: Apache-2.0
"""Writes container images in the OCI layout, without a daemon, the same bytes for the same files.

    image = Image("migd.test/busybox:1")
    image.file("/bin/busybox", "/usr/bin/busybox", 0o755)
    image.link("/bin/sh", "busybox")
    image.save("busybox.tar", command=["/bin/sh"])

One layer, files in order of their names, owned by root, dated SOURCE_DATE_EPOCH (default 0).
"""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import tarfile

LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
GLIBC = ("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1")


def date():
    return int(os.environ.get("SOURCE_DATE_EPOCH", "0"))


class Image:
    def __init__(self, name):
        self.name = name
        self.entries = {}

    def directory(self, path, mode=0o755):
        path = path.rstrip("/")
        if path and path not in self.entries:
            self.directory(os.path.dirname(path))
            self.entries[path] = ("directory", b"", mode)

    def data(self, path, data, mode=0o644):
        self.directory(os.path.dirname(path))
        self.entries[path] = ("file", data, mode)

    def file(self, path, source, mode=None):
        source = pathlib.Path(source)
        self.data(path, source.read_bytes(), source.stat().st_mode & 0o777 if mode is None
                  else mode)

    def link(self, path, target):
        self.directory(os.path.dirname(path))
        self.entries[path] = ("link", target, 0o777)

    def program(self, path, source):
        """A program with the libraries it needs, at the paths where the loader looks for them."""
        self.file(path, source, 0o755)
        for name, library in sorted(libraries(source).items()):
            self.file(name, library, 0o755)

    def loader(self):
        """The C library as a whole: what comes from outside, as the driver's library, needs more."""
        for name in GLIBC:
            self.file(f"{LIBRARIES}/{name}", f"{LIBRARIES}/{name}", 0o755)
        self.file(LOADER, os.path.realpath(LOADER), 0o755)

    # ---- writing ----

    def layer(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path, (kind, content, mode) in sorted(self.entries.items()):
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.mode = mode
                entry.mtime = date()
                if kind == "directory":
                    entry.type = tarfile.DIRTYPE
                    tar.addfile(entry)
                elif kind == "link":
                    entry.type = tarfile.SYMTYPE
                    entry.linkname = content
                    tar.addfile(entry)
                else:
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        return out.getvalue()

    def save(self, path, command=(), entrypoint=(), environment=None, labels=None):
        layer = self.layer()
        packed = gzip.compress(layer, compresslevel=6, mtime=0)
        config = {
            "created": f"{date_text()}", "architecture": "amd64", "os": "linux",
            "config": {"Env": [f"{name}={value}" for name, value in (environment or {}).items()],
                       "Cmd": list(command), "Entrypoint": list(entrypoint),
                       "Labels": labels or {}},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            "history": [{"created": date_text(), "created_by": "tools/image"}]}
        blobs = {}
        config_entry = add(blobs, encode(config), "application/vnd.oci.image.config.v1+json")
        layer_entry = add(blobs, packed, "application/vnd.oci.image.layer.v1.tar+gzip")
        manifest = add(blobs, encode({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config_entry, "layers": [layer_entry]}),
            "application/vnd.oci.image.manifest.v1+json")
        manifest["platform"] = {"architecture": "amd64", "os": "linux"}
        # containerd looks a short name up as Docker does
        full = self.name if "/" in self.name else f"docker.io/library/{self.name}"
        manifest["annotations"] = {"io.containerd.image.name": full,
                                   "org.opencontainers.image.ref.name": self.name.split(":")[-1]}
        files = {"oci-layout": encode({"imageLayoutVersion": "1.0.0"}),
                 "index.json": encode({"schemaVersion": 2, "manifests": [manifest],
                                       "mediaType": "application/vnd.oci.image.index.v1+json"}),
                 "manifest.json": encode([{
                     "Config": blob_path(config_entry), "RepoTags": [self.name],
                     "Layers": [blob_path(layer_entry)]}])}
        files.update({f"blobs/sha256/{name}": data for name, data in blobs.items()})
        write_tar(path, files)
        return manifest["digest"]


def date_text():
    seconds = subprocess.run(["date", "-u", "-d", f"@{date()}", "+%Y-%m-%dT%H:%M:%SZ"],
                             capture_output=True, text=True, check=True)
    return seconds.stdout.strip()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encode(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def add(blobs, data, media_type):
    name = digest(data)
    blobs[name.split(":")[1]] = data
    return {"mediaType": media_type, "digest": name, "size": len(data)}


def blob_path(entry):
    return "blobs/sha256/" + entry["digest"].split(":")[1]


def write_tar(path, files):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mtime = date()
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(data))


def libraries(source):
    """What the loader would load for a program: {path in the image: file}; {} for a static one."""
    done = subprocess.run(["ldd", str(source)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if "not a dynamic executable" in done.stdout + done.stderr:
            return {}
        raise RuntimeError(f"ldd {source}: {done.stderr.strip()}")
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"\s*(?:(\S+) => )?(/\S+) \(0x", line)
        if match:
            name, path = match.groups()
            found[path if name is None else f"{LIBRARIES}/{name}"] = path
        elif "not found" in line:
            raise RuntimeError(f"{source} needs {line.strip()}")
    return {LOADER if os.path.basename(name).startswith("ld-linux") else name: path
            for name, path in found.items()}
