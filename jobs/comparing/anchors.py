"""Published curves of public picture sets, drawn and compared with ours where the very pictures are the same.

`configs/anchors/*.json` holds, for each set, its curves with their sources and the hashes of its pictures. Only
averaged curves are published, so only averaged curves are compared.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from codec.errors import ConfigError, RdoError
from codec.images.pixels import Pixels
from codec.images.read import read_image


@dataclass(frozen=True)
class AnchorCurve:
    """One published curve: `kind` is traditional, learned, latent-refined or overfitted."""

    kind: str
    source: str
    bpp: tuple[float, ...]
    psnr_db: tuple[float, ...]


@dataclass(frozen=True)
class AnchorSet:
    """Curves over one set of pictures.

    Attributes:
        name: what `--anchors` calls it.
        title: what a page calls it.
        note: what was measured.
        anchor: the curve that BD-rates are taken against.
        drawn: curves that a page shows at first.
        hashes: of pictures' files and of their pixels, to the picture's name.
        curves: by name.
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
        """How many pictures the set has, if they are known."""
        return len(set(self.hashes.values()))


def installed_anchors() -> dict[str, Path]:
    """Name -> file of every set that came with the package."""
    folder = Path(str(resources.files("configs") / "anchors"))
    return {path.stem: path for path in sorted(folder.glob("*.json"))}


def load_anchors(name: str) -> AnchorSet:
    """A set by its name.

    Raises:
        ConfigError: there is none of this name.
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


def recognise(file_hashes: dict[str, str | None]) -> tuple[AnchorSet, set[str]] | None:
    """The set that all pictures belong to, and which of it they are; by their files' hashes, else by their pixels.

    Args:
        file_hashes: path -> SHA-256 of the file, or null. Pixels are read only where that is unknown.
    """
    for name in installed_anchors():
        anchors = load_anchors(name)
        if not anchors.hashes or not file_hashes:
            continue
        found = set[str]()
        for path, digest in file_hashes.items():
            picture = _name_in(anchors, path, digest)
            if picture is None:
                break
            found.add(picture)
        else:
            return anchors, found
    return None


def pixels_hash(pixels: Pixels) -> str:
    """SHA-256 of a picture's size and 8-bit RGB samples, the same for every lossless file of it."""
    digest = hashlib.sha256(f"{pixels.width}x{pixels.height}".encode())
    digest.update(pixels.data.tobytes())
    return digest.hexdigest()


def _name_in(anchors: AnchorSet, path: str, file_hash: str | None) -> str | None:
    if file_hash in anchors.hashes:
        return anchors.hashes[str(file_hash)]
    try:
        return anchors.hashes.get(pixels_hash(read_image(Path(path))))
    except RdoError:
        return None
