"""Frozen types that both planes share: the record of a call, keys, prices, and the names of Redis keys. No I/O."""
