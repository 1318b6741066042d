"""Command lines of the control plane: etcd, API server, controllers, scheduler, DNS. Pure."""

import json
from pathlib import Path

from e2e.cluster.local import pki
from e2e.cluster.local.layout import Layout
from e2e.cluster.slots import Addresses

# The program names, in the order of their start.
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns")

# All service accounts of the namespace that the chart is installed in.
AUDITED_GROUP = "system:serviceaccounts:tertium-system"


def etcd(binary: Path, layout: Layout, at: Addresses) -> list[str]:
    """Everything listens on the bridge's address, so that clusters do not fight for ports."""
    client, peer = f"https://{at.control}:2379", f"https://{at.control}:2380"
    key, certificate, ca = (str(layout.pki / name) for name in ("etcd.key", "etcd.crt", "etcd-ca.crt"))
    return [
        *(str(binary), f"--name={layout.name}", f"--data-dir={layout.etcd}", "--log-level=warn"),
        # A test cluster lost in a power cut is lost; waiting for the disk costs every write.
        "--unsafe-no-fsync",
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--cert-file={certificate}", f"--key-file={key}", "--client-cert-auth", f"--trusted-ca-file={ca}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        *(f"--peer-cert-file={certificate}", f"--peer-key-file={key}"),
        *("--peer-client-cert-auth", f"--peer-trusted-ca-file={ca}"),
        f"--initial-cluster={layout.name}={peer}",
    ]


def apiserver(binary: Path, layout: Layout, at: Addresses) -> list[str]:
    """With the aggregation layer and bound service account tokens, as kubeadm sets it up."""
    keys = layout.pki
    return [
        *(
            str(binary),
            f"--bind-address={at.control}",
            f"--advertise-address={at.control}",
            "--secure-port=6443",
        ),
        *(f"--etcd-servers=https://{at.control}:2379", f"--etcd-cafile={keys}/etcd-ca.crt"),
        *(f"--etcd-certfile={keys}/etcd.crt", f"--etcd-keyfile={keys}/etcd.key"),
        *(f"--service-cluster-ip-range={at.services}", "--allow-privileged=true"),
        *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
        *(f"--client-ca-file={keys}/ca.crt", "--profiling=false"),
        *(f"--audit-policy-file={layout.conf}/audit.json", f"--audit-log-path={layout.audit}"),
        *("--audit-log-maxsize=1000", "--audit-log-maxbackup=1"),
        *(f"--tls-cert-file={keys}/apiserver.crt", f"--tls-private-key-file={keys}/apiserver.key"),
        f"--kubelet-certificate-authority={keys}/ca.crt",
        f"--kubelet-client-certificate={keys}/apiserver-kubelet.crt",
        f"--kubelet-client-key={keys}/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={keys}/sa.pub",
        f"--service-account-signing-key-file={keys}/sa.key",
        f"--requestheader-client-ca-file={keys}/front-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        *("--enable-aggregator-routing=true", f"--proxy-client-cert-file={keys}/front.crt"),
        f"--proxy-client-key-file={keys}/front.key",
    ]


def audit_policy() -> str:
    """Note every request of Tertium's own accounts, without bodies: tests count what it asks and writes."""
    ours = {"level": "Metadata", "userGroups": [AUDITED_GROUP], "omitStages": ["RequestReceived"]}
    rules = [ours, {"level": "None"}]
    return json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules})


def controller_manager(binary: Path, layout: Layout, at: Addresses) -> list[str]:
    """With hostPath volumes, which it puts at a constant of its source: that becomes the cluster's own."""
    inside = f'mount --rbind {layout.volumes} {HOSTPATH_VOLUMES} && exec "$@"'
    return [
        *("unshare", "-m", "sh", "-c", inside, "sh"),
        *_component(binary, layout.conf / f"{pki.CONTROLLERS}.kubeconfig", at),
        *(f"--root-ca-file={layout.pki}/ca.crt", f"--service-account-private-key-file={layout.pki}/sa.key"),
        *(
            f"--cluster-signing-cert-file={layout.pki}/ca.crt",
            f"--cluster-signing-key-file={layout.pki}/ca.key",
        ),
        *("--use-service-account-credentials=true", "--enable-hostpath-provisioner=true"),
        f"--flex-volume-plugin-dir={layout.conf}/volume-plugins",
        *("--node-monitor-grace-period=20s", "--horizontal-pod-autoscaler-sync-period=2s"),
    ]


# Constants of the sources of kube-controller-manager, kubelet, libcni and containerd's shim.
HOSTPATH_VOLUMES = "/tmp/hostpath_pv"
KUBELET_ROOT = "/var/lib/kubelet"
CNI_CACHE = "/var/lib/cni"
SHIM_RUN = "/run/containerd"
MOUNTPOINTS = (HOSTPATH_VOLUMES, KUBELET_ROOT, CNI_CACHE, SHIM_RUN)


def scheduler(binary: Path, layout: Layout, at: Addresses) -> list[str]:
    """Build the scheduler's command line."""
    return _component(binary, layout.conf / f"{pki.SCHEDULER}.kubeconfig", at)


def coredns(binary: Path, layout: Layout) -> list[str]:
    """Build the DNS server's command line."""
    return [str(binary), "-conf", f"{layout.conf}/Corefile"]


def corefile(layout: Layout, at: Addresses) -> str:
    """Answer for the cluster alone: no name outside resolves, so that no test depends on the internet."""
    return f"""\
.:53 {{
    bind {at.control}
    errors
    ready {at.control}:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {layout.conf}/{pki.DNS}.kubeconfig
        ttl 1
    }}
}}
"""


def _component(binary: Path, kubeconfig: Path, at: Addresses) -> list[str]:
    return [
        *(str(binary), f"--kubeconfig={kubeconfig}", f"--authentication-kubeconfig={kubeconfig}"),
        *(f"--authorization-kubeconfig={kubeconfig}", f"--bind-address={at.control}", "--leader-elect=false"),
        # The defaults of 20 and 30 a second would be what a load test measures.
        *("--kube-api-qps=200", "--kube-api-burst=400"),
    ]
