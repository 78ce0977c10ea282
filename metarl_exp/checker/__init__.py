"""Is a task distribution what it claims to be? Every check is a claim, played with a few short episodes.

A *fault* would spoil results; a *note* is worth knowing, or cannot be decided from outside. A distribution may declare
what would be a fault elsewhere with a sentence: `train_test_overlap`, that test tasks are also trained on since there
are so few, and `ends_at_horizon`, that the last step ends the MDP and is no time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from metarl_exp.checker import answers, declared, independence
from metarl_exp.checker.finding import FAULT, NOT_RUN, NOTE, PASSED, Finding, Seen, Subject, fault, not_run
from metarl_exp.process.failures import EnvironmentFailure
from metarl_exp.tasks.base import TaskDistribution
from metarl_exp.tasks.guard import close, guarded

__all__ = ["FAULT", "LIMIT", "NOTE", "NOT_RUN", "PASSED", "Finding", "check"]

LIMIT = 300.0  # s, of one check; ours, as environment_timeout

Check = Callable[[Subject], Iterator[Seen]]

# Without these the others would only repeat the fault.
FOUNDATIONS: tuple[Check, ...] = (
    declared.declarations_are_complete,
    declared.tasks_are_rows_of_the_generator,
    answers.answers_have_their_shapes,
    answers.numbers_are_finite,
    independence.the_same_again_is_the_same,
)
CLAIMS: tuple[Check, ...] = (
    declared.train_and_test_tasks_are_apart,
    answers.every_action_is_taken,
    answers.a_time_limit_is_not_terminal,
    independence.randomness_comes_from_the_generator,
    independence.tasks_are_applied,
    independence.attributes_are_as_if_built_in,
    independence.neighbours_do_not_matter,
    independence.batches_share_nothing,
    independence.tensors_are_left_alone,
)


def check(
    distribution: TaskDistribution, with_horizon: Callable[[int], TaskDistribution] | None = None
) -> list[Finding]:
    """Examine a distribution: at least one finding for each claim.

    `with_horizon`, if given, makes the same distribution with another time limit: the only way to see an end that is
    one in disguise when random actions never get there.
    """
    subject, sound = Subject(distribution, with_horizon), True
    findings: list[Finding] = []
    for claim in (*FOUNDATIONS, *CLAIMS):
        seen = _examined(claim, subject) if sound else [not_run("needs what failed above")]
        sound = sound and (claim in CLAIMS or all(verdict != FAULT for verdict, _ in seen))
        findings += [Finding(claim.__name__.replace("_", " "), *found) for found in seen]
    close(distribution, LIMIT)
    return findings


def _examined(claim: Check, subject: Subject) -> list[Seen]:
    """Findings of a check; an exception of the distribution is a fault as well."""
    try:
        with guarded("raised", LIMIT):
            return list(claim(subject))
    except EnvironmentFailure as failure:
        return [fault(str(failure))]
