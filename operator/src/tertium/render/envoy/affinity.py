"""Prefix affinity: requests that begin alike go to the replica that has the beginning in its cache.

Our filter hashes the text of the JSON from the key on that holds the prompt; that is the same text for every
turn of a conversation. A replica that is a quarter busier than the average gives requests away: bounded load.
"""

from __future__ import annotations

from typing import Final

# Imported for their descriptors: clusters carry messages of these kinds.
from envoy.extensions.load_balancing_policies.ring_hash.v3 import ring_hash_pb2  # noqa: F401

from tertium.render.envoy.layout import PREFIX_HEADER, TYPES, Resource

_MOST_LOAD_PERCENT: Final = 125

ROUTE_BY_PREFIX: Final[Resource] = {
    "route": {"hash_policy": [{"header": {"header_name": PREFIX_HEADER}, "terminal": True}]}
}
"""What a route has more when its deployment asks for affinity."""


def balance_by_prefix() -> Resource:
    """The balancing policy of such a deployment's cluster."""
    return {
        "name": "ring_hash",
        "typed_config": {
            "@type": f"{TYPES}.extensions.load_balancing_policies.ring_hash.v3.RingHash",
            "consistent_hashing_lb_config": {"hash_balance_factor": _MOST_LOAD_PERCENT},
        },
    }
