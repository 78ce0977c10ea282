"""What the tests of figures share: a look at figures where they would be saved."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def saved(monkeypatch) -> list[Figure]:
    """The figures that were to be saved, laid out; nothing is written, which is what takes long."""
    figures = []

    def savefig(figure, content, format, **_):
        if format == "png":
            figure.draw_without_rendering()
            figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures
