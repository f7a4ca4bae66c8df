"""The loop of a search without Ray: what runs next, what a report means, budgets, several drivers on one study."""
