"""Envoy's resources as dictionaries that are written as JSON files. Pure: a table in, resources out.

| file                  | made by        | holds                                            |
| bootstrap.json        | `bootstrap.py` | ports, the listener (`listener.py`), the activator |
| rds.json              | `routes.py`    | which request goes where                         |
| cds.json              | `clusters.py`  | one cluster per deployment                         |
| eds/NAMESPACE_NAME.json | `endpoints.py` | endpoints of one that has replicas               |
"""
