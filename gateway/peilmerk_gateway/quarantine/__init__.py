"""Quarantine: what was refused for something that a person can mend, listed, explained, replayed, dropped.

`choosing` reads what an operator means, `kept` reads and changes it, `explain` says what is in the way now,
`cli` is `peilmerk gateway quarantine`.
What is kept, and for how long: `peilmerk_gateway.store.quarantine`.
"""
