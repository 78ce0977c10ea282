"""The page says what the runs' files say, and needs nothing beside itself."""

import re

import pytest

from metarl_exp.report import page, pictures
from metarl_exp.report.overview import Overview
from metarl_exp.report.runs import read
from metarl_exp.runs.sweep import JobStatus, folder_status

SCRIPT = "died: <script>alert('x')</script> & </pre><img src=http://example.org/x.png>"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Pages without figures of studies, which take seconds and have tests of their own."""
    monkeypatch.setattr(pictures, "of_study", lambda *_: [])


@pytest.fixture
def runs(write_run, tmp_path):
    """Two methods with two seeds and one, a failed run, and a job that has not begun."""
    folders = [
        write_run("default-aa-seed0", "second", 0, returns=[[-40.0, -10.0, -8.0], [-44.0, -14.0, -50.0]]),
        write_run("default-aa-seed1", "second", 1, returns=[[-41.0, -13.0, -7.0], [-45.0, -15.0, -9.0]]),
        write_run("default-bb-seed0", "first", 0, returns=[[-39.0, -20.0], [-40.0, -24.0]], code={"commit": "def"}),
        write_run("default-bb-seed1", "first", 1, state="failed", reason=SCRIPT),
    ]
    (folders[3] / "train.log").write_text(SCRIPT)
    typed = ["adaptation.order=first", "seed=2"]
    missing = JobStatus("default-bb-seed2", "missing", "not begun", tmp_path / "nothing", None, typed)
    return [read(status) for status in [*map(folder_status, folders), missing]]


@pytest.fixture
def shown(runs, parsed):
    return parsed(page.render("outputs", Overview(runs), ["metarl-train -m seed=0,1,2 <b>"]))


def test_returns_over_seeds_have_intervals_over_seeds(shown):
    """Trap 17: seeds are what is counted, not seeds times tasks. By hand: Student's 97.5 % for n = 2 is 12.706."""
    assert "mean over seeds ± half of its 95\u00a0% t-interval over seeds" in "".join(shown.text)
    second, first = shown.table("method")
    assert second == [
        "adaptation.order=second", "2", "-42.50 ± 6.35", "-13.00 ± 12.71", "-18.50 ± 133.42", "24.00 ± 139.77", "25 %"
    ]  # fmt: skip
    assert first == ["adaptation.order=first", "1", "-39.50", "-22.00", "—", "17.50", "0 %"]


def test_returns_of_a_run_have_intervals_over_its_test_tasks(shown):
    assert "95\u00a0% t-interval over the test tasks of that one training run" in "".join(shown.text)
    rows = shown.table("run")
    second = "adaptation.order=second"
    assert rows[0] == [
        "default-aa-seed0", second, "0", "3", "-42.00 ± 25.41", "-12.00 ± 25.41", "-29.00 ± 266.83", "50 %"
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["default-aa-seed0", "default-aa-seed1", "default-bb-seed0"]
    assert rows[2][-2:] == ["—", "0 %"]
    assert shown.table("θ")[1][:2] == ["best (iteration 3)", "-42.00 ± 25.41"]


@pytest.mark.parametrize(
    ("trials", "after", "columns"),
    [
        ([False, False], ["gradient steps"] * 3, ["0 steps", "1 step"]),
        ([False, True], ["gradient steps or episodes", "gradient steps", "episodes of a trial"],
         ["0 steps or episodes", "1 step or episode"]),
        ([True, True], ["episodes of a trial"] * 3, ["0 episodes", "1 episode"]),
    ],
)  # fmt: skip
def test_returns_are_said_to_be_after_what_they_are_after(write_run, parsed, trials, after, columns):
    """Of the study, and of each run."""
    folders = [write_run(f"default-{name}-seed0", trials=own) for name, own in zip("ab", trials, strict=True)]
    shown = parsed(page.render("outputs", Overview([read(folder_status(folder)) for folder in folders]), []))
    assert re.findall(r"on held-out tasks after ([\w ]+?)(?:;| ±)", "".join(shown.text)) == after
    headers = {rows[0][0]: rows[0] for rows in shown.tables}
    assert headers["method"][2:4] == headers["run"][4:6] == columns


def test_every_job_is_listed_with_its_state_and_what_differs(shown):
    (table,) = [rows for rows in shown.tables if rows[0][0] == "job"]
    assert table == [
        ["job", "state", "adaptation.order", "seed", "why"],
        ["default-aa-seed0", "finished", "second", "0", ""],
        ["default-aa-seed1", "finished", "second", "1", ""],
        ["default-bb-seed0", "finished", "first", "0", ""],
        ["default-bb-seed1", "failed", "first", "1", SCRIPT],
        ["default-bb-seed2", "missing", "first", "2", "not begun"],
    ]
    text = " ".join("".join(shown.text).split())
    assert "5 jobs: 3 finished, 1 failed, 1 missing" in text


def test_failures_come_first_with_the_end_of_the_log(shown):
    text = "".join(shown.text)
    failed, missing = text.index("default-bb-seed1"), text.index("default-bb-seed2")
    assert text.index("What went wrong", text.index("Each run")) < failed < missing < text.index("Over seeds")
    assert text.count(SCRIPT) == 3  # the reason where it went wrong and in the table, and the log


def test_a_page_on_what_went_well_does_not_speak_of_failures(runs, parsed):
    shown = parsed(page.render("outputs", Overview(runs[:3]), []))
    assert "wrong" not in "".join(shown.text)


def test_messages_of_runs_are_text_and_nothing_else(shown):
    assert "metarl-train -m seed=0,1,2 <b>" in "".join(shown.text)
    assert not {"script", "b", "img"} & {tag for tag, _ in shown.tags}


def test_the_page_needs_nothing_beside_itself(runs, parsed, monkeypatch):
    picture = pictures.Picture("caption", "data:image/png;base64,AAAA", 1, 1)
    monkeypatch.setattr(pictures, "of_study", lambda *_: [picture])
    text = page.render("outputs", Overview(runs), [])
    shown = parsed(text)
    assert [a["src"] for tag, a in shown.tags if tag == "img"] == [picture.source]
    assert all(a["href"].startswith(("#", "data:")) for _, a in shown.tags if "href" in a)
    policy = [a["content"] for tag, a in shown.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert not re.search(r"url\(|@import|//", style)
    assert not any(name.startswith("on") for _, a in shown.tags for name in a)


def test_links_lead_to_places_on_the_page(shown):
    places = {a["id"] for _, a in shown.tags if "id" in a}
    targets = [a["href"] for tag, a in shown.tags if tag == "a"]
    assert len(targets) == 5 + 4
    assert {target.removeprefix("#") for target in targets} <= places


def test_the_whole_configuration_of_every_run_can_be_unfolded(runs, shown):
    text = "".join(shown.text)
    assert all(run.text in text for run in runs if run.text)
    assert sum(tag == "summary" for tag, _ in shown.tags) == 4 + 1  # and the log of the one that failed


def test_facts_that_differ_from_run_to_run_are_counted(shown):
    facts = dict(shown.tables[-1])
    assert facts["results_version"] == "1"
    assert facts["code.commit"] == "abc(3 runs)def(1 run)"
    assert facts["code.dirty"] == "false(3 runs)—(1 run)"
    assert facts["environment.id"] == "metarl_exp.tasks.Navigation2D"
    assert not {"seed", "fingerprint", "command", "environment.settings.horizon"} & set(facts)


def test_long_evaluations_have_columns_for_some_steps(write_run, parsed):
    returns = [[float(k) for k in range(21)]] * 2
    run = read(folder_status(write_run(returns=returns)))
    shown = parsed(page.render("outputs", Overview([run]), []))
    (header, row) = next(rows for rows in shown.tables if rows[0][0] == "method")
    assert header[2:-2] == ["0 steps", "1 step", "2 steps", "4 steps", "8 steps", "16 steps", "20 steps"]
    assert row[2:-2] == ["0.00", "1.00", "2.00", "4.00", "8.00", "16.00", "20.00"]
