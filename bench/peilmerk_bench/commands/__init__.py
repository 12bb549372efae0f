"""What `peilmerk bench` does, a module a group of commands; `peilmerk_bench.cli` puts them together."""
