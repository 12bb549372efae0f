"""The firmware's unit tests, run on a board."""
