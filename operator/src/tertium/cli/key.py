"""`tertium key create | hash`: API keys of the gateway. The key itself is never in the cluster."""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import yaml
from pydantic import ValidationError

from tertium.api.conditions import Reason
from tertium.api.meta import format_time
from tertium.api.v1alpha1 import API_KEY_KIND, GROUP, VERSION, Allowed, APIKeySpec
from tertium.core.errors import Terminal

_PREFIX: Final = "sk-tertium-"
_RANDOM_BYTES: Final = 32
_FEWEST_CHARACTERS: Final = 32
_MOST_CHARACTERS: Final = 512
"""The gateway reads no further."""
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_OPTIONS: Final = {
    "requestsPerMinute": "--requests-per-minute",
    "maxConcurrentRequests": "--max-concurrent-requests",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="make a key: it goes to standard error, its manifest to standard output",
        epilog="example: tertium key create ci -n team-a --requests-per-minute 600 | kubectl apply -f -",
    )
    create.add_argument("name", metavar="NAME", help="name of the APIKey, and of its holder in counters")
    create.add_argument("-n", "--namespace", default="default", help="its namespace (default: default)")
    create.add_argument(
        "--allow",
        action="append",
        metavar="[NAMESPACE/]NAME",
        help="a deployment it may use, or several by a final *; again for more (default: all of -n)",
    )
    create.add_argument("--requests-per-minute", type=int, metavar="N", help="most requests in a minute")
    create.add_argument(
        "--max-concurrent-requests", type=int, metavar="N", help="most requests at the same time"
    )
    create.add_argument("--expires-in", metavar="TIME", help="until it is refused, as in 90d, 12h or 30m")
    actions.add_parser("hash", help="read a key from standard input and print what goes into spec.keySHA256")


def run(args: argparse.Namespace) -> int:
    """Make a key, or hash one. Raises `Terminal` for what no APIKey can say."""
    return _create(args) if args.action == "create" else _hash()


def _create(args: argparse.Namespace) -> int:
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    sys.stdout.write(yaml.safe_dump(_manifest(args, _digest(key)), sort_keys=False))
    sys.stderr.write(f"The key, shown this once: {key}\n")
    return 0


def _hash() -> int:
    key = sys.stdin.readline().strip()
    if not _FEWEST_CHARACTERS <= len(key) <= _MOST_CHARACTERS or re.search(r"[^!-~]", key):
        raise Terminal(
            Reason.INVALID,
            f"the key has {len(key)} characters; {_FEWEST_CHARACTERS} to {_MOST_CHARACTERS} of printable "
            "ASCII without spaces were expected, chosen at random: the hash of a short one can be guessed",
        )
    sys.stdout.write(f"{_digest(key)}\n")
    return 0


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _manifest(args: argparse.Namespace, digest: str) -> dict[str, Any]:
    for option, value in (("NAME", args.name), ("--namespace", args.namespace)):
        if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
            raise Terminal(
                Reason.INVALID,
                f"{option} is '{value}'; up to 63 of a-z, 0-9 and - were expected, as in team-a",
            )
    limits = {
        "requestsPerMinute": args.requests_per_minute,
        "maxConcurrentRequests": args.max_concurrent_requests,
        "expiresAt": None if args.expires_in is None else _after(args.expires_in, datetime.now(UTC)),
    }
    try:
        spec = APIKeySpec.model_validate({"keySHA256": digest, "allow": _allowed(args.allow), **limits})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        raise Terminal(Reason.INVALID, f"{_OPTIONS.get(field, field)}: {first['msg']}") from error
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": API_KEY_KIND,
        "metadata": {"name": args.name, "namespace": args.namespace},
        "spec": spec.model_dump(by_alias=True, exclude_none=True),
    }


def _allowed(entries: Sequence[str] | None) -> list[Allowed] | None:
    if not entries:
        return None
    found = []
    for entry in entries:
        namespace, _, name = entry.rpartition("/")
        try:
            found.append(Allowed(name=name, namespace=namespace or None))
        except ValidationError as error:
            raise Terminal(
                Reason.INVALID,
                f"--allow is '{entry}'; NAME or NAMESPACE/NAME was expected, each with * at its end at most",
            ) from error
    return found


def _after(text: str, now: datetime) -> str:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if match is None:
        raise Terminal(
            Reason.INVALID, f"--expires-in is '{text}'; a number of d, h or m was expected, as in 90d"
        )
    number, unit = match.groups()
    return format_time(now + timedelta(**{_UNITS[unit]: int(number)}))
