"""What goes wrong in programs, and what people decide about it.

An *error* happened once, in a program that tells of it. A *cause* is what all errors of one fingerprint have in common. An
*issue* is what people deal with: one cause, or several that somebody merged. It is *open* until somebody *resolves* or *ignores*
it; a resolved one that meets an error later than it was resolved has *regressed*. What an error said is kept of a few
*samples* of each cause; the counts are exact nevertheless. Failures of tool calls and of requests are no errors: they belong to
what MCP servers did, and are counted there.
"""
