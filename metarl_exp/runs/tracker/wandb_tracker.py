"""Weights & Biases, at arm's length.

Everything about W&B happens in a thread of its own that is fed through a queue: a server that does not answer, a full
disk or a bug in there costs the copy, never the run. If an online start fails, the same records go to an offline run
instead, which `wandb sync` uploads later. W&B's service, a process of its own, is killed if it does not end in time:
the interpreter would wait for it for ever.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl_exp.process.awake import Countdown
from metarl_exp.runs.tracker.base import RunInfo
from metarl_exp.validation import require_choice, require_text, require_timeout

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

GRACE = 5.0  # s: for W&B to notice that its service is gone; ours
# What WANDB_MODE may say as well. An empty one is as good as none: offline.
MEANT = {"": "offline", "dryrun": "offline", "run": "online"}


class WandbTracker:
    """One W&B run a job, in the run's own folder. Arguments: see conf/tracker/wandb.yaml."""

    def __init__(
        self,
        mode: str,
        project: str,
        entity: str | None,
        group: str | None,
        tags: Sequence[str],
        init_timeout: float,
        finish_timeout: float,
    ) -> None:
        require_text("tracker.project", project, "the name of a project")
        for tag in tags:
            require_text("tracker.tags", tag, "a list of names")
        mode = MEANT.get(mode, mode)
        require_choice("tracker.mode", mode, ["online", "offline", "disabled"])
        require_timeout("tracker.init_timeout", init_timeout)
        require_timeout("tracker.finish_timeout", finish_timeout)
        self.mode, self.project, self.entity, self.group, self.tags = mode, project, entity, group, list(tags)
        self.init_timeout, self.finish_timeout = init_timeout, finish_timeout
        self.records: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.problem: str | None = None
        self.left_behind = False

    def start(self, run: RunInfo) -> None:
        """Begin in the background; returns at once."""
        global wandb
        import wandb  # takes a second, which building a tracker or reading a run does not need

        self.thread = threading.Thread(target=self._work, args=(run,), name="wandb-tracker", daemon=True)
        self.thread.start()

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Queue the metrics of an iteration."""
        self.records.put(("log", metrics, step))

    def finish(self, summary: dict[str, float], figures: list[Path], failed: bool) -> str | None:
        """Close the W&B run, waiting at most `finish_timeout` seconds; what went wrong, if something did."""
        self.records.put(("finish", summary, figures, failed))
        countdown = Countdown(self.finish_timeout)
        while self.thread.is_alive() and countdown.look() > 0:
            self.thread.join(countdown.pause)
        self.left_behind = self.thread.is_alive()
        if self.left_behind:
            _forget_service()
            return f"W&B did not answer within {self.finish_timeout:g} s and was left behind"
        # W&B's own hook waits for its service without a limit; this one comes before it.
        atexit.unregister(_limit_exit)
        atexit.register(_limit_exit, self.finish_timeout)
        return self.problem

    def _work(self, info: RunInfo) -> None:
        # Its own telemetry waits up to 30 s for a server that hangs, at the exit of the process.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        if not os.environ.get("WANDB_MODE", "offline"):
            del os.environ["WANDB_MODE"]  # which W&B would refuse
        try:
            run = self._open(info)
            while True:
                kind, *arguments = self.records.get()
                if kind == "finish":
                    return self._close(run, *arguments)
                metrics, step = arguments
                run.log(metrics, step=step)
        except Exception as error:  # whatever W&B raises, training goes on
            if self.left_behind:
                return None
            self.problem = f"W&B failed and was left behind: {type(error).__name__}: {error}"
            log.warning(self.problem)

    def _open(self, info: RunInfo) -> Any:
        try:
            return self._init(info, self.mode)
        except Exception as error:
            if self.mode != "online":
                raise
            self.problem = (
                f"W&B could not start online ({type(error).__name__}); recorded offline, upload with `wandb sync`"
            )
            log.warning(self.problem)
            wandb.teardown()  # its service would refuse the id as being in use
            return self._init(info, "offline")

    def _init(self, info: RunInfo, mode: str) -> Any:
        # W&B's own agent has made the run that is to be written to, in its sweep's project, and says so there.
        attached = "WANDB_SWEEP_ID" in os.environ
        settings = wandb.Settings(
            silent=True, console="off", init_timeout=self.init_timeout, finish_timeout=self.finish_timeout
        )
        return wandb.init(
            project=None if attached else self.project,
            entity=None if attached else self.entity,
            id=None if attached else info.id,
            name=info.name,
            group=self.group or info.group,
            tags=[*info.tags, *self.tags],
            config=info.config,
            dir=info.folder,
            mode=mode,  # type: ignore[arg-type]
            resume="allow" if mode == "online" else None,
            reinit="create_new",  # whatever became of the run of the job before in this process
            settings=settings,
        )

    @staticmethod
    def _close(run: Any, summary: dict[str, float], figures: list[Path], failed: bool) -> None:
        run.summary.update(summary)
        if figures:
            run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
        run.finish(exit_code=int(failed))


def _forget_service() -> None:
    """Kill W&B's service, and let W&B notice, so that another run in this process begins with a new one."""
    _kill_services()
    thread = threading.Thread(target=_teardown, name="wandb-teardown", daemon=True)
    thread.start()
    thread.join(GRACE)


def _teardown() -> None:
    with suppress(Exception):  # what it says to a service that is gone does not arrive
        wandb.teardown()


def _limit_exit(limit: float) -> None:
    """Kill W&B's service if it is still there after `limit` seconds of the interpreter's exit."""
    timer = threading.Timer(limit, _kill_services)
    timer.daemon = True
    timer.start()


def _kill_services() -> None:
    """Kill the services that W&B has started from this process, with what they have started."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, fields = status.read_bytes().rpartition(b")")
            if name.endswith(b"(wandb-core") and int(fields.split()[1]) == os.getpid():
                service = int(status.parent.name)
                os.killpg(service, signal.SIGKILL)  # it leads a group of its own
                os.waitpid(service, 0)
