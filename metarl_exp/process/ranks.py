"""The processes of one run: their shares of the tasks, their collective operations, and the loss of one.

A run may have several processes, its *ranks*. Each builds the same parts, draws the same noise, works on its share of
the tasks and takes the same step; nothing above this module knows how they talk. `Ranks()` is a process by itself, in
which every operation is the identity.

A rank that ends says so beforehand in the store that the ranks have met in, with the reason; one that says nothing was
lost. A collective operation with a rank that has ended fails at once, since its connections are closed. How long the
others are waited for is counted here and not by gloo, which also counts the time in which the process was stopped.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from metarl_exp.process.awake import Countdown
from metarl_exp.process.failures import RankFailure
from metarl_exp.process.place import ProcessInfo

GRACE = 5.0  # s for a failed rank to publish its reason, once another has noticed; then it counts as lost
THREADS = torch.get_num_threads()  # what torch takes by itself
WAIT = timedelta(days=30)  # of gloo itself: longer than anything takes


def default_threads(place: ProcessInfo) -> int:
    """Threads for torch: its own default; for several ranks on a machine, each one's share of the cores."""
    cores = len(os.sched_getaffinity(0))
    return THREADS if place.size == 1 else max(1, cores // place.local_size)


class Ranks:
    """Rank `rank` of `size`. Task i of a meta-batch is that of rank i mod size, so that neighbours are on all ranks.

    This class knows shares alone; what is of all ranks together is, for a process by itself, what it has.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def require_shares(self, field: str, num_tasks: int, groups: int = 1) -> None:
        """Raise ValueError unless all ranks have as many tasks, in each of some groups: means are then of means."""
        if self.size > 1 and num_tasks % (self.size * groups):
            of_groups = f" in each of outer_optimizer.minibatches={groups} groups" if groups > 1 else ""
            raise ValueError(
                f"{field}={num_tasks}: must be a multiple of {self.size * groups}, "
                f"as many tasks for each of {self.size} ranks{of_groups}"
            )

    def share(self, x: Tensor, axis: int = 0) -> Tensor:
        """This rank's share of all tasks along an axis: N → N / size."""
        return x if self.size == 1 else x.unflatten(axis, (-1, self.size)).select(axis + 1, self.rank)

    def own(self, tasks: Tensor) -> Tensor:
        """Positions in this rank's share of its tasks among some, which are indices of a meta-batch."""
        return tasks[tasks % self.size == self.rank] // self.size

    def gather(self, x: Tensor) -> Tensor:
        """All ranks' shares [N / size, …] in the order of the meta-batch, [N, …], without history."""
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Mean of all ranks' tensors of one shape."""
        return x

    def broadcast(self, x: Tensor, source: int = 0) -> Tensor:
        """The tensor of one rank; all have to have one of its shape."""
        return x

    def broadcast_object(self, value: Any = None) -> Any:
        """Send an object from rank 0 to all. The others wait, however long that takes."""
        return value

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise RankFailure, with the reason, for whatever ends the block because of another rank."""
        yield


ALONE = Ranks()


class Processes(Ranks):
    """The ranks of a run as processes that have met, by `torch.distributed`: gloo for the CPU, NCCL for CUDA.

    `timeout` is in seconds: a collective operation in which others are waited for longer fails, as does one with a
    rank that has ended. RankFailure is then raised. Only time in which this process ran counts; but until the ranks
    have met, and in the vectors that go by NCCL, all time does.
    """

    def __init__(self, place: ProcessInfo, timeout: float, cuda: bool) -> None:
        super().__init__(place.rank, place.size)
        self._timeout = timeout
        self._store, *_ = next(iter(rendezvous("env://", timeout=timedelta(seconds=timeout))))
        self._store.set(f"process/{self.rank}", f"process {os.getpid()} on {platform.node()}")
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            store=self._store,
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(seconds=timeout),
        )
        self._patient: Any = dist.new_group(backend="gloo", timeout=WAIT)
        self._names = [self._store.get(f"process/{rank}").decode() for rank in range(self.size)]
        self._ended = False

    def gather(self, x: Tensor) -> Tensor:
        own = x.detach().contiguous()
        everyone = [torch.empty_like(own) for _ in range(self.size)]
        self._together(x, lambda group: dist.all_gather(everyone, own, group, async_op=True))
        return torch.stack(everyone, dim=1).flatten(0, 1)

    def mean(self, x: Tensor) -> Tensor:
        total = x.detach().clone()
        self._together(x, lambda group: dist.all_reduce(total, group=group, async_op=True))
        return total / self.size

    def broadcast(self, x: Tensor, source: int = 0) -> Tensor:
        told = x.detach().clone()
        self._together(x, lambda group: dist.broadcast(told, source, group, async_op=True))
        return told

    def broadcast_object(self, value: Any = None) -> Any:
        told = [value]
        with _failing():
            dist.broadcast_object_list(told, 0, group=self._patient)
        return told[0]

    def _together(self, x: Tensor, operation: Callable[[Any], Any]) -> None:
        """Run a collective operation on tensors like `x`. Raises RankFailure."""
        with _failing():
            if x.is_cuda:  # NCCL does not notice who has ended: the ranks meet by gloo before
                self._wait(dist.all_reduce(torch.zeros(1), group=self._patient, async_op=True))
                operation(dist.group.WORLD).wait()
            else:
                self._wait(operation(self._patient))

    def _wait(self, work: Any) -> None:
        """Wait for an operation. A signal that interrupts it is heard afterwards, since the others count on it."""
        countdown, interrupted, done = Countdown(self._timeout), None, False
        while not done:
            try:
                done = self._answered(work, countdown)
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted:
            raise interrupted

    def _answered(self, work: Any, countdown: Countdown) -> bool:
        """Whether an operation ends within a slice of its limit. Raises RuntimeError if it fails or is late."""
        try:
            work.wait(timedelta(seconds=countdown.pause))
        except RuntimeError as error:
            if work.is_completed():
                raise
            if countdown.look() > 0:
                return False
            # A group waits for what it has begun when it is closed: this one stays, until the process ends.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._patient))
            raise RuntimeError(f"no answer within {self._timeout:g} s") from error
        return True

    @contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # torchrun sends SIGTERM to whoever is left as soon as one has ended: from here on there is nothing to stop.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if not isinstance(error, KeyboardInterrupt | RankFailure):
                raise
            self.leave(_state(error))
            reason, details = self._verdict(error)
            if reason is None:
                raise KeyboardInterrupt from error
            failure = RankFailure(reason)
            if details:
                failure.add_note(details)
            raise failure from error

    def _verdict(self, error: BaseException) -> tuple[str | None, str]:
        """Reasons of the ranks that ended, with tracebacks; None if they were interrupted, and nothing failed."""
        states = {_state(error)}
        silent = set(range(self.size)) - {self.rank}
        deadline = time.monotonic() + GRACE
        while silent and time.monotonic() < deadline:
            for rank in sorted(silent):
                word = self.exit_reason_of(rank)
                if word is not None and word["state"] == "failed":
                    return f"rank {rank}: {word['reason']}", word["details"]
                if word is not None:
                    states.add(word["state"])
                    silent.remove(rank)
            time.sleep(0.05)
        if not silent:
            return None if "interrupted" in states else str(error), ""
        lost = ", ".join(f"{rank} ({self._names[rank]})" for rank in sorted(silent))
        return f"lost rank {lost}: it ended without a word, or does not answer", ""

    def exit_reason_of(self, rank: int) -> dict[str, str] | None:
        """State, reason and details that a rank published before it ended; None if nothing."""
        with suppress(RuntimeError):  # of a store that has ended too
            if self._store.check([f"ended/{rank}"]):
                return json.loads(self._store.get(f"ended/{rank}"))
        return None

    def leave(self, state: str, reason: str = "", details: str = "") -> None:
        """Publish why this rank ends, once, and close its connections, which wakes the ranks that wait for it."""
        if self._ended:
            return
        self._ended, self._patient = True, None  # the group is closed with the last reference to it
        with suppress(RuntimeError):
            self._store.set(f"ended/{self.rank}", json.dumps({"state": state, "reason": reason, "details": details}))
        dist.destroy_process_group()


@contextmanager
def _failing() -> Iterator[None]:
    """Raise RankFailure if a collective operation in the block fails."""
    try:
        yield
    except RuntimeError as error:
        raise RankFailure(f"another rank has ended or does not answer: {error}") from error


@contextmanager
def joined(place: ProcessInfo, timeout: float, device: str) -> Iterator[Ranks]:
    """The ranks of the run that this process is one of, until the block ends.

    Raises ValueError if this machine has fewer GPUs than ranks, and RankFailure if the others do not come.
    """
    if place.size == 1:
        yield ALONE
        return
    cuda = torch.device(device).type == "cuda"
    if cuda:
        gpus = torch.cuda.device_count()
        if place.local_size > gpus:
            raise ValueError(
                f"device={device}: needs a GPU for each of {place.local_size} ranks here, there are {gpus}"
            )
        torch.cuda.set_device(place.local_rank)
    try:
        processes = Processes(place, timeout, cuda)
    except RuntimeError as error:
        raise RankFailure(f"the {place.size} ranks did not meet within {timeout:g} s: {error}") from error
    try:
        yield processes
    except BaseException as error:
        processes.leave(_state(error), f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    processes.leave("finished")


def _state(error: BaseException) -> str:
    """State of a rank that ends with an error: interrupted, left because others had ended, or failed."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "left" if isinstance(error, RankFailure) else "failed"
