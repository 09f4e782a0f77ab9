"""Budgets, exchange rates and forecasts."""
