"""Pillow plugin: once this is imported, any program that uses Pillow reads and writes .rdo files.

    import codec.images.pillow
    image = Image.open("a.rdo")                  # the header; pixels are decoded when they are asked for
    image.save("b.rdo", quality=4, iters=40)     # iters 0, the default, is plain encoding

Options of `save`: `quality` (1 to 8), `iters`, `tune`, `model` (a name, or a codec), `exif`, `xmp` and `icc_profile`,
by default that of the image. Of an image that was opened, `info` has these three, and `quality`. Files of models that
are not installed are read after `use(codec)`. The first file loads torch and the model, which stays.
"""

from typing import IO, Any

from PIL import Image, ImageFile

from codec.errors import RdoError

FORMAT, SUFFIX, MAGIC = "RDO", ".rdo", b"RDO"
_used: list[Any] = []  # codecs of files whose models are not installed


def use(codec: Any) -> None:
    """Read files of a codec that is not installed, in the place of one with the same id."""
    _used.insert(0, codec)


class RdoImageFile(ImageFile.ImageFile):
    """File of one picture, decoded on the first access to its pixels."""

    format = FORMAT
    format_description = "Learned codec, rate-distortion optimised"

    def _open(self) -> None:
        from codec.bitstream.container import unpack
        from codec.metadata_boxes import metadata_of

        assert self.fp is not None
        self._data: bytes | None = self.fp.read()
        try:
            contents = unpack(self._data)
        except RdoError as error:
            raise SyntaxError(str(error)) from error  # by which plugins decline a file
        header, metadata = contents.header, metadata_of(contents.boxes)
        self._size, self._mode = (header.width, header.height), "L" if header.grey else "RGB"
        self.tile = []
        self.info["quality"] = header.quality
        found = {"exif": metadata.exif, "xmp": metadata.xmp, "icc_profile": metadata.profile}
        self.info |= {name: part for name, part in found.items() if part}

    def load(self) -> Any:
        """Decode the picture.

        Raises:
            OSError: the file is damaged, or of a model that is not installed.
        """
        if self._data is not None:
            from codec.identity import model_id
            from codec.picture_files import decode_any

            wanted = self._data[4:8]
            try:
                decoded = decode_any(self._data, next((each for each in _used if model_id(each) == wanted), None))
            except RdoError as error:
                raise OSError(str(error)) from error
            samples = decoded.pixels.data
            self.im = Image.fromarray(samples[..., 0] if self.mode == "L" else samples).im
            self._data = None
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = None
        return super().load()


def _accepts(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:  # noqa: ARG001  (Pillow passes it)
    """Write an image of mode L, RGB or 1.

    Raises:
        OSError: another mode, or an option that is not valid.
    """
    from codec.images.colour import with_profile
    from codec.images.metadata import Metadata
    from codec.images.pixels import Pixels
    from codec.metadata_boxes import add_metadata
    from codec.picture_files import encode_any

    if image.mode not in ("L", "RGB", "1"):
        raise OSError(f'cannot write mode {image.mode} as RDO: convert("RGB") or convert("L") first')
    options = {**image.encoderinfo}
    picture = image.convert("L") if image.mode == "1" else image
    exif = options.get("exif", b"")
    block = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    try:
        samples, profile = with_profile(picture, options.get("icc_profile", image.info.get("icc_profile")) or b"")
        data = encode_any(
            Pixels(samples, picture.mode == "L"),
            quality=options.get("quality"),
            iters=options.get("iters", 0),
            tune=options.get("tune"),
            exact=options.get("exact", "auto"),
            model=options.get("model", "small"),
        )
        metadata = Metadata(block.removeprefix(b"Exif\0\0"), options.get("xmp", b""), profile)
        file.write(add_metadata(data, metadata))
    except RdoError as error:
        raise OSError(str(error)) from error


Image.register_open(FORMAT, RdoImageFile, _accepts)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, SUFFIX)
Image.register_mime(FORMAT, "image/x-rdo")
