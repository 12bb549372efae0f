"""Larger than one machine: several processes, three NATS servers and PostgreSQL, all real, all killed."""
