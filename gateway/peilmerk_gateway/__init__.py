"""The gateway: takes sealed reports from a durable broker, admits, accounts, stores and publishes them."""
