"""One run in its folder: begin or resume, train, validate, finish."""

from __future__ import annotations

import logging
import shlex
import sys
import uuid
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from metarl_exp import wiring
from metarl_exp.commands import artifacts
from metarl_exp.commands.recording import recorded
from metarl_exp.process.failures import EnvironmentFailure, NonFiniteError
from metarl_exp.process.place import ProcessInfo
from metarl_exp.process.ranks import Ranks, default_threads, joined
from metarl_exp.process.signals import terminated_as_interrupt
from metarl_exp.runs import checkpoint, provenance, recovery, results, scoring
from metarl_exp.runs.progress import display
from metarl_exp.runs.run_folder import RunFolder
from metarl_exp.runs.sweep import Sweep
from metarl_exp.runs.tracker import RunInfo
from metarl_exp.types import Iteration
from metarl_exp.validation import installed_memory

log = logging.getLogger("metarl_exp")


class Run:
    """One job in its folder, whose lock is held. Of several ranks, the first."""

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
        """Do all that is left to do; the validation return of the best iterate."""
        if self.found.finished:
            with joined_ranks(self.config) as ranks:
                ranks.broadcast_object(None)
            self.console.print(f"already finished: {self.folder.path} (restart=true runs it again in a new folder)")
        else:
            going_on = self.sweep.command() if self.sweep else self.command()
            with (
                recorded(self.folder, self.console.print, going_on),
                self.folder.logged(log),
                joined_ranks(self.config) as self.ranks,
                terminated_as_interrupt(),
                self.ranks.explained(),
            ):
                self.work()
        return self.show()

    def work(self) -> None:
        """Build, begin or resume, train and finish; tracked from the first to the last."""
        if before := self.found.before:
            log.info("again; before it was %s (%s)", before["state"], before["reason"] or "no reason recorded")
        self.threads()
        self.device()
        self.parts = wiring.assemble(self.config, self.ranks, installed_memory())
        self.initial = self.parts.learner.theta
        self.best = checkpoint.Best(self.folder.path, self.fingerprint, self.config.seed, self.initial)
        self.resume()
        self.began: Any = self.folder.provenance("tracker_id")
        self.ranks.broadcast_object((torch.get_num_threads(), self.parts.learner.state(), self.folder.path))
        tracker = self.parts.tracker
        tracker.start(self.run_info())
        summary, drawn, failed = {}, [], True
        try:
            self.train()
            evaluation = self.finish()
            drawn = sorted(self.folder.figures.glob("*.png"))
            summary = {f"test/step_{k}": x for k, x in enumerate(evaluation["theta"]["best"]["mean"])}
            summary["validation/best"] = evaluation["validation"]
            failed = False
        except NonFiniteError as error:
            raise checkpoint.keep_batch(self.folder.path / "failed_batch.pt", error) from error
        finally:
            problem = tracker.finish(summary, drawn, failed)
            if problem:
                self.console.print(problem)
            with suppress(EnvironmentFailure) if failed else nullcontext():  # the first failure is the one to know
                self.parts.learner.close()

    def threads(self) -> None:
        """torch's thread count: as the run began, for a continued one; rounding depends on it."""
        recorded = (self.folder.provenance() or {}).get("threads")
        if recorded and self.config.threads not in (None, recorded):
            self.console.print(f"continuing with threads={recorded}, as the run began (not {self.config.threads})")
        torch.set_num_threads(recorded or self.config.threads or default_threads(ProcessInfo.here()))

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

    def train(self) -> None:
        """The meta-iterations that are left, each recorded and checkpointed before the next begins."""
        learner, total = self.parts.learner, self.config.iterations
        with display(self.console, total, learner.iteration) as shown:
            for record in learner.iterations(total - learner.iteration):
                metrics = {"iteration": record.number, **record.metrics, **self.validate(record)}
                self.folder.append_metrics(metrics)
                beside = {"best": self.best.state(), "provenance": self.began}
                run = {"fingerprint": self.fingerprint, "seed": self.config.seed}
                checkpoint.save_latest(self.folder.path, learner.state() | beside | run)
                self.ranks.broadcast_object()  # that they may go on
                self.parts.tracker.log(metrics, record.number)
                shown.show(record)
                log.info(" ".join(f"{k}={v:.5g}" for k, v in metrics.items()))

    def validate(self, record: Iteration) -> dict[str, float]:
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
            if evaluation.best_by != "training_return":
                score = returns[-1] if evaluation.best_by == "validation" else float(learner.iteration)
                self.best.keep(learner.theta, learner.iteration, score)
        return metrics

    def finish(self) -> dict[str, Any]:
        """Evaluate the initial, the best and the last θ on the test tasks, draw and film; the content of the result."""
        learner = self.parts.learner
        self.best.write()  # whatever became of the file since
        evaluation, validated = self.parts.evaluation.validated(learner, self.best.theta)
        candidates = {
            "initial": scoring.Candidate(0, self.initial),
            "best": scoring.Candidate(self.best.iteration, self.best.theta),
            "last": scoring.Candidate(learner.iteration, learner.theta),
        }
        scored = {"validation": validated[:, -1].mean().item()}
        content = artifacts.evaluate(self.folder, learner, evaluation, candidates, scored)
        if self.config.replay and (problem := artifacts.film(self.folder, learner, evaluation, self.best.theta)):
            trust = " --trust" if wiring.foreign_code(self.config) else ""
            self.console.print(f"{problem}; metarl-replay {self.folder.path}{trust} tries again")
        return content

    def show(self) -> float:
        """Print the table and where everything is; the validation return of the best iterate."""
        content = self.folder.evaluation("validation", "protocol", "tasks")
        assert content
        self.console.print(results.table(content))
        self.console.print(f"figures, metrics, checkpoints: {self.folder.path}")
        return content["validation"]

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
        """Command that starts this run, alone if it is a job of a sweep."""
        arguments = HydraConfig.get().overrides.task if self.sweep else sys.argv[1:]
        return shlex.join([*ProcessInfo.here().program(), *arguments])


def joined_ranks(config: DictConfig) -> AbstractContextManager[Ranks]:
    """The ranks of this run, until the block ends."""
    return joined(ProcessInfo.here(), config.rank_timeout, str(wiring.device_named(config.device)))
