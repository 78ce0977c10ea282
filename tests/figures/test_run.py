"""Figures of a run: what is drawn is what was measured."""

import torch

from metarl_exp import figures
from metarl_exp.runs import scoring
from metarl_exp.types import Trajectories


def test_the_learning_curve_has_a_line_for_each_number_of_steps(tmp_path, saved):
    records = [{"iteration": i, "return/step_0": -50.0 + i, "return/step_1": -40.0 + 2 * i} for i in range(4)]
    assert figures.learning_curve(records, tmp_path) == tmp_path / "learning_curve.png"
    before, after = saved[0].axes[0].lines
    assert before.get_ydata().tolist() == [-50, -49, -48, -47]
    assert after.get_ydata().tolist() == [-40, -38, -36, -34]
    assert (before.get_label(), after.get_label()) == ("after 0 inner steps", "after 1 inner step")


def test_an_iterate_that_is_best_and_last_is_drawn_once(tmp_path, saved):
    entries = {"initial": 0, "best": 5, "last": 5}
    theta = {name: scoring.summarise(torch.rand(4, 3), iteration) for name, iteration in entries.items()}
    content = {"protocol": {"steps": 2}, "tasks": {"n": 4}, "theta": theta}
    figures.gradient_steps(content, tmp_path)
    labels = [line.get_label() for line in saved[0].axes[0].lines]
    assert labels == ["before meta-training (iteration 0)", "best iterate (iteration 5)"]
    assert saved[0].axes[0].lines[1].get_ydata().tolist() == theta["best"]["mean"]


def test_a_path_goes_from_the_first_observation_to_the_final_one(tmp_path, saved):
    observations = torch.tensor([[[[0.0, 0.0], [0.1, 0.0], [0.0, 0.0]]]])  # the third step did not happen
    mask = torch.tensor([[[True, True, False]]])
    zeros = torch.zeros(1, 1, 3)
    trajectories = Trajectories(observations, observations, zeros, mask & False, mask, torch.tensor([[[0.2, 0.1]]]))
    figures.paths([trajectories, trajectories], lambda x: x, torch.tensor([[0.2, 0.2]]), tmp_path)
    before = saved[0].axes[0].lines[0]
    torch.testing.assert_close(torch.tensor(before.get_xydata()).float(), torch.tensor([[0, 0], [0.1, 0], [0.2, 0.1]]))
