"""Ladders of classical codecs: which can be run here, under what names, and that no tuning stands in for another."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.errors import ConfigError
from codec.images.pixels import Pixels
from jobs.comparing.ladders import LADDERS, available, choose_codecs, codec_of, encode, options_text, settings_text

AVIF = ["AVIF tune=ssim", "AVIF tune=psnr", "AVIF tune=iq", "AVIF tune=ssimulacra2"]


def test_a_codec_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JPEG XL effort 7", "JPEG XL effort 9"):
        monkeypatch.setitem(LADDERS, name, LADDERS[name]._replace(plugin="no_such_module"))
    monkeypatch.setitem(LADDERS, "WebP", LADDERS["WebP"]._replace(kind="NOPE"))
    names, notes = available(["JPEG", "JPEG XL", "WebP"])
    assert names == ["JPEG"] and len(notes) == 2
    assert notes[0].startswith("JPEG XL is left out") and "pip install pillow-jxl-plugin" in notes[0]
    assert "cannot write" in notes[1]


def test_a_tuning_that_the_encoder_lacks_is_named_and_no_other_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, need_ladder: Any
) -> None:
    need_ladder("AVIF tune=ssim")
    fixed = {**LADDERS["AVIF tune=iq"].fixed, "advanced": {"tune": "later"}}
    monkeypatch.setitem(LADDERS, "AVIF tune=iq", LADDERS["AVIF tune=iq"]._replace(fixed=fixed))
    names, notes = available(["AVIF"])
    assert "AVIF tune=iq" not in names and "AVIF tune=ssim" in names
    note = next(note for note in notes if note.startswith("AVIF tune=iq is left out: its encoder refuses"))
    assert "option" in note and "aom" in note


def test_tunings_and_efforts_are_ladders_of_one_codec(photo: Any, need_ladder: Any) -> None:
    assert [name for name in LADDERS if codec_of(name) == "AVIF"] == AVIF
    assert [name for name in LADDERS if codec_of(name) == "JPEG XL"] == ["JPEG XL effort 7", "JPEG XL effort 9"]
    assert codec_of("refined") == "refined"
    for name in (*AVIF, "JPEG XL effort 9"):
        need_ladder(name)
    pixels = Pixels(photo(64, 96), grey=False)
    files = {name: encode(LADDERS[name], pixels, 44) for name in (*AVIF, "JPEG XL effort 7", "JPEG XL effort 9")}
    assert len(set(files.values())) == len(files), "each has settings of its own"


def test_a_file_is_what_pillow_writes_with_these_options(photo: Any) -> None:
    pixels = Pixels(photo(64, 96), grey=False)
    file = io.BytesIO()
    Image.fromarray(pixels.data).save(file, "JPEG2000", quality_layers=[26], quality_mode="rates", mct=1,
                                      irreversible=True, no_jp2=True)  # fmt: skip
    assert encode(LADDERS["JPEG 2000"], pixels, 26) == file.getvalue()


@pytest.mark.parametrize("name", ["JPEG", "JPEG 2000", "WebP", *AVIF])
def test_settings_are_printed(name: str) -> None:
    text = settings_text(name)
    assert "chroma 4:" in text and "Pillow" in text and all(str(v) in text for v in LADDERS[name].values)


def test_settings_of_avif_have_its_tuning_speed_and_libraries(need_ladder: Any) -> None:
    need_ladder("AVIF tune=iq")
    text = settings_text("AVIF tune=iq")
    assert all(part in text for part in ("'tune': 'iq'", "speed 4", "avif 1.", "aom ")) and "None" not in text


def test_options_differ_where_bytes_may() -> None:
    texts = {options_text(ladder, value) for ladder in LADDERS.values() for value in ladder.values}
    assert len(texts) == sum(len(ladder.values) for ladder in LADDERS.values())


def test_short_names_choose_all_ladders_of_a_codec() -> None:
    assert choose_codecs("jpeg,webp,jpeg", True).ladders == ["JPEG", "WebP"]
    found = choose_codecs("avif", False)
    assert len(found.ladders) + len(found.notes) in (1, len(AVIF)) and set(found.ladders) <= set(AVIF)
    assert choose_codecs("none", True) == choose_codecs(None, False) == ([], [])
    assert set(choose_codecs("jpeg2000,jpeg", False).ladders) == {"JPEG", "JPEG 2000"}
    for name in ("jpg", "avif tune=iq"):
        with pytest.raises(ConfigError, match="there are jpeg, jpeg2000, webp, avif, jpegxl, heic, or none"):
            choose_codecs(name, True)


def test_every_value_rises_in_rate_order() -> None:
    for ladder in LADDERS.values():
        falling = ladder.kind == "JPEG2000"  # whose values are compression ratios
        assert list(ladder.values) == sorted(ladder.values, reverse=falling) and len(ladder.values) >= 7
        assert np.unique(ladder.values).size == len(ladder.values)
