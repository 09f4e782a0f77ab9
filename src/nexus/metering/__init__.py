"""Metering: what was called, how often, how fast, for how much. Exact, durable and always fresh.

Words: a *call* is one request to a provider's API, one row of `metering.calls`, identified by organization and id. The
*journal* holds the sums of what was stored since the last *folding*; *rollups* hold them by *level* (minute, quarter
hour, hour, day) and *dimension set*. A *question* asks for metrics over a half-open range.

Invariants: a call counts once whatever is sent again, in whatever order. Rollups + journal = a recomputation over the
raw rows, at any moment, because rows and journal are written in one transaction and folding moves rows in one.
Latency percentiles are within `kit.latency.RELATIVE_ERROR`. A cost that is not known is NULL and counted as unpriced.
"""
