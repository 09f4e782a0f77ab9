"""Capacity that several organizations share: prepaid into their cells, whose rates together are at most its own.

A *capacity* belongs to the installation. Its *members* are organizations, each with a guarantee. A *grant* is what a member's
cell may spend: written in the ledger (PostgreSQL), then put in force in the cell's bucket (Redis). Shares move as organizations
ask for more and less: donors are shrunk, that is confirmed, then recipients grow. At every instant the sum of what may be spent
is at most the capacity, whatever dies and whatever comes late.
"""
