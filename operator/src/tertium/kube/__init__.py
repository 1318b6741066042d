"""The cluster: server-side apply, reads, watches and Leases over the Kubernetes API."""
