"""Audits: what was promised, held against the code that is shipped."""
