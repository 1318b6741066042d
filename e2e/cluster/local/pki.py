"""Keys and certificates of a cluster, by the openssl program: everything that talks, talks TLS."""

import base64
import concurrent.futures
import json
import shutil
from pathlib import Path

from e2e.cluster.local.layout import Layout, api_url, kubeconfig
from e2e.cluster.shell import sh
from e2e.cluster.slots import Addresses

ADMIN = "admin"
CONTROLLERS = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
PROXY = "kube-proxy"
DNS = "coredns"


def make(layout: Layout, addresses: Addresses, nodes: int) -> None:
    """Make all keys, certificates and client configurations anew."""
    pki = layout.pki
    shutil.rmtree(pki, ignore_errors=True)
    pki.mkdir(mode=0o700)
    users = {
        ADMIN: "/O=system:masters/CN=admin",
        CONTROLLERS: "/CN=system:kube-controller-manager",
        SCHEDULER: "/CN=system:kube-scheduler",
        PROXY: "/CN=system:kube-proxy",
        DNS: "/CN=system:coredns",
        "apiserver-kubelet": "/O=system:masters/CN=apiserver-kubelet-client",
    }
    node_names = {layout.node(i): i for i in range(nodes)}
    names = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    )
    san = ",".join([*(f"DNS:{n}" for n in names), f"IP:{addresses.control}", f"IP:{addresses.api_service}"])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        _ = list(pool.map(lambda ca: certificate(pki, ca, f"/CN={ca}"), ("ca", "front-ca", "etcd-ca")))
        jobs = [pool.submit(_service_account_key, pki)]
        jobs += [pool.submit(certificate, pki, user, subject, ca="ca") for user, subject in users.items()]
        # A kubelet is a client of the API and a server to it (logs, exec), with one certificate.
        jobs += [
            pool.submit(
                certificate,
                pki,
                node,
                f"/O=system:nodes/CN=system:node:{node}",
                ca="ca",
                san=f"DNS:{node},IP:{addresses.node(i)}",
            )
            for node, i in node_names.items()
        ]
        jobs += [
            pool.submit(certificate, pki, "apiserver", "/CN=kube-apiserver", ca="ca", san=san),
            pool.submit(certificate, pki, "front", "/CN=front-proxy-client", ca="front-ca"),
            # Its own authority: a certificate that the API accepts must not open the API's store.
            pool.submit(certificate, pki, "etcd", "/CN=etcd", ca="etcd-ca", san=f"IP:{addresses.control}"),
        ]
        for job in jobs:
            job.result()
    for user in [*users, *node_names]:
        write_kubeconfig(layout, addresses, user, layout.conf / f"{user}.kubeconfig")
    write_kubeconfig(layout, addresses, ADMIN, layout.kubeconfig)


def write_kubeconfig(layout: Layout, addresses: Addresses, user: str, path: Path) -> None:
    """Write a client configuration that needs no other file."""

    def inlined(name: str) -> str:
        return base64.b64encode((layout.pki / name).read_bytes()).decode()

    document = kubeconfig(
        name=layout.name,
        user=user,
        server=api_url(addresses),
        ca=inlined("ca.crt"),
        certificate=inlined(f"{user}.crt"),
        key=inlined(f"{user}.key"),
    )
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1))


def certificate(pki: Path, name: str, subject: str, *, ca: str | None = None, san: str | None = None) -> None:
    """Make `name`.key and `name`.crt, signed by `ca` or by itself."""
    extensions = ["-addext", f"subjectAltName={san}"] if san else []
    if ca:
        extensions += ["-CA", str(pki / f"{ca}.crt"), "-CAkey", str(pki / f"{ca}.key")]
        extensions += ["-addext", "basicConstraints=critical,CA:FALSE"]
        extensions += ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    sh(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", 3650, "-subj", subject, "-keyout", pki / f"{name}.key", "-out", pki / f"{name}.crt"),
        *extensions,
    )


def _service_account_key(pki: Path) -> None:
    """Make the key of service account tokens in two halves: the API server derives no public one itself."""
    key = pki / "sa.key"
    sh("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    sh("openssl", "pkey", "-in", key, "-pubout", "-out", pki / "sa.pub")
