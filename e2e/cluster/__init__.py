"""A real Kubernetes cluster anywhere: from plain processes of this machine, from kind, or one already there.

    python -m e2e.cluster --help

Standard library only, so that it runs before anything is installed.
"""

from e2e.cluster.cluster import Cluster
from e2e.cluster.errors import ClusterError

__all__ = ["Cluster", "ClusterError"]
