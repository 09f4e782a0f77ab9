"""Offers MCP servers through the gateway: one by one under `/mcp/{server}`, all that a key may use together under `/mcp`.

Vocabulary. *Message*: one JSON-RPC object. *Way*: how a server is reached, over HTTP or as a program on this machine.
*Handshake revisions* (up to 2025-11-25) begin with `initialize` and may have sessions; the *modern* ones (from 2026-07-28
on) have neither, and each request says itself what it needs.

Invariants. A client's key never goes upstream, a server's secret never to a client. A request that was sent on is recorded
once, whoever dies: `tools/call` as what the tool did and as a request, all others as a request. What a key may not use it
neither sees nor calls. `docs/decisions/0024-mcp-gateway.md` shows the way of a call.
"""
