"""What benchmarks say without measuring: operations needed, phases, settings, and tables of given records."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from metarl_exp import wiring

ROOT = Path(__file__).parents[1]
SIZES = (3, 7, 5, 2)
ROWS = 11


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The programs of benchmarks/ import each other by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def counted(function) -> int:
    import operations

    with operations.counter() as count:
        function()
    return count.get_total_flops()


class Plain:
    """An MLP on some rows without the package: its outputs and the ingredients of derivatives."""

    def __init__(self, generator):
        self.weights = [torch.randn(b, a, generator=generator, requires_grad=True) for a, b in pairwise(SIZES)]
        self.x = torch.randn(ROWS, SIZES[0], generator=generator)
        self.vector = [torch.randn(w.shape, generator=generator) for w in self.weights]

    def outputs(self):
        x = self.x
        for i, weight in enumerate(self.weights):
            x = x @ weight.T if i == 0 else torch.tanh(x) @ weight.T
        return x

    def gradient(self, **settings):
        return torch.autograd.grad(self.outputs().square().sum(), self.weights, **settings)


def test_the_formulas_are_what_torch_counts_of_the_plainest_programs(generator):
    from operations import Network

    network, plain = Network(SIZES), Plain(generator)
    assert counted(plain.outputs) == ROWS * network.forward
    assert counted(plain.gradient) == ROWS * (network.forward + network.backward)
    gradient = plain.gradient(create_graph=True)
    hessian = counted(lambda: torch.autograd.grad(gradient, plain.weights, plain.vector))
    assert hessian == ROWS * network.hessian
    outputs = plain.outputs()
    dummy = torch.zeros_like(outputs).requires_grad_()
    linear = torch.autograd.grad(outputs, plain.weights, dummy, create_graph=True)
    tangent = counted(lambda: torch.autograd.grad(linear, dummy, plain.vector))
    backward = counted(lambda: torch.autograd.grad(outputs, plain.weights, torch.ones_like(outputs)))
    assert tangent + backward == ROWS * network.fisher


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b, c: torch.bmm(a, b, out=c),
        lambda a, b, c: torch.baddbmm(c, a, b, out=c),
        lambda a, b, c: c.baddbmm_(a, b),
        lambda a, b, c: [c[i].addmm_(a[i], b[i]) for i in range(2)],
        lambda a, b, c: torch.einsum("nij,njk->nik", a, b),
    ],
)
def test_products_into_memory_that_is_there_are_counted(product):
    matrices = torch.ones(2, 3, 4), torch.ones(2, 4, 5), torch.zeros(2, 3, 5)
    assert counted(lambda: product(*matrices)) == 2 * 2 * 3 * 4 * 5


TINY = ["tasks.horizon=8", "meta_batch_size=3", "trajectories=4", "policy.hidden_sizes=[6,6]"]


@pytest.fixture
def subject():
    """Makes one of a tiny navigation with further overrides."""
    from subject import Subject

    return lambda *overrides: Subject([*TINY, *overrides])


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize(
    "further",
    [
        ["adaptation=three_steps"],
        ["outer_optimizer.curvature=first"],
        ["objective=promp", "outer_optimizer=ppo", "outer_optimizer.minibatches=3"],
        ["outer_optimizer=adam"],
    ],
)
def test_no_part_of_a_meta_iteration_takes_less_than_is_needed(subject, order, further):
    """So the formulas are lower bounds of what the package does, and the counter sees all of it."""
    from iterations import part, work_needed
    from subject import facts

    tiny = subject(f"adaptation.order={order}", *further)
    record = tiny.counted()
    for name, least in work_needed(facts(tiny.learner), record).items():
        assert part(record, name) >= least, name
        assert (part(record, name) > 0) == (least > 0), name


def test_sampling_and_adaptation_take_what_is_needed(subject):
    """No episode of so few steps ends early, so that no step is computed in vain.

    A gradient takes activations again, and biases are a column of the matrices of each of its three passes.
    """
    from iterations import part, work_needed
    from operations import Network
    from subject import facts

    tiny = subject()
    record = tiny.counted()
    assert record["steps"] == [3 * 4 * 8] * 2
    least = work_needed(facts(tiny.learner), record)
    again, biases = Network((2, 6, 6, 2)).forward, 2 * (6 + 6 + 2)
    assert part(record, "sampling") == least["sampling"]
    assert part(record, "adaptation") == least["adaptation"] + (again + 3 * biases) * record["steps"][0]


@pytest.mark.parametrize("further", [["fast_weights=head"], ["inner_optimizer=meta_sgd"], ["policy=rnn"]])
def test_there_is_no_formula_for_what_is_no_plain_mlp_that_adapts(further):
    from subject import facts

    overrides = TINY[:3] if "policy=rnn" in further else TINY
    assert facts(wiring.assemble(wiring.compose([*overrides, *further])).learner)["sizes"] is None


def test_operations_are_counted_once_under_the_innermost_phase():
    from phases import Phases

    clock = iter(range(100))
    phases = Phases(lambda: next(clock))  # a reading is a second
    inner = phases.of("inner", lambda: None)
    phases.of("outer", lambda: (inner(), inner()))()
    found = phases.close()
    assert found == {"inner": [1, 1], "outer": [3], "rest": [2]}
    assert sum(map(sum, found.values())) == next(clock) - 1


def test_watching_changes_no_numbers_and_ends(subject, monkeypatch):
    from metarl_exp.algorithm.sampler import Sampler

    before = Sampler.__call__
    tiny = subject()
    assert Sampler.__call__ is before
    tiny.iterate()
    plain = wiring.assemble(wiring.compose([*TINY, "tracker=none"])).learner
    plain.train(2)
    assert all(torch.equal(tiny.learner.theta[name], p) for name, p in plain.theta.items())


def settings() -> dict:
    import yaml

    return yaml.safe_load((ROOT / "benchmarks" / "settings.yaml").read_text())


def every_list_of_overrides() -> list[list[str]]:
    axes = settings()["scaling"].values()
    points = [[axis["override"].format(value)] for axis in axes for value in axis["values"]]
    return [*settings()["settings"].values(), *points]


@pytest.mark.parametrize("overrides", every_list_of_overrides(), ids=" ".join)
def test_every_setting_composes_of_keys_that_exist(overrides):
    wiring.check_overrides(overrides)
    wiring.compose(overrides)


def test_the_published_numbers_are_in_the_middle_of_every_axis():
    """So that axes meet in one point."""
    for axis in settings()["scaling"].values():
        config = wiring.compose()
        same = [v for v in axis["values"] if wiring.compose([axis["override"].format(v)]) == config]
        assert len(same) == 1, axis


def record(**changes) -> dict:
    phases = {"sampling": [0.25, 0.25], "adaptation": [0.5], "gradient": [0.5], "product": [0.5, 0.5], "rest": [0.5]}
    return {
        "phases": phases, "steps": [10, 30], "peak_mib": 150.0, "batch_gflops": 2e-6, "step_gflops": 1e-6,
        "others_cores": 0.0, **changes,
    }  # fmt: skip


def setting(*records: dict, **changes) -> dict:
    count = {"sampling": [320.0], "adaptation": [1.0], "gradient": [2000.0], "product": [1.0, 1.0]}
    return {
        "sizes": [1, 2, 1], "order": "first", "curvature_order": "first", "minibatches": 1, "before_mib": 100.0,
        "code": {"commit": "abcdef012"},
        "counted": {"phases": count, "steps": [10, 30]}, "iterations": list(records), **changes,
    }  # fmt: skip


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_tables_say_what_the_records_do():
    """A network of 1 → 2 → 1: f = 8, g = 4 operations a step. 40 steps are sampled, 10 adapt, 30 are judged."""
    from iterations import ceiling_seconds, operations, times

    one = setting(record(), record(), record(phases={"rest": [90.0]}, others_cores=0.5))
    cells = dict(zip(*rows(times({"one": one}))[::2], strict=True))
    assert cells["meta-iteration"] == "**3.00**"
    assert cells["sampling"] == "0.500"
    assert cells["curvature"] == "1.00"
    assert cells["steps a second of sampling"] == "80"
    assert cells["peak memory, MiB"] == "50"
    # Sampling 8 · 40 at 1000 a second; adaptation (8 + 12) · 10, gradient (8 + 12) · 30 and two products of
    # (12 + 12) · 30 at 2000 a second.
    seconds = ceiling_seconds(one, record())
    assert seconds == {"sampling": 0.32, "adaptation": 0.1, "gradient": 0.3, "curvature": 0.72, "search": 0.0}
    assert cells["of the ceiling"] == f"{1.44 / 3:.0%}"
    cells = dict(zip(*rows(operations({"one": one}))[::2], strict=True))
    assert cells["sampling"] == "3.2e-07 / 3.2e-07, 64%"
    assert cells["gradient"] == "6e-07 / 2e-06, 60%"
    assert cells["adaptation"] == "2e-07 / ?, 20%"  # fewer counted than needed: the counter has missed some
    assert cells["search"] == "—"


def test_physics_are_part_of_a_robots_ceiling():
    from iterations import ceiling_seconds, robots

    one = setting(record(physics=160.0))
    assert ceiling_seconds(one, one["iterations"][0])["sampling"] == pytest.approx(0.32 + 40 / 160)
    assert rows(*robots({"one": one}))[2] == ["one", "80", "160", "50%"]
    assert robots({"one": setting(record())}) == []


def test_a_policy_without_a_formula_has_times_and_no_share():
    from iterations import operations, times

    one = setting(record(), sizes=None)
    assert rows(times({"one": one}))[2][-1] == "—"
    assert len(rows(operations({"one": one}))) == 2


def test_results_of_another_machine_are_not_mixed(tmp_path):
    from measuring import beside, store

    path = tmp_path / "results.json"
    store({"machine": {"cpu": "old"}, "results": {"a": 1, "b": 2}}, path)
    assert beside(path, ["a"], {"cpu": "old"})["results"] == {"a": 1, "b": 2}
    assert beside(path, ["a", "b"], {"cpu": "new"})["results"] == {}
    with pytest.raises(ValueError, match="has b of another machine"):
        beside(path, ["a"], {"cpu": "new"})


def test_a_name_or_an_override_that_does_not_exist_is_refused():
    from iterations import chosen

    assert list(chosen(["cartpole"], [])) == ["cartpole"]
    assert chosen([], ["trajectories=3"]) == {"own": ["trajectories=3"]}
    with pytest.raises(ValueError, match="--only='cartpol': .*did you mean 'cartpole'"):
        chosen(["cartpol"], [])
    with pytest.raises(ValueError, match="unknown key 'trajectorie'"):
        chosen([], ["trajectorie=3"])


def test_the_scaling_table_and_figure_have_every_point(tmp_path):
    from scaling import draw, table

    point = {"iterations": [record()]}
    axis = {"values": [1, 2], "first": [point, point], "second": [point, point], "code": {"commit": None}}
    here = {"cpu": "a chip", "cores": 2, "threads": 1, "torch": "2", "mujoco": None}
    results = {"results": {"tasks": axis, "trajectories": axis}, "machine": here}
    assert rows(table(results))[2:] == [[name, f"{v}", *["3.00" if i % 2 == 0 else "0.500" for i in range(4)]]
                                        for name in ("tasks", "trajectories") for v in (1, 2)]  # fmt: skip
    assert draw(results, tmp_path).read_bytes()[:4] == b"\x89PNG"
