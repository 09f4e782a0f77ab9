"""The catalog: providers, endpoints, models and what they cost, in force from when to when.

Vocabulary. *Price*: what one subject (a model or an endpoint, for a tier, region, currency, service variant and window of
the day) costs from one instant to another. *Component*: the amount of one unit in a price. *Source*: who said so
(`genai-prices`, `litellm`, `models.dev`, `user`). *Conflict*: another source says otherwise.

Invariants. Two prices of one subject never hold at one time: the database refuses. A price is never changed: a new one
follows it, or supersedes it. An import never overwrites what another source said. Amounts are decimals, never floats.
"""
