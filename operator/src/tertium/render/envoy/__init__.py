"""Envoy's configuration. Pure: a table in, resources out.

| resource              | made by        | reaches it | holds                                              |
| bootstrap             | `bootstrap.py` | from file  | ports, the listener (`listener.py`), the activator |
| certificate           | `tls.py`       | from file  | where the mounted certificate is                   |
| RouteConfiguration    | `routes.py`    | discovered | which request goes where                           |
| Cluster               | `clusters.py`  | discovered | how a deployment's replicas are reached and chosen |
| TypedExtensionConfig  | `keys.py`       | discovered | the filters that check API keys                    |
| ClusterLoadAssignment | `endpoints.py` | discovered | where a deployment's replicas are                  |
"""
