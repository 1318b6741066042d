"""The client against an HTTP server that answers as the API server does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from tertium.api.conditions import Reason
from tertium.api.meta import ObjectKey
from tertium.core.errors import Retryable, Terminal
from tertium.kube import watch
from tertium.kube.client import KubeCluster
from tertium.kube.cluster import DEPLOYMENT, JOB, LEASE, LLM_DEPLOYMENT, NODE, POD, WatchEvent
from tertium.kube.connection import Connection
from tests.factories import NOW, seconds

KEY = ObjectKey("team-a", "qwen")


class ApiServer:
    """Answers from a script and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.content_type = request.content_type
        if not self.answers:
            await asyncio.Event().wait()
        return await self.answers.pop(0)(request)

    def says(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        async def answer(_: web.Request) -> web.Response:
            text = body if isinstance(body, str) else json.dumps(body)
            return web.Response(status=status, text=text, headers=headers)

        self.answers.append(answer)

    def streams(self, *changes: dict[str, Any], cut: bool = False) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for change in changes:
                await response.write(json.dumps(change).encode() + b"\n")
            if cut and request.transport is not None:
                request.transport.abort()
            return response

        self.answers.append(answer)


@pytest.fixture
async def api() -> AsyncIterator[tuple[ApiServer, KubeCluster]]:
    script = ApiServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", script.handle)
    async with TestServer(application) as server:
        configuration = Configuration(host=str(server.make_url("")).rstrip("/"))
        configuration.api_key["BearerToken"] = "Bearer secret"
        rest = RESTClientObject(configuration)
        rest.pool_manager = aiohttp.ClientSession()
        yield script, KubeCluster(Connection(configuration, rest))
        await rest.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PAUSES", (0.0,))


def item(name: str, version: int = 5) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "managedFields": [{}]}}


def page(*items: dict[str, Any], version: int = 5, more: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items)}


def change(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": item(name, version)}


async def test_an_apply_is_forced_under_our_name(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(200, item("qwen"))
    manifest = {"kind": "Lease", "metadata": {"name": "qwen", "namespace": "team-a"}}
    assert "managedFields" not in (await cluster.apply(LEASE, manifest))["metadata"]
    path = "/apis/coordination.k8s.io/v1/namespaces/team-a/leases/qwen"
    query = {"fieldManager": "tertium", "force": "true", "fieldValidation": "Strict"}
    assert server.requests == [("PATCH", path, query, manifest)]
    assert server.content_type == "application/apply-patch+yaml"


async def test_a_status_goes_to_its_subresource_under_its_own_name(
    api: tuple[ApiServer, KubeCluster],
) -> None:
    server, cluster = api
    server.says(200, item("qwen"))
    await cluster.apply_status(LLM_DEPLOYMENT, {"metadata": {"name": "qwen", "namespace": "team-a"}})
    method, path, query, _ = server.requests[0]
    assert (method, path) == (
        "PATCH",
        "/apis/tertium.dev/v1alpha1/namespaces/team-a/llmdeployments/qwen/status",
    )
    assert query["fieldManager"] == "tertium-status"


async def test_a_renewal_changes_its_own_annotations_alone(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(200, item("qwen"))
    claims = {"demand.tertium.dev/gateway-1": "2026-11-21T12:00:00.000000Z/PT15S"}
    await cluster.renew_lease(KEY, claims)
    assert server.requests[0][3] == {"metadata": {"annotations": claims}}
    assert server.content_type == "application/merge-patch+json"


async def test_a_scaling_goes_to_its_subresource_and_means_one_uid(
    api: tuple[ApiServer, KubeCluster],
) -> None:
    server, cluster = api
    server.says(200, item("qwen", version=7))
    assert await cluster.scale(DEPLOYMENT, KEY, 3, uid="u1") == "7"
    method, path, query, body = server.requests[0]
    assert (method, path) == ("PATCH", "/apis/apps/v1/namespaces/team-a/deployments/qwen/scale")
    assert query["fieldManager"] == "tertium-scale"
    assert body == {"metadata": {"uid": "u1"}, "spec": {"replicas": 3}}
    assert server.content_type == "application/merge-patch+json"


async def test_annotations_are_all_that_their_manager_says(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(200, item("qwen"))
    await cluster.annotate(POD, KEY, {"cost": "5"}, uid="u1", manager="tertium-drain")
    _, path, query, body = server.requests[0]
    assert path == "/api/v1/namespaces/team-a/pods/qwen"
    assert query["fieldManager"] == "tertium-drain"
    assert body["metadata"] == {
        "name": "qwen",
        "namespace": "team-a",
        "uid": "u1",
        "annotations": {"cost": "5"},
    }


async def test_a_successor_of_the_same_name_is_not_written_to(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(422, {"message": 'Pod "qwen" is invalid: metadata.uid: Invalid value: field is immutable'})
    with pytest.raises(Retryable) as fault:
        await cluster.annotate(POD, KEY, {}, uid="u1", manager="tertium-drain")
    assert str(fault.value) == "annotate Pod team-a/qwen: another object has this name now"


async def say(cluster: KubeCluster, message: str, now: datetime = NOW) -> None:
    words = {"type": "Normal", "reason": "Woke", "message": message}
    await cluster.event(LLM_DEPLOYMENT, KEY, uid="u1", now=now, **words)


async def test_an_event_tells_of_its_object(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(200, item("qwen"))
    await say(cluster, "A replica answers requests")
    method, path, _, body = server.requests[0]
    name = body.pop("metadata")["name"]
    assert (method, path) == ("PATCH", f"/api/v1/namespaces/team-a/events/{name}")
    assert body == {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "apiVersion": "tertium.dev/v1alpha1",
            "kind": "LLMDeployment",
            "name": "qwen",
            "namespace": "team-a",
            "uid": "u1",
        },
        "type": "Normal",
        "reason": "Woke",
        "message": "A replica answers requests",
        "source": {"component": "tertium-operator"},
        "firstTimestamp": "2026-11-21T12:00:00Z",
        "lastTimestamp": "2026-11-21T12:00:00Z",
        "count": 1,
    }


async def test_the_same_words_are_the_same_event_and_others_another(
    api: tuple[ApiServer, KubeCluster],
) -> None:
    server, cluster = api
    for message, later in (("a", 0), ("a", 60), ("b", 0)):
        server.says(200, item("qwen"))
        await say(cluster, message, NOW + seconds(later))
    names = [body["metadata"]["name"] for _, _, _, body in server.requests]
    assert names[0] == names[1] != names[2]
    assert all(name.startswith("qwen.") and len(name) <= 253 for name in names)


@pytest.mark.parametrize(
    ("metadata", "method", "path"),
    [
        pytest.param({}, "POST", "/leases", id="without a version it is created"),
        pytest.param({"resourceVersion": "5"}, "PUT", "/leases/qwen", id="with one, that one is replaced"),
    ],
)
async def test_an_object_is_written_by_the_first_who_does(
    api: tuple[ApiServer, KubeCluster], metadata: dict[str, str], method: str, path: str
) -> None:
    server, cluster = api
    manifest = {"kind": "Lease", "metadata": {"name": "qwen", "namespace": "team-a", **metadata}}
    server.says(201, item("qwen"))
    server.says(409, {"message": "the object has been modified"})
    written = await cluster.replace(LEASE, manifest)
    assert written is not None
    assert written["metadata"]["resourceVersion"] == "5"
    assert await cluster.replace(LEASE, manifest) is None
    assert server.requests[0][:2] == (method, f"/apis/coordination.k8s.io/v1/namespaces/team-a{path}")


async def test_a_missing_namespace_is_no_rival(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(404, {"message": 'namespaces "team-a" not found'})
    with pytest.raises(Retryable, match=r'replace Lease team-a/qwen: .* namespaces "team-a" not found'):
        await cluster.replace(LEASE, {"metadata": {"name": "qwen", "namespace": "team-a"}})


async def test_a_delete_may_mean_one_version(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(200, item("qwen"))
    await cluster.delete(LLM_DEPLOYMENT, KEY, uid="1", version="9")
    assert server.requests[0][3]["preconditions"] == {"uid": "1", "resourceVersion": "9"}


async def test_pages_of_a_list_are_joined(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(200, page(item("a"), more="next"))
    server.says(200, page(item("b")))
    found = await cluster.list(POD, namespace="team-a", labels="x=y")
    assert [(each["kind"], each["metadata"]["name"]) for each in found] == [("Pod", "a"), ("Pod", "b")]
    assert [query for _, _, query, _ in server.requests] == [
        {"limit": "100", "labelSelector": "x=y"},
        {"limit": "100", "labelSelector": "x=y", "continue": "next"},
    ]


async def test_pages_are_asked_for_one_after_the_other(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(200, page(item("a"), more="next"))
    server.says(200, page(item("b")))
    seen = [
        ([each["metadata"]["name"] for each in found], len(server.requests))
        async for found in cluster.pages(POD, labels="x=y")
    ]
    assert seen == [(["a"], 1), (["b"], 2)]


async def test_what_is_not_there_is_a_result(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    for _ in range(3):
        server.says(404, {"message": "not found"})
    assert await cluster.get(NODE, ObjectKey("", "n")) is None
    await cluster.delete(JOB, KEY, uid="1")
    assert await cluster.pod_log(KEY, "engine", tail_lines=5) == ""
    assert server.requests[0][1] == "/api/v1/nodes/n"


async def test_a_delete_means_one_uid_and_its_dependents(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(409, {"message": "the UID in the precondition does not match"})
    with pytest.raises(Retryable) as fault:
        await cluster.delete(JOB, KEY, uid="1")
    assert str(fault.value) == (
        "delete Job team-a/qwen: the API server answered 409: the UID in the precondition does not match"
    )
    assert server.requests[0][3] == {"preconditions": {"uid": "1"}, "propagationPolicy": "Background"}


@pytest.mark.parametrize("status", [409, 429, 500, 503, 504, 401, 404])
async def test_passing_faults_are_retryable(api: tuple[ApiServer, KubeCluster], status: int) -> None:
    server, cluster = api
    server.says(status, {"message": "try again"}, {"Retry-After": "7"})
    with pytest.raises(Retryable) as fault:
        await cluster.apply(LEASE, {"metadata": {"name": "qwen", "namespace": "team-a"}})
    assert str(fault.value) == f"apply Lease team-a/qwen: the API server answered {status}: try again"
    assert fault.value.after == 7.0


@pytest.mark.parametrize(
    ("status", "body", "reason", "message"),
    [
        pytest.param(422, {"message": "spec.x: bad"}, Reason.INVALID, "spec.x: bad", id="an invalid object"),
        pytest.param(400, "nonsense", Reason.INVALID, "nonsense", id="an answer that is no JSON"),
        pytest.param(403, {"message": "exceeded quota"}, Reason.FORBIDDEN, "exceeded quota", id="forbidden"),
        pytest.param(403, "", Reason.FORBIDDEN, "no message", id="no words at all"),
    ],
)
async def test_refusals_are_terminal(
    api: tuple[ApiServer, KubeCluster], status: int, body: Any, reason: Reason, message: str
) -> None:
    server, cluster = api
    server.says(status, body)
    with pytest.raises(Terminal) as refused:
        await cluster.apply(LEASE, {"metadata": {"name": "qwen", "namespace": "team-a"}})
    assert refused.value.reason is reason
    assert str(refused.value) == f"apply Lease team-a/qwen: the API server answered {status}: {message}"


async def test_no_answer_is_a_passing_fault() -> None:
    configuration = Configuration(host="http://127.0.0.1:9")
    rest = RESTClientObject(configuration)
    with pytest.raises(Retryable, match="GET /api/v1/nodes/n: the API server did not answer: "):
        await KubeCluster(Connection(configuration, rest)).get(NODE, ObjectKey("", "n"))
    await rest.close()


async def take(cluster: KubeCluster, count: int) -> list[tuple[str, str | None]]:
    found: list[WatchEvent] = []
    events = cluster.watch(POD)
    async for event in events:
        found.append(event)
        if len(found) == count:
            break
    await events.aclose()  # type: ignore[attr-defined]
    return [(each.type, str(each.object["metadata"]["name"]) if each.object else None) for each in found]


async def test_a_watch_lists_follows_and_goes_on_where_it_was_cut(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(200, page(item("a"), version=5))
    server.streams(change("ADDED", "b", 6), {"type": "BOOKMARK", "object": item("", 9)}, cut=True)
    server.says(500, {"message": "restarting"})
    server.streams(change("DELETED", "a", 10))
    assert await take(cluster, 4) == [("LISTED", "a"), ("SYNCED", None), ("ADDED", "b"), ("DELETED", "a")]
    assert [query.get("resourceVersion") for _, _, query, _ in server.requests] == [None, "5", "9", "9"]
    assert server.requests[1][2]["allowWatchBookmarks"] == "true"


@pytest.mark.parametrize("as_event", [True, False], ids=["in the stream", "as an answer"])
async def test_a_watch_that_is_too_old_lists_anew(api: tuple[ApiServer, KubeCluster], as_event: bool) -> None:
    server, cluster = api
    server.says(200, page(item("a"), version=5))
    if as_event:
        server.streams({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
    else:
        server.says(410, {"message": "too old"})
    server.says(200, page(item("b"), version=8))
    assert await take(cluster, 4) == [("LISTED", "a"), ("SYNCED", None), ("LISTED", "b"), ("SYNCED", None)]


async def test_a_list_that_expired_half_way_is_begun_anew_and_told_once(
    api: tuple[ApiServer, KubeCluster],
) -> None:
    server, cluster = api
    server.says(200, page(item("gone"), more="next"))
    server.says(410, {"message": "expired"})
    server.says(200, page(item("a")))
    assert await take(cluster, 2) == [("LISTED", "a"), ("SYNCED", None)]


async def test_a_watch_outlives_a_refusal(api: tuple[ApiServer, KubeCluster]) -> None:
    server, cluster = api
    server.says(403, {"message": "not yet"})
    server.says(200, page(item("a")))
    assert await take(cluster, 2) == [("LISTED", "a"), ("SYNCED", None)]
