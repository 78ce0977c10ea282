"""A report on a real sweep, in a real browser: everything is shown, nothing is loaded, nothing sticks out."""

import json
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image

from metarl_exp import report
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import statuses

pytestmark = pytest.mark.browser

TINY = ["experiment=smoke", "tracker=none", "policy.hidden_sizes=[6]", "tasks.horizon=8", "threads=1"]
SWEPT = [
    "seed=0,1",
    "adaptation.order=first,second",
    "inner_optimizer.lr=0.1,1e35",
]  # of the last, observations overflow
WIDTHS = 1280, 390  # CSS pixels: a window, and a telephone
# Frames of each width hold the page, and this page, which has scripts, looks into them.
CHECK = """<!doctype html><link rel="icon" href="data:,"><pre id="seen"></pre>
{frames}
<script>
addEventListener("load", () => {{
  const look = frame => {{
    const page = frame.contentDocument, all = [...page.body.querySelectorAll("*")], root = page.documentElement;
    page.querySelectorAll("details").forEach(details => details.open = true);
    return {{
      overflow: root.scrollWidth - root.clientWidth,
      outside: all.filter(e => !e.closest(".scroll") && e.getBoundingClientRect().right > root.clientWidth + 1)
        .map(e => e.outerHTML.slice(0, 200)),
      covered: all.filter(e => e.matches("td, th") && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent),
      images: [...page.images].map(image => image.complete ? image.naturalWidth : 0),
      loaded: frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name),
    }};
  }};
  document.getElementById("seen").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(look));
}});
</script>"""
FRAME = '<iframe src="report.html" style="width: {width}px; height: 800px; border: 0"></iframe>'


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The folder of a sweep of eight jobs, half of which fail, with its report."""
    root = tmp_path_factory.mktemp("sweep") / "outputs"
    command = [sys.executable, "-m", "metarl_exp.train", "-m", *TINY, *SWEPT, f"output_root={root}"]
    done = subprocess.run(command, capture_output=True, text=True)
    states = [status.state for status in statuses(root)]
    assert sorted(states) == ["failed"] * 4 + ["finished"] * 4, done.stdout + done.stderr
    report.write(root, root / "report.html")
    return root


def chromium(profile: Path, url: str, *flags: str) -> subprocess.CompletedProcess:
    """Open a page without a display; the console goes to stderr."""
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = ["chromium", *quiet, f"--user-data-dir={profile}", "--enable-logging=stderr", *flags, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def console(done: subprocess.CompletedProcess) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_every_number_of_the_runs_is_shown(root, tmp_path, parsed):
    done = chromium(tmp_path, f"file://{root}/report.html", "--dump-dom")
    shown = parsed(done.stdout)
    assert console(done) == []
    finished = [RunFolder(status.folder) for status in statuses(root) if status.state == "finished"]
    rows = {row[0]: row for row in shown.table("run")}
    assert set(rows) == {folder.path.name for folder in finished}
    for folder in finished:
        best = folder.read_json("evaluation.json")["theta"]["best"]
        means = [cell.split(" ± ")[0] for cell in rows[folder.path.name][4:-1]]
        assert means == [f"{mean:.2f}" for mean in best["mean"]]
    assert [row[1] for row in shown.table("method")] == ["2", "2"]
    failed = [row for row in shown.table("job") if row[1] == "failed"]
    assert len(failed) == 4
    assert all("NonFiniteError" in row[-1] for row in failed)
    assert "".join(shown.text).count("Traceback") >= 4  # the ends of their logs


def test_images_load_nothing_else_does_and_nothing_sticks_out(root, tmp_path):
    frames = "\n".join(FRAME.format(width=width) for width in WIDTHS)
    (root / "check.html").write_text(CHECK.format(frames=frames))
    asked: list[str] = []

    class Recording(SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Recording, directory=root)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/check.html"
        done = chromium(tmp_path, url, "--window-size=1400,1000", "--virtual-time-budget=20000", "--dump-dom")
        server.shutdown()
    assert console(done) == []
    assert set(asked) == {"/check.html", "/report.html"}
    seen = json.loads(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout)[1])
    assert len(seen) == len(WIDTHS)
    for frame in seen:
        assert len(frame["images"]) == 3 + 3 * 4  # of the study, and of each run
        assert all(width > 100 for width in frame["images"])
        assert frame == frame | {"overflow": 0, "outside": [], "covered": [], "loaded": []}


@pytest.mark.parametrize("width", WIDTHS)
def test_a_photograph_of_the_page_shows_its_figures(root, tmp_path, width):
    """The colours of the first two methods are there, and of what failed."""
    photograph = tmp_path / "page.png"
    chromium(tmp_path, f"file://{root}/report.html", f"--window-size={width},4000", f"--screenshot={photograph}")
    with Image.open(photograph) as image:
        assert image.size == (width, 4000)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    for wanted in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0xB3, 0x26, 0x1E)):
        assert min(max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) for colour in colours) < 8
