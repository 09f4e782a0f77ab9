"""Admission: what is limited, by whom it was said and why; what every transaction did.

Vocabulary. *Cluster*: storage that applications share. *Application*: who uses an organization's capacity. *Operation type*: what
an operation is charged. *Cost rule*: another charge for one application, for a time. *Quota*: the limits of one scope, as a
series of immutable *versions*. *Token transaction*: what one transaction did to one bucket.

Invariants. At any instant at most one version of a quota is in force; the database sees to it. A version never changes; only
its end comes nearer. What is published is in force in every process within a second. The trail holds each transaction once.
"""
