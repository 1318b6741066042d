"""What the clients are installed from: every package pinned by its hash, and no registry named."""

import json
import re
from pathlib import Path

from e2e.clients.installed import NODE_LOCK, PYTHON_LOCK


def test_every_python_package_is_pinned_by_hash() -> None:
    entries = re.split(r"\n(?=\S)", PYTHON_LOCK.read_text().strip())
    assert {"anthropic", "langchain-openai", "litellm", "openai"} <= {item.split("==")[0] for item in entries}
    assert [item.split()[0] for item in entries if "--hash=sha256:" not in item] == []


def test_every_node_package_is_pinned_by_hash_and_names_no_registry() -> None:
    package, lock = (json.loads(file.read_text()) for file in NODE_LOCK)
    packages = lock["packages"]
    assert packages.pop("")["dependencies"] == package["dependencies"]
    assert set(packages) >= {f"node_modules/{name}" for name in package["dependencies"]}
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name


def test_no_lock_holds_an_address() -> None:
    assert not [file.name for file in (PYTHON_LOCK, *NODE_LOCK) if Path(file).read_text().count("://")]
