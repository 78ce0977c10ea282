"""What the tests of reports share: folders of runs, written by hand, and a reader of HTML."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from metarl_exp.runs import scoring

Write = Callable[..., Path]
CONFIGURATION = (
    "adaptation:\n  order: {order}\n  inner_steps: 1\npolicy:\n  hidden_sizes:\n  - 6\n  - 6\nseed: {seed}\n"
)


@pytest.fixture
def write_run(tmp_path) -> Write:
    """Write the folder of one run into `tmp_path / outputs`."""

    def write(
        name: str = "default-aa-seed0",
        order: str = "second",
        seed: int = 0,
        state: str = "finished",
        reason: str | None = None,
        returns: list[list[float]] | None = None,
        trials: bool = False,
        **provenance,
    ) -> Path:
        folder = tmp_path / "outputs" / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").write_text(CONFIGURATION.format(order=order, seed=seed))
        (folder / ".hydra" / "overrides.yaml").write_text(f"- adaptation.order={order}\n- seed={seed}\n")
        (folder / "train.log").write_text("".join(f"line {i}\n" for i in range(50)))
        (folder / "status.json").write_text(json.dumps({"state": state, "reason": reason}))
        known = {
            "fingerprint": name.split("-")[1],
            "seed": seed,
            "results_version": 1,
            "environment": {"id": "metarl_exp.tasks.Navigation2D", "physics": None, "settings": {"horizon": 5}},
            "code": {"commit": "abc", "dirty": False},
            "libraries": {"torch": "2.0"},
            "command": "metarl-train alone",
            "sweep": None,
        }
        (folder / "provenance.json").write_text(json.dumps(known | provenance))
        if state == "finished":
            entry = scoring.summarise(torch.tensor(returns or [[-40.0, -10.0], [-44.0, -14.0]]), 3)
            evaluation = {
                "protocol": {"steps": len(entry["mean"]) - 1},
                "tasks": {"n": entry["n"], "names": ["x"], "values": [[float(i)] for i in range(entry["n"])]},
                "theta": {"initial": entry, "best": entry, "last": entry},
            }
            after = {"after": "episode"} if trials else {}
            (folder / "evaluation.json").write_text(json.dumps(evaluation | after))
            records = [
                {
                    "iteration": i,
                    "return/step_0": -50.0,
                    "return/step_1": -40.0 + i,
                    "perf/inner_s": 1,
                    "perf/outer_s": 2,
                }
                for i in range(3)
            ]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return folder

    return write


class Page(HTMLParser):
    """What a page says: its tables as rows of text, its text by the element it stands in, its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br", "wbr"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.text.append(data)
        if "table" in self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.strip()

    def table(self, first: str) -> list[list[str]]:
        """The rows of the first table whose header begins so, without the header."""
        return next(rows[1:] for rows in self.tables if rows[0][0] == first)


@pytest.fixture
def parsed() -> type[Page]:
    return Page
