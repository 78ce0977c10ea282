"""Arithmetic on parameter dicts."""

import pytest
import torch

from metarl_exp.maths.parameters import detach, flatten, stack, task_mean, unflatten, zip_names

PARAMETERS = {"w": torch.arange(6.0).view(2, 3), "b": torch.tensor(6.0), "a": torch.tensor([7.0, 8.0])}


def test_flatten_goes_in_order_of_insertion_and_unflatten_back():
    vector = flatten(PARAMETERS)
    assert torch.equal(vector, torch.arange(9.0))
    back = unflatten(vector, PARAMETERS)
    assert list(back) == ["w", "b", "a"]
    torch.testing.assert_close(back, PARAMETERS, rtol=0, atol=0)


@pytest.mark.parametrize("length", [8, 10])
def test_a_vector_of_the_wrong_length_is_refused(length):
    with pytest.raises(RuntimeError, match="split_with_sizes"):
        unflatten(torch.zeros(length), PARAMETERS)


def test_stack_copies_for_each_task_and_mean_takes_back():
    stacked = stack(PARAMETERS, 3)
    assert [x.shape for x in stacked.values()] == [(3, 2, 3), (3,), (3, 2)]
    torch.testing.assert_close(task_mean(stacked), PARAMETERS, rtol=0, atol=0)
    stacked["w"][0] += 1  # memory of its own: neither the other tasks nor the original see it
    assert torch.equal(stacked["w"][1], PARAMETERS["w"])
    assert torch.equal(PARAMETERS["w"], torch.arange(6.0).view(2, 3))


def test_task_mean_is_the_mean():
    assert task_mean({"x": torch.tensor([[1.0, 2.0], [3.0, 6.0]])})["x"].tolist() == [2.0, 4.0]


@pytest.mark.parametrize("function", [detach, lambda p: stack(p, 2)])
def test_no_history_goes_through(function):
    tracked = {"x": torch.ones(2, requires_grad=True) * 2}
    assert not function(tracked)["x"].requires_grad


def test_names_and_tensors_have_to_be_as_many():
    assert zip_names(["x", "y"], [1, 2]) == {"x": 1, "y": 2}
    with pytest.raises(ValueError, match="shorter"):
        zip_names(["x", "y"], [torch.ones(1)])
