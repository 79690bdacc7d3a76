"""Functions of one's own by name: which texts are names, what they give, and refusals that name the mend."""

import math

import pytest

from codec.errors import ConfigError
from codec.own_functions import import_function, is_function_name


@pytest.mark.parametrize("text", ["math:sqrt", "a.b_c.d2:E", "__main__:mine"])
def test_names(text: str) -> None:
    assert is_function_name(text)


@pytest.mark.parametrize("text", ["sga", "visual:0.5", "a:b:c", "a.:b", "1a:b", ":b", "a:", "a b:c", "a:b.c", "a:b\n"])
def test_other_texts_are_none(text: str) -> None:
    assert not is_function_name(text)


def test_a_name_gives_its_function() -> None:
    assert import_function("math:sqrt", "returns a root") is math.sqrt


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "nonesuch.rounding:cubic",
            "cannot be imported: No module named 'nonesuch'.*PYTHONPATH",
        ),
        (
            "math:nonesuch",
            "math:nonesuch: module .* has no attribute 'nonesuch': name a function that returns a root",
        ),
        ("math:pi", "math:pi: is a float: name a function that returns a root"),
    ],
)
def test_what_is_not_there_is_told(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        import_function(name, "returns a root")


def test_the_users_own_name_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^mine: cannot be imported"):
        import_function("nonesuch:make", "returns a codec", "mine")
