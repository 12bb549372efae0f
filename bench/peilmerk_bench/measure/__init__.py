"""Measurements that `peilmerk bench` prints, each a module with its limits."""
