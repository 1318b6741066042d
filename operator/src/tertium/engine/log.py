"""A vLLM log's bare lines, and the error that a failed start ends with. Pure: text in, text out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

SENTENCE_LIMIT: Final = 1000

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROCESS: Final = re.compile(r"^(?:\((?:[\w./-]+ )*pid=\d+\)\s?)+")
_STAMP: Final = re.compile(
    r"^(?:ERROR|WARNING|INFO|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \[[^\]]*\] ?"
)
_RAISED: Final = re.compile(r"^(?:\w+\.)*(?P<kind>\w*(?:Error|Exception|Interrupt|Exit)): (?P<words>.+)$")
_USAGE: Final = re.compile(r"^(?:[\w.-]+ )*[\w.-]+: error: (?P<words>.+)$")
_PYDANTIC: Final = re.compile(r"^\d+ validation errors? for \w+$")
_PYDANTIC_VALUE: Final = re.compile(r"^\s*(?:Value error|Assertion failed), (?P<words>.+?)(?: \[type=.*)?$")

# What one process says about the failure of another: true, and no help.
_ECHOES: Final = (
    "Engine core initialization failed",
    "Engine core proc",
    "WorkerProc initialization failed",
    "Executor failed",
    "Worker failed with error",
    "cancelled",
)


def bare_lines(log: str) -> Sequence[str]:
    """Return the lines without colours, process and time stamp: a line looks the same from every process."""
    return [_STAMP.sub("", _PROCESS.sub("", _COLOUR.sub("", line))) for line in log.splitlines()]


def failure_sentence(lines: Sequence[str]) -> str:
    """Return the engine's own reason from the bare lines of its log's tail, or the empty text without one.

    The last error counts that is not the echo of another process's: causes are logged before what they cause
    inside one process, and the outermost one is written for people.
    """
    found = ""
    for sentence in _errors(lines):
        if not any(echo in sentence for echo in _ECHOES):
            found = sentence
    return found[:SENTENCE_LIMIT]


def _errors(lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if usage := _USAGE.match(line):
            yield usage["words"].strip()
        if raised := _RAISED.match(line):
            words = raised["words"].strip()
            if _PYDANTIC.match(words):
                words = _first_value_error(lines[number + 1 :]) or words
            yield f"{raised['kind']}: {words}"


def _first_value_error(lines: Sequence[str]) -> str:
    for line in lines[:20]:
        if value := _PYDANTIC_VALUE.match(line):
            return value["words"].strip()
    return ""
