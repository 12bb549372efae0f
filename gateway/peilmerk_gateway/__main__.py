"""`python -m peilmerk_gateway`: the same command as `peilmerk`."""

from peilmerk_gateway.command import main

main()
