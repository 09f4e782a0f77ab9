"""Deciding: may this call be made now, by all limits it meets together?

Vocabulary. *Limit*: a ceiling on one dimension for one scope. *Bucket*: a limit's state for one subject. *Charge*: units taken
from a bucket. *Hold*: a charge that is settled to the actual amount later, once. *Lease*: units prepaid to a process, which
then decides by itself. *Cell*: all state of one organization, in one hash slot. *Trail*: the stream of what was charged.

Invariants. All limits of a call are charged, or none. A refusal writes nothing. No clock but Redis's counts. What a crash loses
are units, never limits: nothing is minted.
"""
