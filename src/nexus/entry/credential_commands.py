"""`nexus credential`: the providers' credentials, and one command for all secrets that are sealed with the installation's key."""

from __future__ import annotations

from nexus.identity.provider_credential_commands import app
from nexus.mcp.commands import reseal_secrets

app.command(reseal_secrets, name="reseal")
