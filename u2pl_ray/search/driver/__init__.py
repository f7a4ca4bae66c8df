"""The decisions of a search, without Ray: the next trial, the effect of a report, budgets, several drivers."""
