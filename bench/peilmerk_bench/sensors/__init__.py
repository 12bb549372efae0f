"""Simulated sensors, byte for byte as their data sheets say; each is proven against the sheet's own vectors.

A simulator knows nothing of boards: it is asked at moments of world time (seconds since 1970) and answers.
"""
