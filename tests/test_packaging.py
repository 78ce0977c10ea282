"""The wheel: built here, installed elsewhere, run from an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what the wheel would put into site-packages."""
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "site")
    return built / "site"


def test_the_wheel_has_the_configuration_and_nothing_of_the_checkout(installed):
    inside = {str(p.relative_to(installed)) for p in installed.rglob("*.yaml")}
    assert inside == {f"metarl_exp/{p.relative_to(ROOT)}" for p in (ROOT / "conf").rglob("*.yaml")}
    assert {p.name for p in installed.iterdir()} == {"metarl_exp", "metarl_exp-0.1.0.dist-info"}


def test_the_wheel_trains_from_an_empty_folder(installed, tmp_path):
    tiny = ["experiment=smoke", "policy.hidden_sizes=[4]", "tasks.horizon=5", "tracker=none", "iterations=1"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-m", "metarl_exp.train", *tiny], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs").iterdir()
    assert (folder / "evaluation.json").is_file()
    report = [sys.executable, "-c", "from metarl_exp.commands.report import main; main()"]
    subprocess.run(report, cwd=tmp_path, env=environment, check=True)
    assert folder.name in (tmp_path / "outputs" / "report.html").read_text()
    where = subprocess.run(
        [sys.executable, "-c", "import metarl_exp.wiring as b; print(b.__file__, b.config_dir())"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert all(path.startswith(str(installed)) for path in where)
