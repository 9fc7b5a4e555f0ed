"""The HTTP and WebSocket API, and the web app."""

from reenact.serve.api.keys import Keys, add_key, load_keys
from reenact.serve.api.settings import Limits, Settings
from reenact.serve.client import Client, Job, Live
from reenact.serve.server import serve

__all__ = ["Client", "Job", "Keys", "Limits", "Live", "Settings", "add_key", "load_keys", "serve"]
