"""Measurements, always beside a raw baseline or a peer in the same run. `make bench` runs them all."""
