"""The data plane: what happens for every call, all the time. Framework-free ASGI, asyncpg and Redis only.

Vocabulary. *Snapshot*: an immutable table compiled by the control plane (keys, prices) and swapped in whole. *Record*:
what a caller sends of one call. *Row*: a record resolved, priced and encoded for the staging table. *Batch*: the rows
of one request. *Group commit*: several batches stored in one transaction and acknowledged together. *Spool*: segment
files that take rows while PostgreSQL is away.

Invariants. Nothing is acknowledged before it is committed, or synced in the spool. Nothing is dropped in silence: what
is not stored is refused by index, answered with 429 or 503, or kept in quarantine and counted.
"""
