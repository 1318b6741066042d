"""One JSON object per log line: `log.info("event", extra={...})` puts the extra fields beside the event."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from tertium.api.meta import format_time

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record and its extra fields as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; the time is RFC 3339 with microseconds."""
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "time": format_time(datetime.fromtimestamp(record.created, UTC), micro=True),
            "logger": record.name,
            **{name: value for name, value in record.__dict__.items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logs(level: str) -> None:
    """Send all logs of this process to stdout as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
