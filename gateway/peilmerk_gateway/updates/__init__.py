"""Updates: where boards fetch the firmware that they are offered.

`folder` keeps bundles by their digest, `server` hands them out over TLS. Neither needs to be believed: a
board checks the signature on what it fetched before it runs any of it.
"""
