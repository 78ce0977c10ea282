"""The command from end to end on a tiny study, its numbers against exact ones, and the stored results."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from metarl_exp.commands import laboratory as command
from metarl_exp.laboratory import exact, report, study
from metarl_exp.laboratory.estimators import inner_hessians, outcomes
from metarl_exp.laboratory.exact import Estimate

STORED = Path(__file__).parents[2] / "experiments" / "estimators"
TINY = {
    "title": "Tiny", "seed": 2, "mdps": 2, "states": 2, "actions": 2, "horizon": 2, "discount": 0.9,
    "step_sizes": [0.5], "trajectories": [1, 2, 3], "enumerated": 40, "replicates": 4000, "references": 4000,
    "shown": {"step_size": 0.5, "trajectories": 3},
    "estimators": {
        "MAML": {"objective": "maml", "order": "second", "credit": "to_go"},
        "E-MAML": {"objective": "e_maml_sum", "order": "second", "credit": "to_go"},
        "loaded": {"objective": "loaded_dice", "order": "second", "credit": "baseline"},
    },
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Writes a study with some of its keys changed; the path of its file."""

    def changed(**changes):
        path = tmp_path / "settings.yaml"
        path.write_text(yaml.safe_dump(TINY | changes, sort_keys=False))
        return path

    return changed


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["metarl-laboratory", *map(str, arguments)])
    monkeypatch.setattr(command, "figures", _Undrawn)
    threads = torch.get_num_threads()
    command.main()
    torch.set_num_threads(threads)
    return capsys.readouterr().out


class _Undrawn:
    gradients = hessians = staticmethod(lambda *_: None)


def test_the_command_writes_what_it_shows(write, tmp_path, monkeypatch, capsys):
    printed = run(monkeypatch, capsys, write())
    assert "Bias for ∇J_II(M), α = 0.5" in printed
    stored = json.loads((tmp_path / "gradients.json").read_text())
    assert len(stored["gradients"]) == 9
    page = (tmp_path / "gradients.md").read_text()
    assert "| E-MAML | 0.000 | 0.000 |" in page  # enumerated: nothing but rounding
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run(monkeypatch, capsys, write(), "--render")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_measured_numbers_are_those_of_the_expectations(write):
    """M = 2 is enumerated here in the test; M = 3 there by Monte Carlo, within three times the noise."""
    made = study.read(write())
    cells = {(c["estimator"], c["trajectories"]): c for c in study.gradients(made, lambda: None)}
    for name, method in made.methods.items():
        for size in (2, 3):
            bias, scale = 0.0, 0.0
            for mdp, theta in (made.case(0), made.case(1)):
                expected = exact.gradient(lambda x, mdp=mdp: exact.expected_update_value(mdp, x, 0.5), theta)
                bias += (outcomes(mdp, theta, method, 0.5, size).mean() - expected).square().sum().item()
                scale += expected.square().sum().item()
            cell = cells[name, size]["expected"]
            assert (cell["noise"] > 0) == (size == 3)
            tolerance = max(3 * cell["noise"], 1e-3 * cell["bias"])
            assert cell["bias"] == pytest.approx((bias / scale) ** 0.5, abs=tolerance)
            assert cell["error"] == pytest.approx((cell["bias"] ** 2 + cell["deviation"] ** 2) ** 0.5, rel=1e-3)


def test_noise_is_not_taken_for_bias(generator):
    """The squared norm of a mean of N samples around 0 is, on average, the trace of its covariance."""
    zero = study.known(torch.zeros(3, dtype=torch.float64))
    cells = []
    for _ in range(2000):
        samples = torch.randn(20, 3, generator=generator, dtype=torch.float64)
        cells.append(study.Deviations.of(Estimate.of(samples), zero, 0.0))
    bias, noise = (sum(cell[i] for cell in cells) / 2000 for i in (1, 2))
    assert noise == pytest.approx(3 / 20, rel=0.05)
    assert bias == pytest.approx(0, abs=0.05 * noise)


def test_the_hessian_s_deviation_is_that_of_one_trajectory(write):
    made = study.read(write(mdps=1))
    mdp, theta = made.case(0)
    value = exact.hessian(lambda x: mdp.value(x.unsqueeze(0)).squeeze(0), theta)
    single = inner_hessians(mdp, theta, study.surrogates()["LVC"])
    second = (single.weights @ single.gradients.square() - single.mean().square()).sum()
    found = study.hessians(made)
    assert found["LVC"]["deviation"] == pytest.approx((second.sqrt() / value.norm()).item(), rel=1e-3)
    assert found["DiCE"]["bias"] < 1e-9 < found["LVC"]["bias"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"replicatse": 3}, "did you mean 'replicates'"),
        ({"mdps": 0}, "mdps=0"),
        ({"step_sizes": [-1.0]}, "step_sizes=-1.0"),
        ({"shown": {"step_size": 0.5, "trajectories": 9}}, "shown.trajectories=9: allowed are 1, 2, 3"),
        ({"estimators": {"x": {"objective": "maml", "order": "second"}}}, r"estimators\[x\]: missing key 'credit'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_measured(write, monkeypatch, capsys, changes, says):
    with pytest.raises(SystemExit, match=says):
        run(monkeypatch, capsys, write(**changes))


# ---- the stored study


def test_stored_pages_are_what_the_stored_numbers_give():
    made, stored = study.read(STORED / "settings.yaml"), json.loads((STORED / "gradients.json").read_text())
    for name, text in report.pages(made, stored).items():
        assert (STORED / name).read_text() == text, name
    assert len(stored["gradients"]) == len(made.methods) * len(made.step_sizes) * len(made.trajectories)
    for figure in ("gradients", "hessians"):
        for ending in ("png", "pdf"):
            assert (STORED / f"{figure}.{ending}").is_file()


def test_stored_e_maml_is_without_bias_for_the_sampled_update_and_nothing_else_is():
    stored = json.loads((STORED / "gradients.json").read_text())
    for cell in stored["gradients"]:
        found = cell["sampled"]
        if cell["estimator"] in ("E-MAML (sum)", "E-MAML (sum), baseline"):
            assert found["bias"] <= max(2 * found["noise"], 1e-9)
        elif cell["step_size"] >= 0.5 and cell["trajectories"] <= 2:
            assert found["bias"] > 0.01
