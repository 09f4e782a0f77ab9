"""The Python client against a whole Nexus."""
