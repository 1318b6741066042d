"""The real cluster: plain JSON objects, server-side apply for every write.

It knows paths and patch types. It must not know what the objects mean.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from tertium.api.meta import Manifest, ObjectKey
from tertium.core import names
from tertium.core.errors import Retryable
from tertium.kube.cluster import EVENT, LEASE, POD, Kind, WatchEvent
from tertium.kube.connection import Connection, connect
from tertium.kube.errors import error_of
from tertium.kube.events import build_event
from tertium.kube.objects import apply_body, parse_object, path_of
from tertium.kube.watch import list_objects, list_pages, watch_objects

LEASE_FIELD_MANAGER: Final = "tertium-gateway"
LOG_LIMIT_BYTES: Final = 1_048_576

# With a charset, the client library sends the body as it is; without, it would make its own JSON of it.
_APPLY: Final = "application/apply-patch+yaml; charset=utf-8"
_MERGE: Final = "application/merge-patch+json"
# An object with a field that the API server does not know is refused, not stored without it.
_STRICT: Final = {"fieldValidation": "Strict"}


class KubeCluster:
    """`Cluster` on a real API server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def connect(cls) -> AsyncIterator[KubeCluster]:
        """Connect as the pod's service account, else by the kubeconfig. Raises `Terminal` without either."""
        async with connect() as connection:
            yield cls(connection)

    async def get(self, kind: Kind, key: ObjectKey) -> Manifest | None:
        """Return the object, or None when there is none."""
        answer = await self._connection.call("GET", path_of(kind, key.namespace, key.name))
        if answer.status == 404:
            return None
        return parse_object(answer, f"get {kind.kind} {key}")

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> Sequence[Manifest]:
        """Return the objects that match both selectors, in one namespace or in all."""
        found, _ = await list_objects(
            self._connection, kind, namespace=namespace or "", labels=labels, fields=fields
        )
        return found

    async def pages(self, kind: Kind, *, labels: str = "") -> AsyncIterator[Sequence[Manifest]]:
        """Yield the objects of all namespaces that match the label selector, some at a time."""
        async for page, _ in list_pages(self._connection, kind, labels=labels):
            yield page

    async def apply(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Server-side apply as field manager `tertium`, forced; return the object as it now is."""
        key = ObjectKey.of(manifest)
        path = path_of(kind, key.namespace, key.name)
        return await self._apply(path, names.FIELD_MANAGER, manifest, f"apply {kind.kind} {key}")

    async def apply_status(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Server-side apply of the status subresource as field manager `tertium-status`, forced.

        Returns the object as it now is.
        """
        key = ObjectKey.of(manifest)
        path = f"{path_of(kind, key.namespace, key.name)}/status"
        what = f"apply status of {kind.kind} {key}"
        return await self._apply(path, names.STATUS_FIELD_MANAGER, manifest, what)

    async def replace(self, kind: Kind, manifest: Manifest) -> Manifest | None:
        """Create the object, or replace the very version that its resourceVersion names.

        Returns the object as it now is; None when somebody else was faster.
        """
        key, method, path = ObjectKey.of(manifest), "POST", path_of(kind, ObjectKey.of(manifest).namespace)
        if "resourceVersion" in manifest["metadata"]:
            method, path = "PUT", f"{path}/{key.name}"
        answer = await self._connection.call(method, path, query=_STRICT, body=manifest)
        if answer.status == 409 or (answer.status == 404 and method == "PUT"):
            return None
        return parse_object(answer, f"replace {kind.kind} {key}")

    async def scale(self, kind: Kind, key: ObjectKey, replicas: int, *, uid: str) -> str:
        """Set the replica count of the object with this uid through its scale subresource.

        Returns the object's resource version after that. The field manager is `tertium-scale`. Raises
        `Retryable` when the object is gone or another one has its name.
        """
        answer = await self._connection.call(
            "PATCH",
            f"{path_of(kind, key.namespace, key.name)}/scale",
            query={"fieldManager": names.SCALE_FIELD_MANAGER, **_STRICT},
            # A uid in the body is a precondition: another object's is answered with a conflict.
            body={"metadata": {"uid": uid}, "spec": {"replicas": replicas}},
            content_type=_MERGE,
        )
        scaled = parse_object(answer, f"scale {kind.kind} {key} to {replicas}")
        return str(scaled["metadata"]["resourceVersion"])

    async def annotate(
        self, kind: Kind, key: ObjectKey, annotations: Mapping[str, str], *, uid: str, manager: str
    ) -> Manifest:
        """Make `annotations` all that `manager` says about the object with this uid; return the object.

        Raises `Retryable` when the object is gone or another one has its name.
        """
        # With the uid, an apply makes no new object in place of one that is gone.
        metadata = {"name": key.name, "namespace": key.namespace, "uid": uid, "annotations": annotations}
        manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
        path = path_of(kind, key.namespace, key.name)
        return await self._apply(path, manager, manifest, f"annotate {kind.kind} {key}")

    async def event(
        self, kind: Kind, key: ObjectKey, *, uid: str, type: str, reason: str, message: str, now: datetime
    ) -> None:
        """Tell of a transition as a Kubernetes Event; the same words again are the same Event."""
        manifest = build_event(kind, key, uid=uid, type=type, reason=reason, message=message, now=now)
        path = path_of(EVENT, key.namespace, manifest["metadata"]["name"])
        await self._apply(path, names.FIELD_MANAGER, manifest, f"write Event {reason} of {kind.kind} {key}")

    async def delete(self, kind: Kind, key: ObjectKey, *, uid: str, version: str = "") -> None:
        """Delete the object if it still has this uid, and this resource version where one is given.

        An absent one is no error. Dependents go too. Raises `Retryable` when it is another one now, or a
        newer version.
        """
        preconditions = {"uid": uid, **({"resourceVersion": version} if version else {})}
        options = {"preconditions": preconditions, "propagationPolicy": "Background"}
        path = path_of(kind, key.namespace, key.name)
        answer = await self._connection.call("DELETE", path, body=options)
        if answer.status != 404:
            parse_object(answer, f"delete {kind.kind} {key}")

    async def pod_log(
        self, key: ObjectKey, container: str, *, tail_lines: int | None, previous: bool = False
    ) -> str:
        """Return a log's last lines, its beginning where `tail_lines` is None; empty when there is none.

        At most 1 MiB of it.
        """
        query = {"container": container, "limitBytes": str(LOG_LIMIT_BYTES)}
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        if previous:
            query["previous"] = "true"
        path = f"{path_of(POD, key.namespace, key.name)}/log"
        answer = await self._connection.call("GET", path, query=query)
        if answer.status in (400, 404):  # 400: the container has not started
            return ""
        if answer.status >= 400:
            raise error_of(answer.status, f"read log of Pod {key}", answer.body, answer.retry_after)
        return answer.body

    async def ask_pod(self, key: ObjectKey, port: int, path: str) -> str:
        """Return what a pod answers to a GET that the API server passes on; takes the right pods/proxy."""
        url = f"{path_of(POD, key.namespace, f'{key.name}:{port}')}/proxy{path}"
        answer = await self._connection.call("GET", url)
        if answer.status >= 400:
            raise error_of(answer.status, f"ask Pod {key} for {path}", answer.body, answer.retry_after)
        return answer.body

    async def renew_lease(self, key: ObjectKey, claims: Mapping[str, str | None]) -> Manifest:
        """Set these annotations of a Lease that exists, remove those that are None, and leave all others.

        Returns the Lease as it now is. Raises `Retryable` when it does not exist yet.
        """
        answer = await self._connection.call(
            "PATCH",
            path_of(LEASE, key.namespace, key.name),
            query={"fieldManager": LEASE_FIELD_MANAGER},
            body={"metadata": {"annotations": claims}},
            content_type=_MERGE,
        )
        return parse_object(answer, f"renew Lease {key}")

    def watch(self, kind: Kind, *, labels: str = "") -> AsyncIterator[WatchEvent]:
        """List, then follow the kind in all namespaces, for ever; reconnects and lists anew by itself."""
        return watch_objects(self._connection, kind, labels=labels)

    async def _apply(self, path: str, manager: str, manifest: Manifest, what: str) -> dict[str, Any]:
        query = {"fieldManager": manager, "force": "true", **_STRICT}
        body = apply_body(manifest)
        answer = await self._connection.call("PATCH", path, query=query, body=body, content_type=_APPLY)
        if answer.status == 422 and "metadata.uid" in answer.body:
            # The uid was a precondition: this object's successor must not be written to.
            raise Retryable(f"{what}: another object has this name now")
        return parse_object(answer, what)
