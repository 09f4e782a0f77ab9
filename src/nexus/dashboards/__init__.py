"""Dashboards: what pages read beside the slices' own answers: live push, shared answers, and how the pages are used.

A *viewer* is one open stream of one organization. All viewers of a process share one subscription to Redis. A message only
says that something was stored; the figures are asked from the meter, so a lost message costs freshness, never exactness.
A *shared answer* is the meter's, kept in Redis for one organization until what it shows changes. *Usage* counts what
people do on Nexus's own pages, in closed words and without naming anybody.
"""
