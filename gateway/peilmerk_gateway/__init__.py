"""The gateway: takes sealed reports from a durable broker, opens, admits, accounts, stores and publishes them."""
