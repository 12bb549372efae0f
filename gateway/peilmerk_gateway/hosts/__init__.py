"""Hosts: who has a sensor at home, kept apart from everything that the gateway has.

The gateway knows devices and squares; whose they are is in a store of its own (`vault`), sealed under a key
of its own (`keys`), and is read by the `peilmerk host` commands only. The process of the gateway imports
nothing of this package and opens neither file.
"""
