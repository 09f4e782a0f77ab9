"""Dashboards: what pages read beside the slices' own answers. Now: the live push of stored calls.

A *viewer* is one open stream of one organization. All viewers of a process share one subscription to Redis. A message only
says that something was stored; the figures are asked from the meter, so a lost message costs freshness, never exactness.
"""
