"""The bench: virtual boards, simulated sensors, the world they stand in, and what is measured on them.

Drives the other rooms from outside; nothing of the product imports it.
"""
