"""One line a fact on the serial console, for the technician. Never a key, a password or an exact count."""


def say(form, *values):
    """Print one line; `form` as for the % operator."""
    print("peilmerk: " + (form % values if values else form))
