"""Records the API calls of a program in Nexus: batched, durable, and never in the program's way.

A *record* is one call of a provider. It goes from the program's thread into a queue, from there into the *spool* (files
that outlive the process), and from there to Nexus, with the id it got at the call, until Nexus has answered for it.
Nothing here raises because Nexus, the network or the disk is at fault; `Client.stats` counts what went wrong.
"""

from nexus_client.calls import Call
from nexus_client.client import Client, attributed
from nexus_client.ids import uuid7
from nexus_client.stats import Stats
from nexus_client.usage import read_answer

__version__ = "0.1.0"
__all__ = ["Call", "Client", "Stats", "attributed", "read_answer", "uuid7"]
