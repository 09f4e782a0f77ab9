"""Forwards calls to providers, streamed both ways, and records each of them, measured and priced.

Vocabulary. *Provider credential*: what we send upstream in place of the client's access key. *Dialect*: the shape of a
provider's answers and errors. *Reading*: what an answer tells of itself (usage, model, error). *Mark*: a line of the
journal that a call began or ended. *Exact*: the provider reported the usage; *estimated*: we counted the text that passed.

Invariants. The client's key is never sent upstream, the provider's secret never to a client. What the client receives
are the provider's own bytes, but for a usage event it did not ask for. A call that was forwarded is recorded once,
whoever dies. Nothing here waits for PostgreSQL or Redis. `docs/decisions/0012-gateway.md` shows the way of a call.
"""
