"""The HTTP and WebSocket API, its client, and the page for browsers."""

from reenactor.server.client import Client, Job, Live, ServerError
from reenactor.server.keys import Keys, add_key, load_keys
from reenactor.server.run import serve
from reenactor.server.settings import Limits, Settings

__all__ = ["Client", "Job", "Keys", "Limits", "Live", "ServerError", "Settings", "add_key", "load_keys", "serve"]
