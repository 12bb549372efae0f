"""Deployments: which device may report what, where, on what ground; no record, no publication.

`record` is the governance record as written in TOML, `catalogue` all records of a folder, `mandate` what a
record lets one device do, `grid` the place that is published instead of the point.
"""
