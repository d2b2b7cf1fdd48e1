"""The multilayer perceptron against torch.nn and autograd."""

import math

import numpy as np
import pytest
import torch
from plain_training import as_flat, as_module

from edgefed.learning.model import ACTIVATIONS, MLP

DEPTHS = [(), (5,), (6, 4)]
STACKS = [(), (3,), (2, 3)]


def params_of(model: MLP, *lead: int) -> torch.Tensor:
    """Random weights, biases included, so that no gradient is zero by chance."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(scale=0.7, size=(*lead, model.size)))


def logits_and_gradient(
    model: MLP, params: torch.Tensor, x: torch.Tensor, error: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient in the parameters [..., size] of a loss whose gradient in the logits is ``error``."""
    layers = model.unpack(params)
    logits, inputs = model.forward(layers, x)
    return logits, model.pack(model.gradient(inputs, model.deltas(layers, inputs, error)))


def by_autograd(
    model: MLP, params: torch.Tensor, x: torch.Tensor, error: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of one client [size], by torch.nn and autograd."""
    module = as_module(model, params)
    logits = module(x)
    (logits * error).sum().backward()
    return logits.detach(), torch.cat([parameter.grad.ravel() for parameter in module.parameters()])


@pytest.mark.parametrize("lead", STACKS, ids=["one client", "a stack", "a stack of stacks"])
@pytest.mark.parametrize("hidden", DEPTHS, ids=["no hidden layer", "one", "two"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_and_backward_are_those_of_torch(activation, hidden, lead):
    model = MLP(4, hidden, 3, activation)
    params = params_of(model, *lead)
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(*lead, 7, 4)))
    error = torch.from_numpy(rng.normal(size=(*lead, 7, 3)))

    logits, gradient = logits_and_gradient(model, params, x, error)

    assert logits.shape == (*lead, 7, 3)
    assert gradient.shape == params.shape
    for place in np.ndindex(*lead):
        expected, expected_gradient = by_autograd(model, params[place], x[place], error[place])
        torch.testing.assert_close(logits[place], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient[place], expected_gradient, rtol=0, atol=1e-12)
        assert (expected_gradient != 0).float().mean() > 0.5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_slope_at_nought_is_that_of_torch(activation):
    """Where z = 0 exactly: 0 for max(0, z), 1 for tanh, 1/4 for the sigmoid."""
    model = MLP(4, (5,), 3, activation)
    arrays = model.state_dict(params_of(model).numpy())
    arrays["0.weight"][:], arrays["0.bias"][:] = 0, 0
    params = torch.from_numpy(model.flat(arrays))
    rng = np.random.default_rng(1)
    x, error = torch.from_numpy(rng.normal(size=(7, 4))), torch.from_numpy(rng.normal(size=(7, 3)))

    _, gradient = logits_and_gradient(model, params, x, error)

    torch.testing.assert_close(gradient, by_autograd(model, params, x, error)[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stack_over_shared_rows_gives_each_client_its_own_logits(activation):
    model = MLP(4, (5,), 3, activation)
    params = params_of(model, 6)
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(9, 4)))

    stacked = model.forward(model.unpack(params), x)[0]

    for client in range(6):
        alone = as_module(model, params[client])(x).detach()
        torch.testing.assert_close(stacked[client], alone, rtol=0, atol=1e-12)


def test_descending_is_subtracting_the_gradient():
    model = MLP(4, (6, 5), 3, "tanh")
    params = params_of(model, 3)
    rng = np.random.default_rng(1)
    x, error = torch.from_numpy(rng.normal(size=(3, 7, 4))), torch.from_numpy(rng.normal(size=(3, 7, 3)))
    layers = model.unpack(params)
    _, inputs = model.forward(layers, x)

    model.descend(layers, inputs, model.deltas(layers, inputs, error))

    expected = params - logits_and_gradient(model, params, x, error)[1]
    torch.testing.assert_close(model.pack(layers), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("hidden", DEPTHS)
def test_unpacked_parameters_have_memory_of_their_own_and_pack_back(hidden):
    model = MLP(4, hidden, 3)
    params = params_of(model, 2)
    kept = params.clone()

    layers = model.unpack(params)
    assert torch.equal(model.pack(layers), kept)
    for weight, bias in layers:
        weight.zero_()
        bias.zero_()

    assert torch.equal(params, kept)


@pytest.mark.parametrize("hidden", DEPTHS)
def test_parameters_lie_in_state_dict_order(hidden):
    model = MLP(4, hidden, 3)
    state = model.module().state_dict()

    assert {name: tuple(array.shape) for name, array in state.items()} == model.shapes
    assert list(state) == list(model.shapes)
    assert model.size == sum(array.numel() for array in state.values())
    flat = params_of(model)
    arrays = model.state_dict(flat.numpy())
    assert list(arrays) == list(state)
    np.testing.assert_array_equal(model.flat(arrays), flat.numpy())
    torch.testing.assert_close(as_flat(as_module(model, flat)), flat, rtol=0, atol=0)


def test_weights_by_hand_lie_row_by_row():
    model = MLP(2, (), 2)
    flat = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0, 20.0], dtype=torch.float64)

    logits, _ = model.forward(model.unpack(flat), torch.tensor([[1.0, 1.0], [0.0, 2.0]], dtype=torch.float64))

    # W = [[1, 2], [3, 4]] is [out, in], b = [10, 20].
    assert logits.tolist() == [[13.0, 27.0], [14.0, 28.0]]


def test_flat_refuses_what_is_not_this_model():
    model = MLP(4, (5,), 3)
    arrays = model.state_dict(np.zeros(model.size))
    with pytest.raises(ValueError, match=r"expected arrays 0\.weight, 0\.bias, 2\.weight, 2\.bias; found 0\.bias"):
        model.flat({name: array for name, array in arrays.items() if name != "0.weight"})
    with pytest.raises(ValueError, match=r"array 2\.weight: expected shape \(3, 5\), found \(5, 3\)"):
        model.flat({**arrays, "2.weight": np.zeros((5, 3))})


def test_initial_weights_are_glorot_uniform_and_biases_zero():
    model = MLP(30, (20,), 10)
    draws = [model.state_dict(model.initial(seed)) for seed in range(200)]

    for name, fans in {"0.weight": 30 + 20, "2.weight": 20 + 10}.items():
        limit = math.sqrt(6 / fans)
        values = np.stack([draw[name] for draw in draws]) / limit
        assert np.abs(values).max() <= 1
        # A uniform draw's mean is 0 and its variance 1/3; four standard errors of 40,000 draws and more.
        count = values.size
        assert abs(values.mean()) < 4 * math.sqrt(1 / 3 / count)
        assert abs((values**2).mean() - 1 / 3) < 4 * math.sqrt(4 / 45 / count)
    assert all(not draw[name].any() for draw in draws for name in ("0.bias", "2.bias"))


def test_initial_weights_depend_on_the_seed_alone():
    assert np.array_equal(MLP(4, (5,), 3).initial(3), MLP(4, (5,), 3, "tanh").initial(3))
    assert not np.array_equal(MLP(4, (5,), 3).initial(3), MLP(4, (5,), 3).initial(4))


def test_glorot_limit_is_that_of_torch():
    tensor = torch.empty(20, 30)
    torch.nn.init.xavier_uniform_(tensor, generator=torch.Generator().manual_seed(0))
    ours = MLP(30, (), 20).state_dict(MLP(30, (), 20).initial(0))["0.weight"]

    # Both stay within sqrt(6 / 50) and, of 600 draws, come within a hundredth of it.
    limit = math.sqrt(6 / 50)
    for largest in (tensor.abs().max().item(), np.abs(ours).max()):
        assert 0.98 * limit < largest <= limit
