# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates of a test cluster, by openssl, and the kubeconfig files that use them.

Everything is valid for a week and for nothing outside the cluster's own namespaces.
"""
import base64
import json
import subprocess

from layout import API_ADDRESS, API_URL, SERVICE_ADDRESS

DAYS = "7"


def openssl(*arguments, text=None):
    done = subprocess.run(["openssl", *arguments], input=text, capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(arguments)}: {done.stderr}")


class Authority:
    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate = directory / "ca.crt"
        self.key = directory / "ca.key"
        self.serial = 1
        if not self.certificate.exists():
            self.make_key(self.key)
            openssl("req", "-x509", "-new", "-key", str(self.key), "-subj", "/CN=migd-test-ca",
                    "-days", DAYS, "-out", str(self.certificate))

    @staticmethod
    def make_key(path):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path))
        path.chmod(0o600)

    def issue(self, name, user, groups=(), addresses=(), hosts=()):
        """NAME.crt and NAME.key for a user of the API, or a server at the addresses and hosts."""
        key = self.directory / f"{name}.key"
        certificate = self.directory / f"{name}.crt"
        self.make_key(key)
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        names = [f"IP:{one}" for one in addresses] + [f"DNS:{one}" for one in hosts]
        extensions = "[x]\nkeyUsage=critical,digitalSignature\n" \
                     "extendedKeyUsage=clientAuth,serverAuth\n"
        if names:
            extensions += f"subjectAltName={','.join(names)}\n"
        extension_file = self.directory / f"{name}.ext"
        extension_file.write_text(extensions, encoding="utf-8")
        request = self.directory / f"{name}.csr"
        openssl("req", "-new", "-key", str(key), "-subj", subject, "-out", str(request))
        self.serial += 1
        openssl("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey",
                str(self.key), "-set_serial", str(self.serial), "-days", DAYS, "-extfile",
                str(extension_file), "-extensions", "x", "-out", str(certificate))
        request.unlink()
        extension_file.unlink()
        return certificate, key

    def kubeconfig(self, name, user, groups=(), server=API_URL):
        """NAME.kubeconfig for a user, with everything in it."""
        certificate, key = self.issue(name, user, groups)
        path = self.directory / f"{name}.kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": server, "certificate-authority-data": encoded(self.certificate)}}],
            "users": [{"name": name, "user": {"client-certificate-data": encoded(certificate),
                                              "client-key-data": encoded(key)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}]},
            indent=1), encoding="utf-8")
        path.chmod(0o600)
        return path


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


def issue_server(authority):
    """What the API server shows; again for one that is renewed."""
    authority.issue("apiserver", "kube-apiserver",
                    addresses=(API_ADDRESS, SERVICE_ADDRESS, "127.0.0.1"),
                    hosts=("kubernetes", "kubernetes.default", "kubernetes.default.svc",
                           "localhost"))


def make_all(cluster):
    authority = Authority(cluster.path("pki"))
    issue_server(authority)
    authority.issue("apiserver-kubelet", "kube-apiserver-kubelet-client", ("system:masters",))
    authority.kubeconfig("admin", "admin", ("system:masters",))
    authority.kubeconfig("controller-manager", "system:kube-controller-manager")
    authority.kubeconfig("scheduler", "system:kube-scheduler")
    Authority.make_key(authority.directory / "service-accounts.key")
    openssl("ec", "-in", str(authority.directory / "service-accounts.key"), "-pubout", "-out",
            str(authority.directory / "service-accounts.pub"))
    for worker in cluster.workers:
        authority.kubeconfig(f"kubelet-{worker.name}", f"system:node:{worker.name}",
                             ("system:nodes",))
