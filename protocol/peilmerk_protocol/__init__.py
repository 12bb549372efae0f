"""The wire contract of Peilmerk: one implementation for MicroPython and CPython.

Bottom floor of the house: imports nothing of the other rooms and nothing outside the two languages' common
library. Every module stands alone, so that a board loads only what it uses:

    topics      who speaks to whom, in which direction (device_ids: new names for devices)
    cbor        the small deterministic part of CBOR that the messages are made of
    keys        HMAC-SHA-256, HKDF and one key a direction
    cose        seal and open: COSE_Mac0 around a body
    quantities  what can be measured, with scales and ranges (quantities_names: the words for it)
    report      released values of one window
    profile     what was agreed: quantities, window, noise, thresholds
    statement   what the device attests at boot
    command     orders to the device, and its acknowledgements

`peilmerk.cddl` describes the same messages for anybody else's tools and `vectors/` holds their bytes.

There is no floating-point number in this package: values are whole numbers in the scale of their quantity.
"""

VERSION = 1
"""Version of the contract; part of every topic and of every seal, so versions can never be mixed up."""
