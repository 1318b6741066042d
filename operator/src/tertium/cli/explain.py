"""`tertium explain`: what the operator decides about a deployment and why, without writing anything.

This file knows the command line and the cluster; what would be done comes from `runtime.rehearsal`, what is
printed from `explain_text`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from tertium.api.conditions import Reason
from tertium.api.meta import Manifest, ObjectKey
from tertium.api.v1alpha1 import KIND
from tertium.cli.explain_text import explain_text
from tertium.core.errors import Terminal, TertiumError
from tertium.core.load import Reports
from tertium.kube.client import KubeCluster
from tertium.kube.cluster import DEPLOYMENT
from tertium.runtime.clock import SystemClock
from tertium.runtime.poll import REPORT_PORT, LoadPoller
from tertium.runtime.rehearsal import Rehearsal, rehearse, with_spec
from tertium.runtime.snapshot import Snapshot, is_redacted, read_snapshot, take_snapshot, write_snapshot
from tertium.runtime.store import Store
from tertium.settings import OperatorSettings, settings_of

OPERATOR_SELECTOR: Final = "app.kubernetes.io/name=tertium,app.kubernetes.io/component=operator"

_EPILOG: Final = """\
Nothing is ever written to the cluster. What is printed is what the operator's own code decides on what it
sees: the decision and its rule, the conditions, and what would be done next.

examples:
  tertium explain qwen -n team-a                         what is decided now, and why
  tertium explain qwen -n team-a -o yaml                 the objects that would be applied
  tertium explain -f changed.yaml                        what would happen if this were applied
  tertium explain qwen -n team-a --save snapshot.yaml    for a bug report; holds no Secret
  tertium explain --observed snapshot.yaml               the same decision again, without the cluster
  tertium explain -f cr.yaml --observed snapshot.yaml    another spec in the same world

exit codes:
  0  explained, also where the answer is that the spec cannot work
  2  bad input, or the cluster cannot be read: one sentence on standard error says what
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the LLMDeployment")
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="its namespace (default: default)")
    parser.add_argument(
        "-f", "--file", type=Path, metavar="FILE", help="explain this LLMDeployment as if it had been applied"
    )
    parser.add_argument(
        "--observed", type=Path, metavar="FILE", help="look at this snapshot instead of the cluster"
    )
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write what was looked at to this file as well"
    )
    parser.add_argument(
        "--with-values",
        action="store_true",
        help="with --save: keep the values of environment variables, which are left out by default",
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "yaml"), default="text", help="yaml: the objects to be applied"
    )


def run(args: argparse.Namespace) -> int:
    """Explain. Raises `Terminal` or `Retryable` when something cannot be read."""
    manifest = _read_manifest(args.file) if args.file else None
    if args.observed is not None:
        snapshot, rehearsal, key = asyncio.run(_offline(args, manifest))
    else:
        snapshot, rehearsal, key = asyncio.run(_live(args, manifest))
    if args.save is not None:
        write_snapshot(snapshot, args.save, values=args.with_values)
    if args.output == "yaml":
        sys.stdout.write(yaml.safe_dump_all(map(dict, rehearsal.applied), sort_keys=False))
    else:
        sys.stdout.write(explain_text(key, snapshot, rehearsal, redacted=is_redacted(snapshot)))
    return 0


async def _offline(
    args: argparse.Namespace, manifest: Manifest | None
) -> tuple[Snapshot, Rehearsal, ObjectKey]:
    snapshot = read_snapshot(args.observed)
    key = _key(args, manifest) or snapshot.owner()
    if manifest is not None:
        snapshot = with_spec(snapshot, {**manifest, "metadata": _metadata(manifest, key)})
    _must_hold(snapshot, key)
    return snapshot, await rehearse(snapshot, key), key


async def _live(args: argparse.Namespace, manifest: Manifest | None) -> tuple[Snapshot, Rehearsal, ObjectKey]:
    key = _key(args, manifest)
    if key is None:
        raise Terminal(Reason.INVALID, "nothing to explain: give a NAME, -f FILE or --observed FILE")
    async with KubeCluster.connect() as cluster:
        settings = await _operator_settings(cluster)
        now = datetime.now(UTC)
        reports = await _load_reports(cluster, settings)
        snapshot = await take_snapshot(cluster, key, settings.policy, now, reports=reports)
        if manifest is not None:
            snapshot = with_spec(snapshot, {**manifest, "metadata": _metadata(manifest, key)})
        _must_hold(snapshot, key)
        return snapshot, await rehearse(snapshot, key, cluster), key


async def _operator_settings(cluster: KubeCluster) -> OperatorSettings:
    """Read the settings of the operator that runs in the cluster: decisions rest on them.

    Raises `Terminal` when there is none.
    """
    for deployment in await cluster.list(DEPLOYMENT, labels=OPERATOR_SELECTOR):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        return settings_of(
            {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
        )
    raise Terminal(
        Reason.INVALID,
        f"no Deployment of the cluster has the labels {OPERATOR_SELECTOR}: is Tertium installed there? "
        "Its settings are part of every decision",
    )


async def _load_reports(cluster: KubeCluster, settings: OperatorSettings) -> Reports | None:
    """Ask the gateway's pods, through the API server; None where that is not allowed or does not work."""

    async def ask(pod: Manifest) -> bytes:
        return (await cluster.ask_pod(ObjectKey.of(pod), REPORT_PORT, "/load")).encode()

    poller = LoadPoller(
        cluster,
        Store(),
        settings.policy,
        SystemClock(),
        ask,
        gateway=settings.gateway,
        changed=lambda _: None,
    )
    try:
        return await poller.ask_all()
    except TertiumError:
        return None


def _read_manifest(path: Path) -> dict[str, Any]:
    """Return the one LLMDeployment of a file. Raises `Terminal` when there is none, or more than one."""
    try:
        documents = [found for found in yaml.safe_load_all(path.read_text()) if isinstance(found, dict)]
    except (OSError, yaml.YAMLError) as error:
        raise Terminal(Reason.INVALID, f"{path}: {error}") from error
    found = [document for document in documents if document.get("kind") == KIND]
    if len(found) != 1 or not (found[0].get("metadata") or {}).get("name"):
        raise Terminal(
            Reason.INVALID,
            f"{path}: has {len(found)} objects of kind {KIND}; one with metadata.name is needed",
        )
    return found[0]


def _key(args: argparse.Namespace, manifest: Manifest | None) -> ObjectKey | None:
    """Return which deployment is meant: the flags go before the file."""
    metadata = manifest["metadata"] if manifest else {}
    name = args.name or metadata.get("name")
    return ObjectKey(args.namespace or metadata.get("namespace", "default"), name) if name else None


def _metadata(manifest: Manifest, key: ObjectKey) -> dict[str, Any]:
    return {**manifest["metadata"], "name": key.name, "namespace": key.namespace}


def _must_hold(snapshot: Snapshot, key: ObjectKey) -> None:
    if not any(found.get("kind") == KIND and ObjectKey.of(found) == key for found in snapshot.objects):
        raise Terminal(Reason.INVALID, f"there is no {KIND} {key}")
