"""Several processes that share the tasks of a meta-batch: they compute what one does, and end together.

The ranks are forked from this process, which has everything imported; runs are those of the real entry point.
"""

import json
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from metarl_exp import figures, wiring
from metarl_exp.algorithm.learner import Learner
from metarl_exp.commands import train
from metarl_exp.process import awake, ranks
from metarl_exp.process.awake import Countdown
from metarl_exp.process.failures import NonFiniteError, RankFailure
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.ranks import ALONE, Processes, Ranks, joined
from metarl_exp.process.streams import RankGenerator, draw, stream
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import statuses
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
SHORT = 0.5  # s, for waiting that is sure to be in vain


@pytest.fixture(scope="module", autouse=True)
def warm():
    """What building imports is imported once for all that are forked."""
    wiring.assemble(wiring.compose(["tracker=none"]))


# ---- Processes


def in_rank(rank: int, size: int, port: int, act: Callable[[ProcessInfo], Any], results: Any) -> None:
    places = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(number) for name, number in places.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    results.send_bytes(pickle.dumps(act(ProcessInfo.here())))  # multiprocessing's own would share the tensors' memory


def forked(act: Callable[[ProcessInfo], Any], size: int = 2) -> tuple[list[Any], list[multiprocessing.Process]]:
    """What `act` returns in each rank, None where it did not, and the processes, which have ended."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context, started = multiprocessing.get_context("fork"), []
    for rank in range(size):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=in_rank, args=(rank, size, port, act, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    results = []
    for process, pipe in started:
        try:
            results.append(pickle.loads(pipe.recv_bytes()) if pipe.poll(PATIENCE) else None)
        except EOFError:
            results.append(None)
        process.join(PATIENCE)
        process.kill()
        process.join()
    return results, [process for process, _ in started]


def in_ranks(act: Callable[[Ranks], Any], size: int = 2) -> list[Any]:
    """What `act` returns in each of the ranks that have joined."""

    def join(place: ProcessInfo) -> Any:
        with joined(place, PATIENCE, "cpu") as ranks:
            return act(ranks)

    results, processes = forked(join, size)
    assert [process.exitcode for process in processes] == [0] * size
    return results


# ---- Shares


@pytest.mark.parametrize("axis", [0, 1])
def test_shares_are_every_other_task_and_together_all(axis):
    x = torch.arange(24).view(4, 6) if axis else torch.arange(24).view(6, 4)
    shares = [Ranks(rank, 3).share(x, axis) for rank in range(3)]
    assert torch.equal(shares[1].movedim(axis, 0), x.movedim(axis, 0)[1::3])
    assert torch.equal(torch.cat(shares, axis).sort(axis)[0], x)
    assert ALONE.share(x, axis) is x


def test_gathered_shares_are_in_the_order_of_the_meta_batch():
    x = torch.arange(24.0).view(6, 4)
    for found in in_ranks(lambda ranks: ranks.gather(ranks.share(x)), 3):
        assert torch.equal(found, x)


def test_mean_broadcast_and_tell():
    def act(ranks: Ranks) -> tuple[Tensor, Tensor, Any]:
        mine = torch.tensor([1.0, 10.0]) * (ranks.rank + 1)
        return ranks.mean(mine), ranks.broadcast(mine, 1), ranks.broadcast_object({"from": ranks.rank})

    for mean, second, told in in_ranks(act):
        assert mean.tolist() == [1.5, 15.0]
        assert second.tolist() == [2.0, 20.0]
        assert told == {"from": 0}


def test_a_group_in_a_row_is_spread_over_all_ranks_wherever_it_begins():
    group = torch.arange(12).roll(5)[:6]
    own = [Ranks(rank, 3).own(group) for rank in range(3)]
    assert [len(x) for x in own] == [2, 2, 2]
    assert sorted(i for rank, x in enumerate(own) for i in (3 * x + rank).tolist()) == sorted(group.tolist())


# ---- Random numbers


@pytest.mark.parametrize(("shape", "axis"), [((3, 5), 0), ((4, 3, 2), 1), ((3 * 5,), 0)])
@pytest.mark.parametrize("kind", [torch.rand, torch.randn])
def test_ranks_draw_what_one_process_draws(shape, axis, kind):
    """The last shape is that of tasks and trajectories on one axis."""
    everyone = (*shape[:axis], 2 * shape[axis], *shape[axis + 1 :])
    whole = draw(kind, everyone, stream(0, "environment"), axis)
    by_task = whole.unflatten(axis, (6, -1))
    for rank in range(2):
        generator = RankGenerator(stream(0, "environment"), Ranks(rank, 2), num_tasks=3, seed=b"")
        drawn = draw(kind, shape, generator, axis).unflatten(axis, (3, -1))
        assert torch.equal(drawn, by_task.movedim(axis, 0)[rank::2].movedim(0, axis))
        assert torch.equal(generator.whole.get_state(), generator_after(kind, everyone))


def generator_after(kind: Callable, shape: tuple[int, ...]) -> Tensor:
    generator = stream(0, "environment")
    kind(shape, generator=generator)
    return generator.get_state()


def test_direct_draws_differ_between_ranks_and_batches():
    drawn = [
        torch.rand(3, generator=RankGenerator(stream(0, "environment"), Ranks(rank, 2), 1, seed)).tolist()
        for rank in range(2)
        for seed in (b"one", b"two")
    ]
    assert len({tuple(x) for x in drawn}) == 4


# ---- Meta-iterations

COMPOSITIONS = {
    "trpo, second order": [],
    "trpo, three steps of momentum": ["adaptation=three_steps", "inner_optimizer=momentum", "inner_optimizer.lr=0.1"],
    "trpo, curvature of first order": ["outer_optimizer.curvature=first"],
    "adam": ["outer_optimizer=adam"],
    "adam, first order, pcgrad": ["outer_optimizer=adam", "adaptation.order=first", "aggregator=pcgrad"],
    "ppo in minibatches": ["outer_optimizer=ppo", "objective=promp", "outer_optimizer.minibatches=2"],
    "e-maml": ["objective=e_maml", "outer_optimizer=adam"],
    "reptile": ["objective=reptile", "adaptation.order=first", "outer_optimizer=sgd"],
    "a critic": [
        "policy=mlp_critic", "advantage=critic", "objective.value_weight=0.5", "outer_optimizer=adam",
    ],
    "episodes that end early": ["tasks=cartpole", "tasks.horizon=40"],
    "luck at every step": ["tasks=bernoulli_bandit"],
    "luck at the start": ["tasks=tabular_mdp"],
    "trials": ["tasks=gaussian_bandit", "policy=rnn", "trial_episodes=3", "adaptation=none"],
    "gymnasium": ["tasks=pendulum"],
}  # fmt: skip


def trained(overrides: list[str], ranks: Ranks) -> tuple[list[Any], dict[str, Any]]:
    """Two meta-iterations in float64: their records, and the state that they end in."""
    small = ["meta_batch_size=8", "trajectories=3"]
    small += [] if any("rnn" in o for o in overrides) else ["policy.hidden_sizes=[5]"]
    small += [] if any(o.startswith("tasks=") for o in overrides) else ["tasks.horizon=6"]
    # Conjugate gradient amplifies rounding from product to product: three leave 1e-15, ten 1e-6 and more.
    small += [] if any(o.startswith("outer_optimizer=") for o in overrides) else ["outer_optimizer.cg_iterations=3"]
    learner = wiring.assemble(wiring.compose([*small, *overrides]), ranks).learner
    learner.policy.double()
    records = learner.train(2)
    return records, learner.state()


def numbers(records: list[Any]) -> Tensor:
    metrics = [[v for k, v in r.metrics.items() if not k.startswith("perf/")] for r in records]
    return torch.tensor(metrics, dtype=torch.float64)


@pytest.mark.parametrize("overrides", COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_ranks_compute_what_one_process_does(overrides):
    alone, expected = trained(overrides, ALONE)
    for records, state in in_ranks(lambda ranks: trained(overrides, ranks)):
        assert [list(r.metrics) for r in records] == [list(r.metrics) for r in alone]
        torch.testing.assert_close(numbers(records), numbers(alone), rtol=1e-9, atol=1e-12)
        for found, one in zip(records, alone, strict=True):
            assert torch.equal(found.tasks, one.tasks)
            torch.testing.assert_close(found.returns, one.returns, rtol=1e-9, atol=1e-12)
        for name, theta in expected["theta"].items():
            torch.testing.assert_close(state["theta"][name], theta, rtol=1e-9, atol=1e-12)
        for name, generator in expected["streams"].items():
            assert torch.equal(state["streams"][name], generator), name
        assert state["env_steps"] == expected["env_steps"]


def windy(ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Returns of CartPole whose rewards have noise, drawn at every step, and the generator after them."""
    small = ["tasks=cartpole", "outer_optimizer=adam", "meta_batch_size=4", "trajectories=1"]
    learner = wiring.assemble(wiring.compose(small), ranks).learner
    learner.policy.double()
    make_env = learner.task_distribution.make_env

    def make_windy(tasks: Tensor, trajectories: int, generator: torch.Generator, device: torch.device) -> Any:
        env = make_env(tasks, trajectories, generator, device)
        still = env.step

        def step(action: Tensor) -> Any:
            made = still(action)
            return made._replace(reward=made.reward + draw(torch.randn, tuple(made.reward.shape), generator))

        env.step = step
        return env

    learner.task_distribution.make_env = make_windy
    records = learner.train(3)
    return torch.stack([record.returns for record in records]), learner.streams.environment.get_state()


def test_a_rank_whose_episodes_end_first_catches_up_with_the_others_draws():
    returns, generator = windy(ALONE)
    for found in in_ranks(windy):
        torch.testing.assert_close(found[0], returns, rtol=1e-9, atol=1e-12)
        assert torch.equal(found[1], generator)


# ---- Runs

TINY = ["experiment=smoke", "tracker=none", "policy.hidden_sizes=[6]", "tasks.horizon=8", "threads=1"]
ADAM = ["outer_optimizer=adam", "iterations=4", "evaluation.validate_every=2"]


def run(
    output: Path, *overrides: str, size: int = 2, before: Callable[[ProcessInfo], None] = lambda place: None
) -> Any:
    """Exit status and output of each rank of a run; `before` prepares the process of a rank."""

    def start(place: ProcessInfo) -> int:
        for number in (1, 2):
            os.dup2(os.open(output / f"printed{place.rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        before(place)
        sys.argv = ["metarl-train", *overrides, *TINY, f"output_root={output / 'outputs'}"]
        try:
            train.main()
        except SystemExit as end:
            print(end.code, flush=True)
            return end.code if isinstance(end.code, int) else 1
        return 0

    output.mkdir(exist_ok=True)
    for file in output.glob("printed*"):
        file.unlink()
    codes, _ = forked(start, size)
    return codes, [(output / f"printed{rank}").read_text() for rank in range(size)]


def folder_of(output: Path) -> RunFolder:
    (path,) = (output / "outputs").iterdir()
    return RunFolder(path)


def holder(output: Path) -> int:
    """The process that holds the folder of the run: the first rank."""
    return json.loads((folder_of(output).path / "lock").read_text())["pid"]


def all_of(*prepared: Callable[[ProcessInfo], None]) -> Callable[[ProcessInfo], None]:
    return lambda place: [prepare(place) for prepare in prepared] and None


def at_iteration(number: int, rank: int, deed: Callable[[], None]) -> Callable[[ProcessInfo], None]:
    """Let one rank do something when it is about to sample for a meta-iteration."""

    def prepare(place: ProcessInfo) -> None:
        original = Learner.inner_update

        def inner_update(learner: Learner, tasks: Tensor) -> Any:
            if place.rank == rank and learner.iteration == number:
                deed()
            return original(learner, tasks)

        Learner.inner_update = inner_update

    return prepare


def in_the_verdict(deed: Callable[[], Any]) -> Callable[[ProcessInfo], None]:
    """Let the first rank do something once it has left, while it waits for what the others say."""

    def prepare(place: ProcessInfo) -> None:
        original = Processes._verdict

        def verdict(processes: Processes, error: BaseException) -> Any:
            if place.rank == 0:
                deed()
            return original(processes, error)

        Processes._verdict = verdict

    return prepare


def waiting(grace: float) -> Callable[[ProcessInfo], None]:
    """How long the first rank waits for what others say of their end; for no other one it matters."""

    def prepare(place: ProcessInfo) -> None:
        ranks.GRACE = grace if place.rank == 0 else SHORT

    return prepare


HEARING_ALL, HEARING_NOTHING = waiting(PATIENCE), waiting(SHORT)


def lose_patience() -> None:
    """Have operations of this rank run out of time soon, once the ranks have met, which takes what it takes."""
    ranks.Countdown = lambda limit: Countdown(SHORT)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, undrawn_in_module) -> RunFolder:
    output = tmp_path_factory.mktemp("one")
    assert run(output, *ADAM, size=1)[0] == [0]
    return folder_of(output)


@pytest.fixture(scope="module", autouse=True)
def undrawn_in_module():
    """Runs draw no figures, which take most of the time of a tiny one."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("learning_curve", "gradient_steps", "paths"):
            patch.setattr(figures, name, lambda *_: None)
        yield


def require_same_run(found: RunFolder, expected: RunFolder) -> None:
    """In float32, whose rounding four steps of Adam leave as it is."""
    records, others = found.read_metrics(), expected.read_metrics()
    assert [list(r) for r in records] == [list(r) for r in others]
    for record, other in zip(records, others, strict=True):
        for key in record.keys() - {k for k in record if k.startswith("perf/")}:
            assert record[key] == pytest.approx(other[key], rel=1e-4, abs=1e-5), key
    ours, theirs = (folder.read_json("evaluation.json") for folder in (found, expected))
    for theta, its in theirs["theta"].items():
        torch.testing.assert_close(
            torch.tensor(ours["theta"][theta]["returns"]), torch.tensor(its["returns"]), rtol=1e-4, atol=1e-4
        )
    assert ours["validation"] == pytest.approx(theirs["validation"], rel=1e-4)


def test_a_run_in_two_ranks_is_that_of_one_process_and_the_first_rank_alone_says_so(tmp_path, one_process):
    codes, printed = run(tmp_path, *ADAM)
    folder = folder_of(tmp_path)
    assert codes == [0, 0]
    assert "3 steps" in printed[0]
    assert printed[1] == ""
    require_same_run(folder, one_process)
    provenance = folder.read_json("provenance.json")
    assert provenance["ranks"] == 2
    assert provenance["command"].startswith("torchrun --nproc-per-node=2 -m metarl_exp.train outer_optimizer=adam ")
    assert "ranks" not in one_process.read_json("provenance.json")
    names = [{p.name for p in f.path.rglob("*") if p.is_file()} for f in (folder, one_process)]
    assert names[0] == names[1]

    codes, printed = run(tmp_path, *ADAM)
    assert codes == [0, 0]
    assert "already finished" in printed[0]
    assert printed[1] == ""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_lost_rank_ends_the_run_which_the_same_command_continues(tmp_path, one_process):
    codes, printed = run(tmp_path, *ADAM, before=all_of(HEARING_NOTHING, at_iteration(2, 1, die)))
    folder = folder_of(tmp_path)
    assert codes == [1, None]
    status = folder.read_json("status.json")
    assert status["state"] == "failed"
    assert re.match(r"lost rank 1 \(process \d+ on ", status["reason"])
    assert status["reason"] in " ".join(printed[0].split("\n"))
    assert len(folder.read_metrics()) == 2
    assert run(tmp_path, *ADAM)[0] == [0, 0]
    require_same_run(folder, one_process)


def test_a_signal_that_comes_before_a_lost_rank_is_missed_is_no_interruption(tmp_path):
    """torchrun sends SIGTERM to all others as soon as one has died."""

    def signal_and_die() -> None:
        os.kill(holder(tmp_path), signal.SIGTERM)
        die()

    codes, _ = run(tmp_path, *ADAM, before=all_of(HEARING_NOTHING, at_iteration(2, 1, signal_and_die)))
    assert codes == [1, None]
    assert folder_of(tmp_path).read_json("status.json")["reason"].startswith("lost rank 1 ")


def test_a_signal_that_comes_while_a_lost_rank_is_waited_for_is_no_interruption(tmp_path):
    signalled = in_the_verdict(lambda: os.kill(os.getpid(), signal.SIGTERM))
    codes, _ = run(tmp_path, *ADAM, before=all_of(HEARING_NOTHING, at_iteration(2, 1, die), signalled))
    assert codes == [1, None]
    assert folder_of(tmp_path).read_json("status.json")["reason"].startswith("lost rank 1 ")


def test_a_rank_that_does_not_answer_is_lost_after_the_timeout(tmp_path):
    def hang() -> None:
        until(lambda: folder_of(tmp_path).state() == "failed")
        die()

    before = all_of(HEARING_NOTHING, at_iteration(1, 0, lose_patience), at_iteration(1, 1, hang))
    assert run(tmp_path, *ADAM, before=before)[0] == [1, None]
    assert folder_of(tmp_path).read_json("status.json")["reason"].startswith("lost rank 1 ")


def test_a_rank_that_answers_too_late_is_no_interruption(tmp_path):
    left = tmp_path / "left"
    late = at_iteration(1, 1, lambda: until(left.exists))
    before = all_of(HEARING_NOTHING, at_iteration(1, 0, lose_patience), late, in_the_verdict(left.touch))
    assert run(tmp_path, *ADAM, before=before)[0] == [1, 1]
    status = folder_of(tmp_path).read_json("status.json")
    assert status["state"] == "failed"
    assert status["reason"].startswith("lost rank 1 ")


def test_operations_have_the_timeout_that_ranks_join_with():
    def act(processes: Ranks) -> list[float]:
        limits = []
        ranks.Countdown = lambda limit: limits.append(limit) or Countdown(limit)
        processes.mean(torch.zeros(1))
        return limits

    assert in_ranks(act) == [[PATIENCE], [PATIENCE]]


def test_a_night_in_which_the_ranks_slept_costs_them_one_slice_of_the_timeout(tmp_path):
    """On a clock that stands still but for that night; the second rank comes when the first has looked twice."""
    looks, limit = tmp_path / "looks", 1.0

    def asleep() -> float:
        with looks.open("a") as file:
            file.write(".")
        return 8 * 3600.0 * (looks.stat().st_size > 1)

    def join(place: ProcessInfo) -> float:
        with joined(place, PATIENCE, "cpu") as processes:
            processes._timeout = limit
            if place.rank == 0:
                awake.time = SimpleNamespace(monotonic=asleep)
            else:
                until(lambda: looks.exists() and looks.stat().st_size > 2)
            return processes.mean(torch.tensor(float(place.rank))).item()

    results, _ = forked(join)
    assert results == [0.5, 0.5]


def test_a_signal_in_an_operation_is_heard_once_the_others_have_it(tmp_path):
    class Signalled(Countdown):
        def look(self) -> float:
            (tmp_path / "signalled").touch()
            raise KeyboardInterrupt

    def act(processes: Ranks) -> str:
        if processes.rank == 0:
            ranks.Countdown = lambda limit: Signalled(SHORT)
        else:
            until((tmp_path / "signalled").exists)
        try:
            return str(processes.mean(torch.tensor(float(processes.rank))).item())
        except KeyboardInterrupt:
            return "interrupted"

    assert in_ranks(act) == ["interrupted", "0.5"]


def test_ranks_that_do_not_meet_fail_the_run_which_the_same_command_then_begins(tmp_path, one_process):
    codes, printed = run(tmp_path, *ADAM, "rank_timeout=0.5", before=lambda place: die() if place.rank else None)
    folder = folder_of(tmp_path)
    assert codes == [1, None]
    status = folder.read_json("status.json")
    assert status["state"] == "failed"
    assert status["reason"].startswith("the 2 ranks did not meet within 0.5 s")
    assert "To continue:" in printed[0]
    assert "did not meet" in folder.log.read_text()
    assert run(tmp_path, *ADAM)[0] == [0, 0]
    require_same_run(folder, one_process)


def test_ranks_that_do_not_meet_leave_a_finished_run_finished(tmp_path, one_process):
    shutil.copytree(one_process.path.parent, tmp_path / "outputs")
    codes, printed = run(tmp_path, *ADAM, "rank_timeout=0.5", before=lambda place: die() if place.rank else None)
    assert codes == [1, None]
    assert "did not meet within 0.5 s" in printed[0]
    assert folder_of(tmp_path).state() == "finished"


def test_a_run_that_is_killed_before_its_ranks_have_met_is_seen(tmp_path):
    def kill_first(place: ProcessInfo) -> None:
        if place.rank == 1:
            until(lambda: [*tmp_path.glob("outputs/*/status.json")] and folder_of(tmp_path).state() == "running")
            os.kill(holder(tmp_path), signal.SIGKILL)
            die()

    assert run(tmp_path, *ADAM, before=kill_first)[0] == [None, None]
    (status,) = statuses(tmp_path / "outputs")
    assert (status.state, status.reason) == ("interrupted", "killed: no process holds it")


@pytest.mark.parametrize("rank", [0, 1])
def test_an_interruption_of_one_rank_is_one_of_the_run(tmp_path, rank):
    def interrupt() -> None:
        raise KeyboardInterrupt

    codes, printed = run(tmp_path, *ADAM, before=all_of(HEARING_ALL, at_iteration(1, rank, interrupt)))
    assert codes == [130, 1]
    assert folder_of(tmp_path).read_json("status.json")["state"] == "interrupted"
    assert "To continue:" in printed[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_nan_in_one_rank_ends_all_with_its_message(tmp_path, rank):
    def fail() -> None:
        raise NonFiniteError("rewards", "first at [0]", {"rewards": torch.zeros(1)})

    codes, printed = run(tmp_path, *ADAM, before=all_of(HEARING_ALL, at_iteration(1, rank, fail)))
    folder = folder_of(tmp_path)
    batch = folder.path / ("failed_batch-rank1.pt" if rank else "failed_batch.pt")
    assert codes[1 - rank] == 1
    status = folder.read_json("status.json")
    assert status["state"] == "failed"
    prefix = "rank 1: " if rank else ""
    assert status["reason"] == f"{prefix}NonFiniteError: rewards is not finite (first at [0]; the batch is in {batch})"
    assert torch.load(batch, weights_only=True) == {"rewards": torch.zeros(1)}
    assert "in fail" in folder.log.read_text()  # the traceback, of whichever rank
    assert status["reason"].removeprefix(prefix).removeprefix("" if rank else "NonFiniteError: ") in printed[0]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["meta_batch_size=5"], "meta_batch_size=5: must be a multiple of 2, as many tasks for each of 2 ranks"),
        (
            ["meta_batch_size=6", "outer_optimizer=ppo", "objective=promp", "outer_optimizer.minibatches=2"],
            "meta_batch_size=6: must be a multiple of 4, as many tasks for each of 2 ranks in each of "
            "outer_optimizer.minibatches=2 groups",
        ),
        (["-m", "seed=0,1"], "a sweep in 2 ranks: torchrun is for one run, launchers for many (docs/sweeps.md)"),
        (["rank_timeout=0"], "rank_timeout=0: must be a number > 0 and ≤ 1e+09"),
    ],
)
def test_settings_that_ranks_cannot_share_are_refused_with_one_line_of_the_first(tmp_path, overrides, said):
    codes, printed = run(tmp_path, *overrides)
    assert codes == [1, 1]
    assert printed == [f"metarl-train: {said}\n", "1\n"]
    assert not (tmp_path / "outputs").exists()


def test_a_folder_in_use_is_refused_in_all_ranks(tmp_path, one_process):
    shutil.copytree(one_process.path.parent, tmp_path / "outputs")
    with folder_of(tmp_path).lock():
        codes, printed = run(tmp_path, *ADAM)
    assert codes == [1, 1]
    assert "is in use by" in printed[0]


# ---- Places


def test_a_process_is_by_itself_unless_it_is_told_otherwise(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert ProcessInfo.here() == ProcessInfo(0, 1, 0, 1)
    assert ProcessInfo.here().program() == ["metarl-train"]
    for name, number in {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(number))
    assert ProcessInfo.here() == ProcessInfo(5, 8, 1, 4)
    assert ProcessInfo.here().program() == ["torchrun", "--nnodes=2", "--nproc-per-node=4", "-m", "metarl_exp.train"]


def test_ranks_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert ranks.default_threads(ProcessInfo(0, 8, 0, 4)) == 1
    assert ranks.default_threads(ProcessInfo(0, 2, 0, 2)) == 3
    assert ranks.default_threads(ProcessInfo(0, 16, 0, 16)) == 1
    assert ranks.default_threads(ProcessInfo()) == ranks.THREADS


def test_ranks_that_do_not_come_are_said(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(RankFailure, match="the 2 ranks did not meet within 0.5 s"),
        joined(ProcessInfo(1, 2), 0.5, "cpu"),
    ):
        pass
