"""A figure that was drawn before, as a reader opens it: whatever the file holds costs no more than a figure does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from metarl_exp.runs.files import DamagedFile

PIXELS = 2**24  # at most: ten times as many as any figure has


@contextmanager
def stored(path: Path) -> Iterator[Image.Image]:
    """A PNG file, not decoded yet.

    Raises DamagedFile for one that is broken or something else, also where it is decoded in the block, and for one of
    more than PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # as there is a limit
            image = Image.open(path, formats=["PNG"])
        with image:
            if image.width * image.height > PIXELS:
                raise DamagedFile(f"{path}: {image.width} × {image.height} pixels are more than any figure has")
            yield image
    except (DamagedFile, FileNotFoundError, PermissionError):
        raise
    except Image.DecompressionBombError:
        raise DamagedFile(f"{path}: it has more pixels than any figure") from None
    except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError) as error:
        raise DamagedFile(f"{path}: not a whole PNG ({str(error).replace(str(path), 'this file')})") from None
