"""Commands: what the operator tells a device to do, kept in the store until it is answered or too late.

`orders` says which commands there are and turns words into them, `sender` brings them to the devices, `cli`
is `peilmerk gateway command`.
"""
