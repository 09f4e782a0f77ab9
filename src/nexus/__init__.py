"""Nexus: a self-hosted control plane for API consumption.

It admits, forwards, measures, prices and watches every call that applications make to APIs, models, tools and storage.
"""

__version__ = "0.1.0"
