"""Which release of vLLM an engine image holds, as far as its reference says."""

from __future__ import annotations

import re
from typing import Final

from tertium.core.planner.releases import DEFAULT_ENGINE_VERSION

_TAG: Final = re.compile(r":v?(\d{1,4}\.\d{1,4}(?:\.\d{1,4})*)[^/:]*$")


def engine_version(image: str) -> str:
    """Return the version in an image's tag, as in `vllm/vllm-openai:v0.32.0`.

    Images are mostly rebuilt from recent releases: one whose tag says nothing counts as the newest known.
    """
    tag = _TAG.search(image.partition("@")[0])
    return tag[1] if tag else DEFAULT_ENGINE_VERSION
