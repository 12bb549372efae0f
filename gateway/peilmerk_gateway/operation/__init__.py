"""Operation: whether a running gateway is well, its metrics, its backup, and what runs it on a machine."""
