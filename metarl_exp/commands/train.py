"""The training entry point: one job of meta-training, from a configuration to a folder of results.

metarl-train [overrides]        one run        (also `python -m metarl_exp.train`)
metarl-train -m [overrides]     a sweep
torchrun --nproc-per-node=n -m metarl_exp.train [overrides]     one run, in n processes
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from metarl_exp import figures, wiring
from metarl_exp.algorithm.evaluation import Evaluation
from metarl_exp.commands import replay
from metarl_exp.commands.follow import follow
from metarl_exp.commands.launching import marked, supervised
from metarl_exp.maths.parameters import Parameters
from metarl_exp.process import allocator
from metarl_exp.process.printing import console, safely
from metarl_exp.process.ranks import Place, RankFailure, Ranks, joined
from metarl_exp.process.signals import end_with_launcher, terminated_as_interrupt
from metarl_exp.runs import checkpoint, ending, provenance, recovery, results
from metarl_exp.runs.progress import display
from metarl_exp.runs.run_folder import RunFolder, choose_folder
from metarl_exp.runs.sweep import VARIABLE, Sweep
from metarl_exp.runs.tracker import RunInfo
from metarl_exp.tasks.base import Closeable, Drawable
from metarl_exp.types import Iteration, NonFiniteError
from metarl_exp.validation import installed_memory
from metarl_exp.wiring.jobs import job_running
from metarl_exp.wiring.preflight import only_shows, preflight, refusing

log = logging.getLogger("metarl_exp")


class Run:
    """One job in its folder, whose lock is held: start or continue, train, evaluate. Of several ranks, the first."""

    def __init__(self, config: DictConfig, folder: RunFolder, sweep: Sweep | None, console: Console) -> None:
        self.config, self.folder, self.sweep, self.console = config, folder, sweep, console
        self.fingerprint = wiring.fingerprint(config)
        wiring.refuse_other_run(config, folder.path)
        self.found = recovery.find(folder, self.fingerprint, config.seed)
        if self.found.provenance_restored:
            wiring.refuse_other_run(config, folder.path)  # now that it says of which code it is
        damaged = self.found.damaged + (wiring.store_config(config, folder.path) if folder.provenance() else [])
        for line in damaged:
            console.print(line)

    def go(self) -> float:
        """Whatever is left to do; the validation return of the best iterate."""
        before = self.found.before
        if self.found.finished:
            with joined_ranks(self.config) as ranks:
                ranks.tell(None)
            self.console.print(f"already finished: {self.folder.path} (restart=true runs it again in a new folder)")
        else:
            self.record(before)
        return self.show()

    def record(self, before: dict[str, Any] | None) -> None:
        """Work, and say in `status.json` how it stands from before the ranks meet until the last file is written."""
        self.folder.set_state("running")
        try:
            with (
                self.folder.logged(log),
                joined_ranks(self.config) as self.ranks,
                terminated_as_interrupt(),
                self.ranks.explained(),
            ):
                if before:
                    log.info("again; before it was %s (%s)", before["state"], before["reason"] or "no reason recorded")
                self.work()
        except KeyboardInterrupt:
            self.end("interrupted", "stopped by a signal")
            self.say_how_to_continue("stopped")
            raise SystemExit(130) from None
        except RankFailure as lost:
            self.end("failed", str(lost))
            self.say_how_to_continue("a rank was lost")
            raise self.failed(lost) from lost
        except Exception as error:
            self.end("failed", f"{type(error).__name__}: {error}")
            raise self.failed(error) from error
        self.folder.set_state("finished")  # whatever becomes of showing it

    def end(self, state: str, why: str) -> None:
        """Record how the run ended. Where nothing can be written, as on a full disk, that hides no reason."""
        with suppress(OSError):
            self.folder.set_state(state, why)

    def failed(self, error: Exception) -> ending.JobFailed:
        """What the run ends with: the reason, and where its traceback is."""
        return ending.JobFailed(f"{ending.reason(error, self.folder.path)} (traceback: {self.folder.log})")

    def say_how_to_continue(self, why: str) -> None:
        """Print the command that goes on from the last iteration."""
        command = self.sweep.command() if self.sweep else self.command()
        self.console.print(f"\n{why}; everything up to the last iteration is saved. To continue:\n  {command}")

    def work(self) -> None:
        """Build, train, evaluate, write; tracked from the first to the last."""
        self.threads()
        self.device()
        self.parts = wiring.build(self.config, self.ranks, installed_memory())
        self.initial = self.parts.learner.theta
        self.best = checkpoint.Best(self.folder.path, self.fingerprint, self.config.seed, self.initial)
        self.resume()
        self.began: Any = self.folder.provenance("tracker_id")
        self.ranks.tell((torch.get_num_threads(), self.parts.learner.state(), self.folder.path))
        tracker = self.parts.tracker
        tracker.start(self.run_info())
        summary, drawn, failed = {}, [], True
        try:
            self.train()
            evaluation = self.evaluate()
            drawn = sorted(self.folder.figures.glob("*.png"))
            summary = {f"test/step_{k}": x for k, x in enumerate(evaluation["theta"]["best"]["mean"])}
            summary["validation/best"] = evaluation["validation"]
            failed = False
        except NonFiniteError as error:
            raise checkpoint.keep_batch(self.folder.path / "failed_batch.pt", error) from error
        finally:
            distribution = self.parts.learner.task_distribution
            if isinstance(distribution, Closeable):
                distribution.close()
            problem = tracker.finish(summary, drawn, failed)
            if problem:
                self.console.print(problem)

    def threads(self) -> None:
        """torch's thread count: as the run began, for a continued one; rounding depends on it."""
        recorded = (self.folder.provenance() or {}).get("threads")
        if recorded and self.config.threads not in (None, recorded):
            self.console.print(f"continuing with threads={recorded}, as the run began (not {self.config.threads})")
        torch.set_num_threads(recorded or self.config.threads or Place.here().threads())

    def device(self) -> None:
        """The device, by its own name from here on; of the kind that the run began on, for a continued one."""
        recorded = (self.folder.provenance() or {}).get("device")
        self.config.device = str(wiring.device_continued(self.config.device, recorded, self.console.print))

    def resume(self) -> None:
        """Load the newest usable checkpoint, or begin; afterwards files and learner agree on what is done."""
        learner, state, refused = self.parts.learner, self.found.state, self.found.refused
        for path, reason in refused.items():
            log.warning("checkpoint refused: %s", reason)
            self.console.print(f"checkpoint refused: {reason}")
            path.unlink()  # or the next one would take the place of the one that is used
        if state is None:
            self.begin()
            self.console.print(f"{'starting again' if refused else 'starting'}: {self.folder.path}")
        else:
            learner.restore(state)
            self.best.restore(state["best"])
            self.console.print(f"continuing at iteration {learner.iteration}: {self.folder.path}")

    def begin(self) -> None:
        """Write what a run writes once: its configuration, provenance, and a first θ to fall back on."""
        self.parts.evaluation.check_selection(self.parts.learner)
        device = wiring.device_named(self.config.device)
        environments = wiring.environments(self.config)
        code = wiring.code(self.config, self.parts.learner.task_distribution)
        self.folder.write_json(
            "provenance.json",
            provenance.collect(self.config.seed, self.fingerprint, self.command(), device, environments, code)
            | {"tracker_id": uuid.uuid4().hex[:8], "sweep": self.sweep.id if self.sweep else None}
            | ({"ranks": self.ranks.size} if self.ranks.size > 1 else {}),
        )
        wiring.store_config(self.config, self.folder.path, anew=True)
        self.folder.keep_metrics(0)
        self.best.write()

    def run_info(self) -> RunInfo:
        """How the run introduces itself to a tracker."""
        config: Any = OmegaConf.to_container(self.config, resolve=True)
        choices = HydraConfig.get().runtime.choices
        tags = [f"{g}={choices[g]}" for g in ("tasks", "objective", "outer_optimizer")]
        tags.append(f"order={self.config.adaptation.order}")
        began, name = self.began, self.folder.path.name
        group = f"sweep-{began['sweep']}" if began.get("sweep") else name.rsplit("-seed", 1)[0]
        return RunInfo(began["tracker_id"], name, group, self.folder.path.resolve(), config, tags)

    def command(self) -> str:
        """What starts this run, alone if it is a job of a sweep."""
        arguments = HydraConfig.get().overrides.task if self.sweep else sys.argv[1:]
        return shlex.join([*Place.here().program(), *arguments])

    def train(self) -> None:
        """The meta-iterations that are left, each recorded and checkpointed before the next begins."""
        learner, total = self.parts.learner, self.config.iterations
        with display(self.console, total, learner.iteration) as shown:
            for record in learner.iterations(total - learner.iteration):
                metrics = {"iteration": record.number, **record.metrics, **self.judge(record)}
                self.folder.append_metrics(metrics)
                beside = {"best": self.best.state(), "provenance": self.began}
                run = {"fingerprint": self.fingerprint, "seed": self.config.seed}
                checkpoint.save_latest(self.folder.path, learner.state() | beside | run)
                self.ranks.tell()  # that they may go on
                self.parts.tracker.log(metrics, record.number)
                shown.show(record)
                log.info(" ".join(f"{k}={v:.5g}" for k, v in metrics.items()))

    def judge(self, record: Iteration) -> dict[str, float]:
        """Keep θ if it is the best so far; the validation returns, if they were looked at."""
        learner, evaluation = self.parts.learner, self.parts.evaluation
        metrics = {}
        if evaluation.best_by == "training_return":
            # What the batch measured is the θ that it was sampled with, not the one after the step.
            self.best.keep(record.parameters, record.number, record.returns[:, -1].mean().item())
        if learner.iteration % evaluation.validate_every == 0 or learner.iteration == self.config.iterations:
            _, validated = evaluation.validated(learner, learner.theta)
            returns = validated.mean(0).tolist()
            metrics = {f"validation/step_{k}": value for k, value in enumerate(returns)}
            if evaluation.best_by == "validation":
                self.best.keep(learner.theta, learner.iteration, returns[-1])
        return metrics

    def evaluate(self) -> dict[str, Any]:
        """Evaluate the initial, the best and the last θ on the test tasks; write evaluation.json and the figures."""
        learner = self.parts.learner
        self.best.write()  # whatever became of the file since
        best = self.best.theta
        evaluation, validated = self.parts.evaluation.validated(learner, best)
        content, measured = results.evaluate(
            learner,
            evaluation,
            {
                "initial": results.Candidate(0, self.initial),
                "best": results.Candidate(self.best.iteration, best),
                "last": results.Candidate(learner.iteration, learner.theta),
            },
        )
        content["validation"] = validated[:, -1].mean().item()
        self.folder.write_json("evaluation.json", content)
        figures.learning_curve(self.folder.read_metrics(), self.folder.figures, results.counted(content))
        figures.gradient_steps(content, self.folder.figures)
        distribution = learner.task_distribution
        if isinstance(distribution, Drawable):
            landmarks = distribution.landmarks(evaluation.tasks(learner, "test"))
            figures.paths(measured["best"], distribution.positions, landmarks, self.folder.figures)
        if self.config.replay:
            self.film(evaluation, best)
        return content

    def film(self, evaluation: Evaluation, theta: Parameters) -> None:
        """Film θ before and after adaptation. What goes wrong is said, and fails no run."""
        path = self.folder.figures / "replay.gif"
        try:
            replay.make_film(self.parts.learner, evaluation, theta, replay.Filming(), path)
        except Exception as error:
            log.exception("no film")
            trust = " --trust" if wiring.foreign_code(self.config) else ""
            self.console.print(f"no film ({error}); metarl-replay {self.folder.path}{trust} tries again")

    def show(self) -> float:
        """Print the table and where everything is; the validation return of the best iterate."""
        content = self.folder.evaluation("validation", "protocol", "tasks")
        assert content
        self.console.print(results.table(content))
        self.console.print(f"figures, metrics, checkpoints: {self.folder.path}")
        return content["validation"]


@safely
def job(config: DictConfig) -> float:
    """One job: returns the validation return of the best iterate, for sweepers to maximise."""
    allocator.keep_freed_memory()
    end_with_launcher()
    hydra_config = HydraConfig.get()
    sweep = Sweep(Path(hydra_config.sweep.dir), os.environ[VARIABLE]) if VARIABLE in os.environ else None
    taking_part = sweep.take_part(job_running(config, hydra_config), config.fail_fast) if sweep else nullcontext()
    with taking_part, ExitStack() as held:
        with told_to_ranks(config):
            folder = RunFolder(choose_folder(Path(hydra_config.runtime.output_dir), config.restart))
            held.enter_context(folder.lock())
            run = Run(config, folder, sweep, console(soft_wrap=True))
        return run.go()


@contextmanager
def told_to_ranks(config: DictConfig) -> Iterator[None]:
    """Around what the first rank does before all meet: if it fails it meets them all the same, and they end with it."""
    try:
        yield
    except Exception:
        with suppress(RankFailure), joined_ranks(config):
            raise
        raise


def joined_ranks(config: DictConfig) -> AbstractContextManager[Ranks]:
    """The ranks of this run, until the block ends."""
    return joined(Place.here(), config.rank_timeout, str(wiring.device_named(config.device)))


@ending.command("metarl-train")
def main() -> Any:
    """The command `metarl-train`."""
    arguments, place = get_args_parser().parse_args(), Place.here()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, and Hydra prints no traceback of its own
    with refusing(place):
        sweep = preflight(arguments, place)
        if place.rank > 0:
            shown = only_shows(arguments) or arguments.cfg
            return None if shown else follow(wiring.compose(arguments.overrides, arguments.config_dir), place)
        run = hydra.main(str(wiring.config_dir()), "train", version_base="1.3")(job)
        if sweep is None:
            return run()
        # Overrides have to stand together.
        last = sys.argv.index(arguments.overrides[-1]) if arguments.overrides else len(sys.argv)
        sys.argv.insert(last + 1, marked(sweep))
        return supervised(sweep, run)


if __name__ == "__main__":
    sys.exit(main())
