"""Put stored results and programs into the pages that show them, between their markers.

python docs/render.py           rewrite README.md
python docs/render.py --check   only say whether it is up to date (exit status 1 if not)
"""

import json
import re
import sys
from pathlib import Path

from metarl_exp import results

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"<!-- (render|include): (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def block(match: re.Match[str]) -> str:
    """A marked block with its content made anew."""
    kind, source = match.groups()
    if kind == "include":
        content = f"```python\n{(ROOT / source).read_text()}```"
    else:
        content = results.markdown(json.loads((ROOT / source / "evaluation.json").read_text()))
    return f"<!-- {kind}: {source} -->\n{content}\n<!-- end -->"


def rendered(page: Path) -> str:
    """The text of a page with all its blocks made anew."""
    return BLOCK.sub(block, page.read_text())


def main() -> int:
    page = ROOT / "README.md"
    fresh = rendered(page)
    stale = fresh != page.read_text()
    if stale and "--check" not in sys.argv:
        page.write_text(fresh)
    return int(stale and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
