"""CompressAI's models behind the protocol of `codec.interface`.

Its files alone import CompressAI, and only `codec.zoo.loading` is to be imported from outside, when a model's name
begins with `COMPRESSAI`. What a name says can be read without.
"""

COMPRESSAI = "compressai:"
DIGITS = tuple("12345678")  # qualities of the fixed-rate models


def split_name(spec: str) -> tuple[str, str, str]:
    """Split `NAME[:QUALITY][:FILE]` into architecture, quality and file, each empty where it is not named."""
    architecture, _, rest = spec.partition(":")
    digit, _, file = rest.partition(":")
    return (architecture, digit, file) if digit in DIGITS else (architecture, "", rest)
