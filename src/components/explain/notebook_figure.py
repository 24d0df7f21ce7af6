"""A figure that shows itself in a notebook, whether or not pyplot was ever imported there."""

from __future__ import annotations

from io import BytesIO

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """Of matplotlib, with the PNG that IPython asks for."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()
