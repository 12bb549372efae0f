"""Chaos: kill a gateway's parts at random moments under load, and hold what arrived against what was owed.

`boards` make the load, `campaign` kills and counts.
"""
