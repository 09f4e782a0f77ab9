"""Pure building blocks without input or output: clock, ids, money, latency sketches, redaction, errors."""
