"""Names in other scripts: a font that has them, or one line."""

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from edgefed.report import glyphs
from edgefed.report.glyphs import HOUSE_FONT, fonts_for, give_fonts, glyphs_told
from edgefed.report.shards import plot_shards
from edgefed.report.style import house_style, new_figure, settle

NOWHERE = "\U000f1234"
"""For private use, in a plane that no font fills."""


def characters(font):
    return {chr(code) for code in FT2Font(findfont(FontProperties(family=[font]))).get_charmap()}


@pytest.fixture
def elsewhere(monkeypatch):
    """A character that the house's font lacks and a font that comes with Matplotlib has."""
    monkeypatch.setattr(glyphs, "_NO_LETTERS", ("Last Resort", "cm", "DejaVu"))
    return min(characters("STIXGeneral") - characters(HOUSE_FONT) - {chr(code) for code in range(0x3000)})


def test_what_no_font_has_is_one_line_for_all_pictures(tmp_path, capsys):
    """Warnings are errors here: none is left to be printed."""
    with glyphs_told():
        for name in ("a", "b"):
            plot_shards(np.ones((2, 2), int), ["x", NOWHERE], tmp_path / name, title="t", client_names=["é", NOWHERE])

    assert capsys.readouterr().err == "note: no font here has U+F1234: pictures show boxes\n"
    plot_shards(np.ones((2, 2), int), ["x", "y"], tmp_path / "c", title="t", client_names=["Málaga", "Київ"])
    assert capsys.readouterr().err == ""


def test_a_name_falls_back_to_a_font_that_has_it(elsewhere, capsys):
    with house_style():
        figure = new_figure(4, 3, f"here {elsewhere}")
        axes = figure.subplots()
        axes.set_xticks([0, 1], ["plain", elsewhere])
        settle(figure)

    plain, other = (tick.label1.get_fontfamily() for tick in axes.xaxis.get_major_ticks())
    assert plain == ["sans-serif"]
    assert other[0] == HOUSE_FONT
    assert any(elsewhere in characters(font) for font in other)
    assert any(elsewhere in characters(font) for font in figure._suptitle.get_fontfamily())
    assert capsys.readouterr().err == ""
    assert give_fonts(new_figure(4, 3, "plain")) is False


def test_fonts_are_looked_for_until_nothing_is_left(elsewhere):
    fonts, left = fonts_for({elsewhere, NOWHERE})

    assert left == {NOWHERE}
    assert any(elsewhere in characters(font) for font in fonts)
