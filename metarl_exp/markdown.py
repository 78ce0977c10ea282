"""Tables in Markdown, and text that means nothing else in it."""

import re
from collections.abc import Iterable, Sequence

# Where GitHub's Markdown takes a character for more than itself: everywhere; an underscore at the edge of a word; what
# begins a tag, an entity or the target of a link; what begins a line of a list, a quotation, a heading or a rule.
MEANT = re.compile(
    r"""[\\`*~$] | (?<![^\W_])_ | _(?![^\W_]) | <(?=[a-z/!?]) | &(?=\#?\w+;) | (?<=\])[(\[:] | !(?=\[)
    | ^> | ^\[(?=[x\s]\]) | (?: ^[#=+-] | (?<=^\d)[.)] | (?<=^\d\d)[.)] )(?=[\s#=+-]|$)""",
    re.IGNORECASE | re.VERBOSE,
)


def escaped(words: str) -> str:
    """Words as one line of Markdown that shows them as they are: no emphasis, code, link, HTML or list."""
    return MEANT.sub(r"\\\g<0>", " ".join(words.split()))


def pipes(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, the first column to the left, the others to the right; cells are Markdown, each of one line."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(content: str) -> str:
    return " ".join(content.splitlines()).replace("|", r"\|")
