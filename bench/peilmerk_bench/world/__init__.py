"""The world that virtual boards stand in: its clock, who passes, what the air is, and its time servers."""
