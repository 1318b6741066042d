"""How a benchmark of plain figures tells them: JSON, then Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def report(figures: Mapping[str, float], file: Path | None) -> None:
    """Print both; write the JSON to the file too, where there is one."""
    text = json.dumps(figures, indent=1, ensure_ascii=False)
    if file is not None:
        file.write_text(text)
    print(text)
    print("\n| figure | value |\n| --- | --- |")
    for name, value in figures.items():
        print(f"| {name} | {value:.1f} |")
