"""Published rate-distortion curves of public picture sets, used where the pictures encoded are those of a set.

`configs/anchors/*.json` holds, for each set, its curves with their sources and the hashes of its pictures. Publications
give curves averaged over the set, so only averaged curves are compared with them.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from codec.errors import ConfigError, RdoError
from codec.images.pixels import Pixels
from codec.images.read import read_image


@dataclass(frozen=True)
class AnchorCurve:
    """Published curve, averaged over a set; `kind` is traditional, learned, latent-refined or overfitted."""

    kind: str
    source: str
    bpp: tuple[float, ...]
    psnr_db: tuple[float, ...]


@dataclass(frozen=True)
class AnchorSet:
    """Published curves over one set of pictures.

    Attributes:
        name: value of `--anchors`.
        title: name on a page.
        note: conditions of the measurement.
        anchor: name of the curve that BD-rates are taken against.
        drawn: names of the curves that a page shows at first.
        hashes: SHA-256 of each picture's file and of its pixels -> the picture's name.
        curves: name -> curve.
    """

    name: str
    title: str
    note: str
    anchor: str
    drawn: tuple[str, ...]
    hashes: dict[str, str]
    curves: dict[str, AnchorCurve]

    @property
    def pictures(self) -> int:
        """Number of pictures of the set whose hashes are known."""
        return len(set(self.hashes.values()))


class Match(NamedTuple):
    """Set that holds all pictures of a run, and the names of those pictures in it."""

    anchors: AnchorSet
    pictures: set[str]


def installed_anchors() -> dict[str, Path]:
    """Return name -> file of every set that is shipped with the package."""
    folder = Path(str(resources.files("configs") / "anchors"))
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def load_anchors(name: str) -> AnchorSet:
    """Load a set by its name.

    Raises:
        ConfigError: there is no set of this name.
    """
    installed = installed_anchors()
    if name not in installed:
        raise ConfigError(f"--anchors {name}: no such set; there are {', '.join(installed)}")
    found = json.loads(installed[name].read_text(encoding="utf-8"))
    curves = {
        curve: AnchorCurve(c["kind"], c["source"], tuple(c["bpp"]), tuple(c["psnr_db"]))
        for curve, c in found["curves"].items()
    }
    hashes = {p[key]: p["name"] for p in found["pictures"] for key in ("file_sha256", "pixels_sha256")}
    return AnchorSet(name, found["title"], found["note"], found["anchor"], tuple(found["drawn"]), hashes, curves)


def match_anchors(file_hashes: dict[str, str | None]) -> Match | None:
    """Find the set that all pictures belong to, by the hashes of their files or else of their pixels.

    Args:
        file_hashes: path -> SHA-256 of the file, or None; pixels are read only where a set does not know that.
    """
    for name in installed_anchors():
        anchors = load_anchors(name)
        if not anchors.hashes or not file_hashes:
            continue
        pictures = set[str]()
        for path, digest in file_hashes.items():
            picture = _name_in(anchors, path, digest)
            if picture is None:
                break
            pictures.add(picture)
        else:
            return Match(anchors, pictures)
    return None


def pixels_hash(pixels: Pixels) -> str:
    """Return the SHA-256 of a picture's size and 8-bit RGB samples, equal for every lossless file of it."""
    digest = hashlib.sha256(f"{pixels.width}x{pixels.height}".encode())
    digest.update(pixels.data.tobytes())
    return digest.hexdigest()


def _name_in(anchors: AnchorSet, path: str, file_hash: str | None) -> str | None:
    """Return a picture's name in a set, or None if the set does not hold it or it cannot be read."""
    if file_hash in anchors.hashes:
        return anchors.hashes[str(file_hash)]
    try:
        return anchors.hashes.get(pixels_hash(read_image(Path(path))))
    except RdoError:
        return None
