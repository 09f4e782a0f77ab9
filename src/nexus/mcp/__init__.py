"""What MCP servers did: calls of tools, and requests of the protocol.

A *tool call* ended `ok`, with a *tool error* (the tool answered that it failed) or with a *protocol error* (the tool gave
no answer). Who called is the *principal*, the authenticated user or key; a session is nobody. Nothing here is changed
after it was stored.
"""
