"""The jobs of a sweep, each composed and built before any of them runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from metarl_exp.runs.run_folder import choose_folder
from metarl_exp.runs.sweep import Job, Sweep, identifier
from metarl_exp.wiring.assembly import assemble
from metarl_exp.wiring.composing import compose
from metarl_exp.wiring.fingerprints import fingerprint
from metarl_exp.wiring.hydra_internals import grid
from metarl_exp.wiring.keys import NOT_IN_FINGERPRINT
from metarl_exp.wiring.overrides import check_method, check_overrides, is_hydras
from metarl_exp.wiring.staleness import refuse_other_run


def plan(
    overrides: Sequence[str], user_dir: str | None = None, listed: Sequence[Sequence[str]] | None = None
) -> tuple[Sweep, list[Job]]:
    """The sweep that `metarl-train -m` means with these overrides, and all its jobs; none if a search proposes them.

    With `listed` jobs, each its further overrides, nothing is swept. Raises ValueError for a value that is out of range
    in any job, for two jobs that would be one run, and for a search that would minimise; FolderRefused if a job's
    folder holds another run.
    """
    parser = OverridesParser.create()
    typed = parser.parse_overrides(list(overrides))
    common = [str(o.input_line) for o in typed if not o.is_sweep_override()]
    hydra = compose(common, user_dir, with_hydra=True).hydra
    own = [str(o.input_line) for o in typed if _is_own(o)]
    sweep = Sweep(Path(hydra.sweep.dir), identifier([*own, *(" ".join(job) for job in listed or [])]))
    given = [str(o.input_line) for o in typed if not is_hydras(o)]
    swept = [f"{key}={values}" for key, values in (hydra.sweeper.get("params") or {}).items()]
    check_overrides([*given, *swept], user_dir)
    of_jobs = grid(hydra.sweeper, [*swept, *given]) if listed is None else [[*given, *job] for job in listed]
    if of_jobs is None:
        _require_maximising(hydra.sweeper)
        return sweep, []
    hydras = [str(o.input_line) for o in typed if is_hydras(o)]
    jobs: dict[str, Job] = {}
    for number, of_job in enumerate(of_jobs):
        config = compose([*hydras, *of_job], user_dir, with_hydra=True)
        check_method(config, user_dir)
        job = _job(sweep, number, of_job, config)
        if job.folder in jobs:
            same = " ".join(jobs[job.folder].overrides), " ".join(job.overrides)
            raise ValueError(f"two jobs of this sweep have the same configuration, {job.folder}: {same[0]} | {same[1]}")
        jobs[job.folder] = job
    return sweep, list(jobs.values())


def _job(sweep: Sweep, number: int, overrides: list[str], config: DictConfig) -> Job:
    """One job, checked. Built on the CPU: its own device is that of the machine which runs it."""
    with open_dict(config.hydra.job):
        config.hydra.job.num = number
    if Path(config.hydra.sweep.dir) != sweep.root:
        raise ValueError(f"output_root={config.hydra.sweep.dir!r}: the jobs of a sweep share one, {sweep.root}")
    identity = fingerprint(config)  # before the folder asks for it, where Hydra would wrap what it raises
    job = Job(config.hydra.sweep.subdir, config.seed, identity, overrides)
    refuse_other_run(config, choose_folder(sweep.root / job.folder, config.restart))
    config.device = "cpu"
    assemble(config).learner.close()
    return job


def job_running(config: DictConfig, hydra: Any) -> Job:
    """The job that runs in this process."""
    folder = os.path.relpath(hydra.runtime.output_dir, hydra.sweep.dir)
    return Job(folder, config.seed, fingerprint(config), list(hydra.overrides.task))


def _is_own(override: Override) -> bool:
    """Whether an override says what a sweep holds, and not where or how it runs."""
    key = override.key_or_group
    if is_hydras(override):
        return key.startswith(("hydra.sweeper", "hydra/sweeper"))
    return key == "seed" or key.split(".")[0] not in NOT_IN_FINGERPRINT


def _require_maximising(sweeper: Any) -> None:
    direction = sweeper.get("direction", "maximize")
    name = getattr(direction, "name", direction)
    if name != "maximize":
        raise ValueError(
            f"hydra.sweeper.direction={name}: a job's value is a return; say maximize, or hydra/sweeper=search"
        )
