"""CompressAI's models behind the protocol of `codec.interface`."""
