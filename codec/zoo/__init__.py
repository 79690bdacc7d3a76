"""CompressAI's models behind the protocol of `codec.interface`.

This package alone imports CompressAI, and only `codec.zoo.loading` is to be imported from outside, when a model's name
begins with `COMPRESSAI`.
"""

COMPRESSAI = "compressai:"
