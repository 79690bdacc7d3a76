"""Model id: four bytes that stand for a codec's configuration and weights.

Every .rdo file names its writer by this id, and a decoder with other weights refuses. The invariant: ids never change
for models that are published, so configuration fields that came later count only where they are not at their default.
"""

import hashlib
import json
from dataclasses import fields
from typing import Any

from codec.architecture import ModelConfig
from codec.interface import AnyCodec
from codec.settings import to_mapping
from codec.weight_cache import cached_by_weights

LATER = ("context", "rearranged", "cached", "stride", "distortion")  # fields that came after models had been published


@cached_by_weights
def model_id(codec: AnyCodec) -> bytes:
    """Return the first four bytes of the SHA-256 over a codec's configuration and tensors."""
    digest = hashlib.sha256(json.dumps(identity_fields(codec.config), sort_keys=True).encode())
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.digest()[:4]


def identity_fields(config: Any) -> dict[str, object]:
    """Return the fields of a configuration that identify a model: all but the `LATER` ones at their default."""
    defaults = {field.name: field.default for field in fields(ModelConfig) if field.name in LATER}
    return {k: v for k, v in to_mapping(config).items() if k not in defaults or v != defaults[k]}
