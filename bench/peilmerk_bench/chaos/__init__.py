"""Chaos: kill a gateway's parts at random moments under load, and hold what arrived against what was owed.

`plan` is what is asked for, `boards` make the load, `campaign` kills and counts.
"""
