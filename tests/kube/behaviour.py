"""What the API server does with what `Cluster` asks of it: one table, for the fake and for the real one.

A case gets a cluster and a namespace of its own, and asserts. What holds for the fake alone is worth nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import pytest

from tertium.api.meta import Manifest, ObjectKey
from tertium.core.demand import claim_key, claim_text, claims_of
from tertium.core.errors import Retryable
from tertium.kube.cluster import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    LEASE,
    LLM_DEPLOYMENT,
    POD,
    Cluster,
    Kind,
    WatchEvent,
)

Case: TypeAlias = Callable[[Cluster, str], Awaitable[None]]

OTHER_UID: Final = "00000000-0000-0000-0000-000000000000"
NOW: Final = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def config_map(namespace: str, data: Mapping[str, str], **metadata: Any) -> Manifest:
    head = {"name": "thing", "namespace": namespace, **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": data}


def lease(namespace: str) -> Manifest:
    # An apply that owns no field leaves no trace: the API server would take the next one for the first.
    head = {"name": "thing", "namespace": namespace, "labels": {"owned": "yes"}}
    return {"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": head}


def said(namespace: str, **status: Any) -> Manifest:
    head = {"name": "thing", "namespace": namespace}
    kind = LLM_DEPLOYMENT
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": head, "status": status}


def llmd(namespace: str, *, tokens: int = 2048) -> Manifest:
    spec = {
        "model": {"source": "hf://org/model"},
        "capacity": {"contextTokens": tokens, "concurrentSequences": 4},
    }
    head = {"name": "thing", "namespace": namespace}
    return {"apiVersion": LLM_DEPLOYMENT.api_version, "kind": "LLMDeployment", "metadata": head, "spec": spec}


def deployment(namespace: str, *, replicas: int | None = None) -> Manifest:
    labels = {"app": "thing"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "fake/thing"}]}}
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": pod}
    if replicas is not None:
        spec["replicas"] = replicas
    head = {"name": "thing", "namespace": namespace}
    return {"apiVersion": DEPLOYMENT.api_version, "kind": "Deployment", "metadata": head, "spec": spec}


async def read(cluster: Cluster, kind: Kind, namespace: str) -> dict[str, Any]:
    found = await cluster.get(kind, ObjectKey(namespace, "thing"))
    assert found is not None
    return dict(found)


def version(manifest: Manifest) -> str:
    return str(manifest["metadata"]["resourceVersion"])


def uid(manifest: Manifest) -> str:
    return str(manifest["metadata"]["uid"])


async def same_apply(cluster: Cluster, namespace: str) -> None:
    first = await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1"}))
    again = await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1"}))
    assert (version(again), uid(again)) == (version(first), uid(first))


async def dropped_field(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1", "b": "2"}))
    after = await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1"}))
    assert after["data"] == {"a": "1"}


async def letters(cluster: Cluster, namespace: str) -> None:
    """What people type, and what they do not mean to: nothing of it may become something else."""
    texts = (
        "é",
        "模型",
        "😀",
        "\\ud83d\\ude00",
        "\\😀",
        '"',
        "\\",
        "\n",
        "\t",
        " ",
        "\x1b",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
    )
    data = {f"t{number}": text for number, text in enumerate(texts)}
    made = await cluster.apply(CONFIG_MAP, config_map(namespace, data))
    assert made["data"] == data


async def shared_field(cluster: Cluster, namespace: str) -> None:
    ours = config_map(namespace, {}, annotations={"x": "1"})
    made = await cluster.apply(CONFIG_MAP, ours)
    key = ObjectKey(namespace, "thing")
    await cluster.annotate(CONFIG_MAP, key, {"x": "1"}, uid=uid(made), manager="somebody")
    after = await cluster.apply(CONFIG_MAP, config_map(namespace, {}))
    assert after["metadata"]["annotations"] == {"x": "1"}


async def taken_field(cluster: Cluster, namespace: str) -> None:
    made = await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1"}))
    key = ObjectKey(namespace, "thing")
    await cluster.annotate(CONFIG_MAP, key, {"x": "theirs"}, uid=uid(made), manager="somebody")
    ours = await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1"}, annotations={"x": "ours"}))
    assert ours["metadata"]["annotations"] == {"x": "ours"}
    after = await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1"}))
    assert "x" not in after["metadata"].get("annotations", {})


async def annotations_of_one_manager(cluster: Cluster, namespace: str) -> None:
    made = await cluster.apply(CONFIG_MAP, config_map(namespace, {}, annotations={"ours": "1"}))
    key = ObjectKey(namespace, "thing")
    await cluster.annotate(CONFIG_MAP, key, {"a": "1", "b": "2"}, uid=uid(made), manager="somebody")
    after = await cluster.annotate(CONFIG_MAP, key, {"b": "3"}, uid=uid(made), manager="somebody")
    assert after["metadata"]["annotations"] == {"ours": "1", "b": "3"}


async def annotated_stranger(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(CONFIG_MAP, config_map(namespace, {}))
    for name in ("thing", "nothing"):
        key = ObjectKey(namespace, name)
        with pytest.raises(Retryable, match=name):
            await cluster.annotate(CONFIG_MAP, key, {"a": "1"}, uid=OTHER_UID, manager="m")
    assert "annotations" not in (await read(cluster, CONFIG_MAP, namespace))["metadata"]
    assert await cluster.get(CONFIG_MAP, ObjectKey(namespace, "nothing")) is None


async def renewed_lease(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(LEASE, lease(namespace))
    key = ObjectKey(namespace, "thing")
    for pod in ("gateway-1", "gateway-2"):
        renewed = await cluster.renew_lease(key, {claim_key(pod): claim_text(NOW, 15)})
    assert claims_of(renewed).keys() == {claim_key("gateway-1"), claim_key("gateway-2")}
    after = await cluster.apply(LEASE, lease(namespace))
    assert version(after) == version(renewed)
    left = await cluster.renew_lease(key, {claim_key("gateway-1"): None})
    assert claims_of(left) == {claim_key("gateway-2"): "2026-11-22T12:00:00.000000Z/PT15S"}
    assert claims_of(await read(cluster, LEASE, namespace)) == claims_of(left)


async def absent_lease(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(Retryable, match="renew Lease"):
        await cluster.renew_lease(ObjectKey(namespace, "thing"), {claim_key("gateway-1"): None})


async def status_apart(cluster: Cluster, namespace: str) -> None:
    made = await cluster.apply(LLM_DEPLOYMENT, llmd(namespace))
    told = await cluster.apply_status(LLM_DEPLOYMENT, said(namespace, replicas=1))
    assert told["status"]["replicas"] == 1
    assert version(told) != version(made)
    assert told["metadata"]["generation"] == 1
    changed = await cluster.apply(LLM_DEPLOYMENT, llmd(namespace, tokens=4096))
    assert changed["status"]["replicas"] == 1
    assert changed["metadata"]["generation"] == 2
    again = await cluster.apply_status(LLM_DEPLOYMENT, said(namespace, replicas=1))
    assert version(again) == version(changed)
    assert again["spec"]["capacity"]["contextTokens"] == 4096


async def dropped_status(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(LLM_DEPLOYMENT, llmd(namespace))
    await cluster.apply_status(LLM_DEPLOYMENT, said(namespace, replicas=1, url="http://x"))
    after = await cluster.apply_status(LLM_DEPLOYMENT, said(namespace, replicas=1))
    assert "url" not in after["status"]


async def absent_status(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(Retryable, match="apply status of LLMDeployment"):
        await cluster.apply_status(LLM_DEPLOYMENT, said(namespace, replicas=1))


async def label_and_generation(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(LEASE, lease(namespace))
    head = {"name": "thing", "namespace": namespace, "labels": {"a": "b"}}
    after = await cluster.apply(LLM_DEPLOYMENT, llmd(namespace))
    after = await cluster.apply(LLM_DEPLOYMENT, {**llmd(namespace), "metadata": head})
    assert after["metadata"]["labels"] == {"a": "b"}
    assert after["metadata"]["generation"] == 1


async def deletions(cluster: Cluster, namespace: str) -> None:
    key = ObjectKey(namespace, "thing")
    made = await cluster.apply(CONFIG_MAP, config_map(namespace, {}))
    with pytest.raises(Retryable, match="409"):
        await cluster.delete(CONFIG_MAP, key, uid=OTHER_UID)
    assert await cluster.get(CONFIG_MAP, key) is not None
    later = await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1"}))
    with pytest.raises(Retryable, match="409"):
        await cluster.delete(CONFIG_MAP, key, uid=uid(made), version=version(made))
    assert await cluster.get(CONFIG_MAP, key) is not None
    await cluster.delete(CONFIG_MAP, key, uid=uid(made), version=version(later))
    assert await cluster.get(CONFIG_MAP, key) is None
    await cluster.delete(CONFIG_MAP, key, uid=uid(made))


async def successor(cluster: Cluster, namespace: str) -> None:
    key = ObjectKey(namespace, "thing")
    first = await cluster.apply(CONFIG_MAP, config_map(namespace, {"a": "1"}, annotations={"x": "1"}))
    await cluster.delete(CONFIG_MAP, key, uid=uid(first))
    second = await cluster.apply(CONFIG_MAP, config_map(namespace, {"b": "2"}))
    assert uid(second) != uid(first)
    assert second["data"] == {"b": "2"}
    assert "annotations" not in second["metadata"]


async def lists(cluster: Cluster, namespace: str) -> None:
    for name, labels in (("one", {"a": "1", "b": "2"}), ("two", {"a": "1"}), ("three", {})):
        await cluster.apply(CONFIG_MAP, config_map(namespace, {}, name=name, labels=labels))

    async def names(selector: str) -> list[str]:
        found = await cluster.list(CONFIG_MAP, namespace=namespace, labels=selector)
        # Every namespace of a real cluster has its CA.
        return sorted({item["metadata"]["name"] for item in found} - {"kube-root-ca.crt"})

    assert await names("") == ["one", "three", "two"]
    assert await names("a=1") == ["one", "two"]
    assert await names("a=1,b=2") == ["one"]
    assert await names("a=2") == []
    everywhere = await cluster.list(CONFIG_MAP, labels="a=1")
    assert {(item["apiVersion"], item["kind"]) for item in everywhere} == {("v1", "ConfigMap")}
    assert await cluster.list(CONFIG_MAP, namespace=f"{namespace}-other", labels="a=1") == []


async def pages(cluster: Cluster, namespace: str) -> None:
    """All that is listed is in the pages, each object once."""
    label = {"paged": namespace}
    for name in ("a", "b", "c"):
        await cluster.apply(CONFIG_MAP, config_map(namespace, {}, name=name, labels=label))
    found = [item async for page in cluster.pages(CONFIG_MAP, labels=f"paged={namespace}") for item in page]
    assert sorted(item["metadata"]["name"] for item in found) == ["a", "b", "c"]
    assert {item["kind"] for item in found} == {"ConfigMap"}


async def scaled(cluster: Cluster, namespace: str) -> None:
    key = ObjectKey(namespace, "thing")
    made = await cluster.apply(DEPLOYMENT, deployment(namespace, replicas=0))
    await cluster.scale(DEPLOYMENT, key, 3, uid=uid(made))
    after = await read(cluster, DEPLOYMENT, namespace)
    assert after["spec"]["replicas"] == 3
    assert int(after["metadata"]["generation"]) == 2
    kept = await cluster.apply(DEPLOYMENT, deployment(namespace))
    assert kept["spec"]["replicas"] == 3


async def scaled_stranger(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(DEPLOYMENT, deployment(namespace, replicas=0))
    for name in ("thing", "nothing"):
        with pytest.raises(Retryable, match=name):
            await cluster.scale(DEPLOYMENT, ObjectKey(namespace, name), 1, uid=OTHER_UID)
    assert (await read(cluster, DEPLOYMENT, namespace))["spec"]["replicas"] == 0


async def replaced(cluster: Cluster, namespace: str) -> None:
    made = await cluster.replace(CONFIG_MAP, config_map(namespace, {"a": "1"}))
    assert made is not None
    assert await cluster.replace(CONFIG_MAP, config_map(namespace, {"a": "2"})) is None
    seen = config_map(namespace, {"b": "2"}, resourceVersion=version(made))
    after = await cluster.replace(CONFIG_MAP, seen)
    assert after is not None
    assert after["data"] == {"b": "2"}
    assert uid(after) == uid(made)
    assert await cluster.replace(CONFIG_MAP, seen) is None


async def one_event(cluster: Cluster, namespace: str) -> None:
    about = await cluster.apply(CONFIG_MAP, config_map(namespace, {}))
    key = ObjectKey(namespace, "thing")
    for message in ("it woke", "it woke", "it slept"):
        await cluster.event(
            CONFIG_MAP, key, uid=uid(about), type="Normal", reason="Woke", message=message, now=NOW
        )
    found = await cluster.list(EVENT, namespace=namespace)
    said = sorted(item.get("message") or item["note"] for item in found if item["reason"] == "Woke")
    assert said == ["it slept", "it woke"]


async def events_about_one(cluster: Cluster, namespace: str) -> None:
    for name in ("thing", "other"):
        about = await cluster.apply(CONFIG_MAP, config_map(namespace, {}, name=name))
        key = ObjectKey(namespace, name)
        words: dict[str, Any] = {"type": "Warning", "reason": "Broke", "message": f"{name} broke", "now": NOW}
        await cluster.event(CONFIG_MAP, key, uid=uid(about), **words)
    found = await cluster.list(EVENT, namespace=namespace, fields=f"involvedObject.uid={uid(about)}")
    assert [item["message"] for item in found] == ["other broke"]


async def absent_log(cluster: Cluster, namespace: str) -> None:
    assert await cluster.get(POD, ObjectKey(namespace, "thing")) is None
    assert await cluster.pod_log(ObjectKey(namespace, "thing"), "engine", tail_lines=5) == ""


async def watched(cluster: Cluster, namespace: str) -> None:
    """What is there is listed; then changes come in order. Leaving the selector is a deletion."""
    label = {"watched": namespace}
    seen: list[tuple[str, str]] = []
    listed, over = asyncio.Event(), asyncio.Event()

    async def follow() -> None:
        async for event in cluster.watch(CONFIG_MAP, labels=f"watched={namespace}"):
            seen.append(_words(event))
            if event.type == "SYNCED":
                listed.set()
            if seen.count(("DELETED", "new")):
                over.set()

    await cluster.apply(CONFIG_MAP, config_map(namespace, {"n": "0"}, name="old", labels=label))
    task = asyncio.create_task(follow())
    try:
        await asyncio.wait_for(listed.wait(), 10)
        made = await cluster.apply(CONFIG_MAP, config_map(namespace, {"n": "1"}, name="new", labels=label))
        await cluster.apply(CONFIG_MAP, config_map(namespace, {"n": "2"}, name="new", labels=label))
        await cluster.apply(CONFIG_MAP, config_map(namespace, {"n": "2"}, name="new", labels=label))
        await cluster.apply(CONFIG_MAP, config_map(namespace, {"n": "9"}, name="unseen"))
        await cluster.apply(CONFIG_MAP, config_map(namespace, {"n": "0"}, name="old"))
        await cluster.delete(CONFIG_MAP, ObjectKey(namespace, "new"), uid=uid(made))
        await asyncio.wait_for(over.wait(), 10)
    finally:
        task.cancel()
    assert seen == [
        ("LISTED", "old"),
        ("SYNCED", ""),
        ("ADDED", "new"),
        ("MODIFIED", "new"),
        ("DELETED", "old"),
        ("DELETED", "new"),
    ]


def _words(event: WatchEvent) -> tuple[str, str]:
    return event.type, event.object["metadata"]["name"] if event.object else ""


CASES: Final[Mapping[str, Case]] = {
    "the same apply again changes nothing": same_apply,
    "letters of all kinds are stored as they are": letters,
    "a field that an apply no longer names goes": dropped_field,
    "a field that somebody else applied too stays": shared_field,
    "a field taken from somebody by force is ours alone": taken_field,
    "an annotating manager's annotations are all that it says, and nobody else's": annotations_of_one_manager,
    "an object with another uid, or none, is not annotated": annotated_stranger,
    "a renewal outlives our apply of the Lease": renewed_lease,
    "an absent Lease is not renewed": absent_lease,
    "the status is apart: neither it nor an unchanged spec touches the other": status_apart,
    "a status field that is no longer said goes": dropped_status,
    "an absent object has no status": absent_status,
    "labels do not count as a new generation": label_and_generation,
    "only the object with this uid and version is deleted, and an absent one is fine": deletions,
    "a successor of the same name inherits nothing": successor,
    "lists obey namespace and labels": lists,
    "a list comes in pages too": pages,
    "a scaled count outlives an apply that no longer names it": scaled,
    "an object with another uid, or none, is not scaled": scaled_stranger,
    "a replacement needs the version it has seen": replaced,
    "the same words about an object are one Event": one_event,
    "Events are found by whom they are about": events_about_one,
    "a Pod that is not there has said nothing": absent_log,
    "a watch lists, then tells changes in order": watched,
}
