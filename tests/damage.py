"""Damage to the folder of a finished run: what a reader of many runs must survive, by name.

Each case says which file it is that is damaged, and does it to a run's folder.
"""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Damage(NamedTuple):
    """One file, and what is done to it."""

    file: str
    do: Callable[[Path], None]

    def __call__(self, folder: Path) -> None:
        path = folder / self.file
        path.parent.mkdir(exist_ok=True)
        self.do(path)


def content(written: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(written) and None


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def half_a_line(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def without(*keys: str) -> Callable[[Path], None]:
    """Take out a nested key."""

    def do(path: Path) -> None:
        written = json.loads(path.read_bytes())
        inner = written
        for key in keys[:-1]:
            inner = inner[key]
        inner.pop(keys[-1], None)
        path.write_text(json.dumps(written))

    return do


def changed(value: object, *keys: str) -> Callable[[Path], None]:
    """Put another value in the place of a nested key."""

    def do(path: Path) -> None:
        written = json.loads(path.read_bytes())
        inner = written
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(json.dumps(written))

    return do


def png(width: int, height: int) -> bytes:
    """A PNG that says that it is so large, and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


STATUS, EVALUATION, PROVENANCE, METRICS = "status.json", "evaluation.json", "provenance.json", "metrics.jsonl"
CONFIG, OVERRIDES, FIGURE = ".hydra/config.yaml", ".hydra/overrides.yaml", "figures/gradient_steps.png"

# What a run is seen to be by all that read its state.
OF_STATE = {
    "status empty": Damage(STATUS, content(b"")),
    "status of zeros": Damage(STATUS, content(bytes(40))),
    "status half": Damage(STATUS, half),
    "status of another kind": Damage(STATUS, content(b"[]")),
    "status with an unknown state": Damage(STATUS, content(b'{"state": "lost", "reason": null}')),
    "status gone": Damage(STATUS, Path.unlink),
    "evaluation half": Damage(EVALUATION, half),
    "evaluation gone": Damage(EVALUATION, Path.unlink),
    "evaluation of another kind": Damage(EVALUATION, content(b'{"a": 1}')),
    "provenance empty": Damage(PROVENANCE, content(b"")),
    "provenance without content": Damage(PROVENANCE, content(b"{}")),
    "provenance gone": Damage(PROVENANCE, Path.unlink),
    "provenance with other sources": Damage(PROVENANCE, changed(5, "sources")),
    "overrides no YAML": Damage(OVERRIDES, content(b"a: [1")),
    "overrides of another kind": Damage(OVERRIDES, content(b"a: 1")),
}
# And by a report, which looks further.
OF_CONTENT = {
    "evaluation without its tasks": Damage(EVALUATION, without("tasks")),
    "evaluation without returns": Damage(EVALUATION, without("theta", "best", "returns")),
    "evaluation with ragged returns": Damage(EVALUATION, changed([[1.0], [1.0, 2.0]], "theta", "best", "returns")),
    "evaluation with words": Damage(EVALUATION, changed("x", "theta", "best", "mean")),
    "provenance without its environment": Damage(PROVENANCE, without("environment")),
    "provenance with another environment": Damage(PROVENANCE, changed([], "environment")),
    "provenance without its results version": Damage(PROVENANCE, without("results_version")),
    "metrics half a line": Damage(METRICS, half_a_line),
    "metrics of another kind": Damage(METRICS, content(b"1\n2\n")),
    "metrics without returns": Damage(METRICS, content(b'{"iteration": 0}\n')),
    "metrics no text": Damage(METRICS, content(b"\xff\xfe\x00\n")),
    "configuration empty": Damage(CONFIG, content(b"")),
    "configuration no YAML": Damage(CONFIG, content(b"a: [1\n\x00")),
    "configuration of another kind": Damage(CONFIG, content(b"- 1")),
}
OF_FIGURES = {
    "figure empty": Damage(FIGURE, content(b"")),
    "figure no PNG": Damage(FIGURE, content(b"GIF89a, or so")),
    "figure half": Damage(FIGURE, content(png(64, 64)[:50])),
    "figure with too few pixels": Damage(FIGURE, content(png(640, 480))),
    "figure of 900 megapixels": Damage(FIGURE, content(png(30_000, 30_000))),
    "figure of 100 megapixels": Damage(FIGURE, content(png(10_000, 10_000))),
}
