"""Costs: what may be spent, by whom, in which time; what was, and what it will come to.

Vocabulary. *Budget*: a ceiling on spend for one scope (organization, application, user, key, provider, model or tag) and
each *period* of a calendar. *Spend*: the cost of the recorded calls of a period, in the budget's currency. *Held*: what calls
in flight may still cost. *Pausing*: a budget that refuses calls before they would pass it; it is a money limit of admission.
*Threshold*: a fraction of the amount; crossing it is an *event*, recorded once. *Exchange rate*: what somebody published,
dated; none is invented.

Invariants. A budget's spend equals the sum of the rollups over its period, to the nano. What cannot be converted is shown and
counted, never taken for nothing. A pausing budget's counter starts from the ledger and is brought back to it; a change is in
force within a second.
"""
