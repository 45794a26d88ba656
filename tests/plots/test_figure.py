import importlib.util
from pathlib import Path

import pytest

from sb3_gac.plots import make_figure, save_figure
from sb3_gac.plots.figure import color_by_return

pytest.importorskip("matplotlib")


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("deep/b.pdf", b"%PDF"), ("c.svg", b"<?xml")])
def test_the_ending_names_the_format(name: str, start: bytes, tmp_path: Path) -> None:
    file = save_figure(make_figure(2, 1), tmp_path / name)
    assert file.read_bytes().startswith(start)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_figure_that_cannot_be_drawn_costs_nothing(tmp_path: Path) -> None:
    figure = make_figure(2, 1)
    save_figure(figure, tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    figure.text(0.5, 0.5, "$\\nonsense$")
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    with pytest.raises(ImportError, match=r'matplotlib missing: pip install "\.\[plots\]"'):
        make_figure(1, 1)


def test_returns_have_different_colours_and_none_is_too_bright_for_white_paper() -> None:
    colors = color_by_return(0.0, 10.0)
    shades = [sum(colors.to_rgba(value)[:3]) / 3 for value in (0.0, 5.0, 10.0)]
    assert shades == sorted(shades)
    assert shades[-1] < 0.6
