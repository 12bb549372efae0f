"""Attacks on what is published: each on our own output, where it must lose, and on a weak publisher's, where
it must win. An attack that cannot win proves nothing.

An attack's module has its mathematics only: it gets what an attacker sees, and the truth only to be marked.
`ours` makes what is seen of us, `weak_publisher` the same of a publisher as there are many; `campaign` puts
one and the other before every attack.
"""
