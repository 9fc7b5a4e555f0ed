"""How what a visitor does reaches the server."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, Any] = {"queue": False}
"""For all but long work. Gradio sends the answers of queued events over one stream, and ends it with the last of them;
an event that comes in just then is never answered, so that a click right after another seemed to do nothing."""
