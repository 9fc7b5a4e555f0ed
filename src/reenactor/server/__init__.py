"""The HTTP and WebSocket API, and the web app."""

from reenactor.server.api.keys import Keys, add_key, load_keys
from reenactor.server.api.settings import Limits, Settings
from reenactor.server.client import Client, Job, Live
from reenactor.server.server import serve

__all__ = ["Client", "Job", "Keys", "Limits", "Live", "Settings", "add_key", "load_keys", "serve"]
