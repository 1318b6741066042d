"""Encryption towards callers with the real Envoy: protocols, and a certificate that is renewed meanwhile."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from e2e.certificates import self_signed, shown_name
from tertium.kube.cluster import LLM_DEPLOYMENT, POD
from tests.gateway.parts import a_deployment, a_pod
from tests.gateway.stack import Stack, running_stack, until


class Certificates:
    """A mounted Secret: files behind a link that is swapped, as the kubelet does it."""

    def __init__(self, root: Path) -> None:
        self.mounted = root / "mounted"
        self.mounted.mkdir()
        self._root = root
        self._count = 0
        for file in ("tls.crt", "tls.key"):
            (self.mounted / file).symlink_to(f"..data/{file}")
        self.renew()

    def renew(self, *, key_of_another: bool = False) -> None:
        """Make a pair and swap it in; with the key of another it does not fit."""
        self._count += 1
        pair = self.mounted / f"..{self._count}"
        pair.mkdir()
        name = f"gateway-{self._count}"
        key = self_signed(pair, name)["tls.key"].read_bytes()
        if key_of_another:
            self_signed(pair, name)["tls.key"].write_bytes(key)
        new = self.mounted / "..data_tmp"
        new.symlink_to(pair.name)
        new.replace(self.mounted / "..data")


def common_name(stack: Stack) -> str:
    """Whom the certificate names that Envoy shows now."""
    return shown_name("127.0.0.1", stack.layout.listen_port)


async def curl(stack: Stack, body: str, *flags: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(
            "curl",
            "-sk",
            *flags,
            "-w",
            " %{http_version} %{http_code}",
            "-H",
            "Content-Type: application/json",
        ),
        *("-d", body, f"https://127.0.0.1:{stack.layout.listen_port}/v1/completions"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode()


async def test_callers_are_served_over_tls_and_a_renewed_certificate_is_taken(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with running_stack(tmp_path, tls_directory=str(certificates.mounted)) as stack:
        key = await stack.deploy()
        await stack.add_replica(key, await stack.start_engine())
        body = json.dumps({"model": key.name})
        assert (await curl(stack, body, "--http2")).endswith(" 2 200")
        assert (await curl(stack, body, "--http1.1")).endswith(" 1.1 200")
        assert (await curl(stack, body, "--tls-max", "1.1")).endswith(" 0 000")

        async def shows(name: str) -> None:
            async with asyncio.timeout(10):
                while await asyncio.to_thread(common_name, stack) != name:  # noqa: ASYNC110 - Envoy sends no event
                    await asyncio.sleep(0.02)

        await shows("gateway-1")
        certificates.renew()
        await shows("gateway-2")
        certificates.renew(key_of_another=True)
        await until(lambda: "mismatch" in envoy_log(tmp_path).lower())
        await shows("gateway-2")
        assert (await curl(stack, body, "--http2")).endswith(" 2 200")
        certificates.renew()
        await shows("gateway-4")


async def test_a_new_deployment_is_answered_over_tls_too(tmp_path: Path) -> None:
    async with running_stack(tmp_path, tls_directory=str(Certificates(tmp_path).mounted)) as stack:
        engine = await stack.start_engine()
        manifest = a_deployment("new")
        stack.cluster.put(LLM_DEPLOYMENT, manifest)
        await until(lambda: stack.gateway.world.table.models)
        (key,) = stack.gateway.world.table.models
        stack.cluster.put(POD, a_pod(key, ip=engine.ip, ready=True))
        assert (await curl(stack, json.dumps({"model": "new"}), "--http2")).endswith(" 2 200")


def envoy_log(directory: Path) -> str:
    return (directory / "envoy.log").read_text()
