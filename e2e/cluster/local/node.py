"""Configuration of one node's processes: containerd, kubelet, kube-proxy. Pure."""

import json
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.local import pki
from e2e.cluster.local.control import CNI_CACHE, HOSTPATH_VOLUMES, KUBELET_ROOT, SHIM_RUN
from e2e.cluster.local.layout import Layout
from e2e.cluster.slots import Addresses

# The program names of a node.
PROGRAMS = ("containerd", "kubelet", "kube-proxy")
PAUSE_IMAGE = "localhost/tertium-pause:dev"
_UNUSED_PLUGINS = (
    "io.containerd.internal.v1.tracing",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
)


# Sysctls of the whole machine that a kubelet sets unless they are right already: a node sees copies of its
# own, and the machine's stay as they are.
TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


def directories(home: Path) -> list[Path]:
    """Return what has to be there before the node starts."""
    names = (
        "kubelet",
        "kubelet-plugins",
        "containerd",
        "run",
        "cni",
        "cni-cache",
        "cni-ipam",
        "log",
        "sysctl",
    )
    return [home / name for name in names]


def volatile(home: Path) -> list[Path]:
    """Return what a fresh start must not find; images stay."""
    return [path for path in directories(home) if path.name != "containerd"]


def containerd(home: Path, layout: Layout, program: str) -> list[str]:
    """Start containerd as the first process of the node's network and mount namespaces.

    The paths mounted over are constants of the programs. Not `ip netns exec`, which mounts a new /sys and so
    hides the cgroups.
    """
    tunables = "\n".join(
        f"mount --bind {home}/sysctl/{path.replace('/', '.')} /proc/sys/{path}" for path in TUNABLES
    )
    inside = f"""set -e
mount --make-rshared /
mount --rbind {home}/kubelet {KUBELET_ROOT}
mount --rbind {home}/cni-cache {CNI_CACHE}
mount --rbind {home}/log /var/log
mount --rbind {layout.volumes} {HOSTPATH_VOLUMES}
mount -t tmpfs tmpfs {SHIM_RUN}
{tunables}
echo 1 > /proc/sys/net/ipv4/ip_forward
exec "$@"
"""
    return ["unshare", "-n", "-m", "sh", "-c", inside, "sh", program, "-c", f"{home}/containerd.toml"]


def containerd_config(home: Path, socket: Path, cni_bin: str) -> str:
    """Build containerd's own configuration: nothing of another containerd on this machine is shared."""
    unused = ", ".join(json.dumps(plugin) for plugin in _UNUSED_PLUGINS)
    return f"""\
version = 2
root = "{home}/containerd"
state = "{home}/run"
disabled_plugins = [{unused}]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Where the tool itself runs in a container it may not lower a score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{home}/cni"
"""


def cni_config(home: Path, subnet: str) -> str:
    """Build the pod network: without masquerade, so that nothing leaves the machine."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "cni0",
                    "isGateway": True,
                    "ipMasq": False,
                    "hairpinMode": True,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": f"{home}/cni-ipam",
                        "ranges": [[{"subnet": subnet}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
    )


def command(program: str, binary: Path, layout: Layout, at: Addresses, index: int) -> list[str]:
    """Build the command line of the kubelet or of kube-proxy, to be run in the node's namespaces."""
    node = layout.node(index)
    if program == "kube-proxy":
        return [str(binary), f"--config={layout.conf}/proxy-{index}.json"]
    return [
        *(
            str(binary),
            f"--config={layout.conf}/kubelet-{index}.json",
            f"--kubeconfig={layout.conf}/{node}.kubeconfig",
        ),
        *(f"--root-dir={KUBELET_ROOT}", f"--hostname-override={node}", f"--node-ip={at.node(index)}"),
    ]


def kubelet_config(layout: Layout, at: Addresses, index: int) -> str:
    """Build the kubelet's configuration."""
    key = layout.pki / layout.node(index)
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": at.node(index),
            "tlsCertFile": f"{key}.crt",
            "tlsPrivateKeyFile": f"{key}.key",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{layout.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "readOnlyPort": 0,
            "clusterDNS": [at.dns_service],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{layout.conf}/resolv.conf",
            "containerRuntimeEndpoint": f"unix://{layout.socket(index)}",
            "volumePluginDir": f"{layout.home(index)}/kubelet-plugins",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{layout.cgroup}/node-{index}",
            "failCgroupV1": False,
            "failSwapOn": False,
            # No registry can bring back an image that was collected.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
            "serializeImagePulls": False,
            "maxPods": 200,
            # New device plugins show at once; the default looks every 10 s.
            "nodeStatusUpdateFrequency": "1s",
            "nodeStatusReportFrequency": "1m",
            "nodeLeaseDurationSeconds": 20,
        }
    )


def proxy_config(layout: Layout, at: Addresses, index: int) -> str:
    """Build kube-proxy's configuration."""
    return json.dumps(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": f"{layout.conf}/{pki.PROXY}.kubeconfig"},
            "hostnameOverride": layout.node(index),
            "clusterCIDR": at.pods,
            "detectLocalMode": "ClusterCIDR",
            "bindAddress": at.node(index),
            "nftables": {"minSyncPeriod": "0s"},
            # Those belong to the machine: a network namespace of its own may not set them.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }
    )


def inside(pid: int) -> Sequence[str]:
    """Return the prefix that runs a program in the namespaces of a node's process."""
    return ("nsenter", "-t", str(pid), "-n", "-m")
