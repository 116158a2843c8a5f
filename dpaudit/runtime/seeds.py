"""Seeds for the parts of an audit, derived from one."""

import hashlib


def derive_seed(seed: int, *words: object) -> int:
    """A seed below 2**31 for one purpose; other words give an unrelated one.

    >>> derive_seed(1, "coins") == derive_seed(1, "coins"), derive_seed(1, "coins") == derive_seed(1, "population")
    (True, False)
    """
    text = "/".join([str(seed), *map(str, words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 2**31
