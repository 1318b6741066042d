"""The gateway's part of the bargain without a gateway: load reports, and demand Leases that are renewed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from e2e.fleet.api import APPS, LEASES, Api, ApiError, path_of
from tertium.api.load import LoadReport, ModelLoad
from tertium.core.demand import CLAIM_SECONDS, claim_key, claim_text

REPORT_PORT: Final = 9110
NAME: Final = "tertium-gateway"


class FakeGateway:
    """Answers `GET /load` at the address that gateway pods on fake nodes have; silent until told to speak."""

    def __init__(self, api: Api, namespace: str, address: str) -> None:
        self._api = api
        self._namespace = namespace
        self._lock = threading.Lock()
        self._since = datetime.now(UTC)
        self._models: dict[str, ModelLoad] = {}
        self._silent = False
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = gateway._body()
                self.send_response(200 if body else 503)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((address, REPORT_PORT), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def deploy(self) -> None:
        """Make its Deployment of one replica, whose pod has the machine's address."""
        labels = {"app.kubernetes.io/component": "gateway"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"hostNetwork": True, "containers": [{"name": "activator", "image": "fake/gateway"}]},
        }
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": NAME, "namespace": self._namespace},
            "spec": spec,
        }
        self._api.apply(path_of(APPS, self._namespace, "deployments", NAME), manifest)

    def report(self, model: str, *, in_flight: int = 0, finished: datetime | None = None) -> None:
        """Say from now on that so many requests of a model (`namespace/name`) run."""
        with self._lock:
            self._models[model] = ModelLoad(in_flight=in_flight, held=0, last_finished=finished)

    def silence(self, silent: bool) -> None:
        """Answer no longer, or again."""
        self._silent = silent

    def restarted(self) -> None:
        """Count anew, as a pod does that was started again."""
        with self._lock:
            self._since = datetime.now(UTC)
            self._models.clear()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _body(self) -> bytes:
        if self._silent:
            return b""
        with self._lock:
            report = LoadReport(since=self._since, models=dict(self._models))
        return report.model_dump_json(by_alias=True).encode()


class Demand:
    """States again and again, while the context lasts, that somebody waits; no fault of the API ends it."""

    def __init__(self, api: Api, models: Iterable[tuple[str, str]], *, every: float = 0.5) -> None:
        self._api = api
        self._models = list(models)
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Demand:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def add(self, namespace: str, name: str) -> None:
        """State it for one more."""
        self._models.append((namespace, name))

    def _run(self) -> None:
        while not self._over.wait(self._every):
            for namespace, name in tuple(self._models):
                with contextlib.suppress(ApiError, OSError):
                    renew(self._api, namespace, name)


def renew(api: Api, namespace: str, name: str, *, lasting: float = CLAIM_SECONDS) -> None:
    """State demand as a gateway pod does, for so many seconds."""
    annotations = {claim_key(NAME): claim_text(datetime.now(UTC), lasting)}
    lease = path_of(LEASES, namespace, "leases", f"{name}-demand")
    body = {"metadata": {"annotations": annotations}}
    api.call("PATCH", f"{lease}?fieldManager={NAME}", body, "application/merge-patch+json")
