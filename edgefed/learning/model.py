"""The multilayer perceptron, for one client or a thousand: parameters are one flat vector a client.

A cohort is a leading dimension. Parameters are ``[..., size]``, activations ``[..., rows, width]``; the same lines
train one client and a stack of them. The flat vector lies in ``state_dict`` order and layout, so that a stack of
clients is a matrix, an average is one product, and an optimiser step is one elementwise operation.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgefed.rng import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


def _relu_slope(a: Tensor) -> Tensor:
    return (a > 0).to(a.dtype)


def _tanh_slope(a: Tensor) -> Tensor:
    return 1 - a * a


def _sigmoid_slope(a: Tensor) -> Tensor:
    return a * (1 - a)


#: name -> (activation, its slope as a function of the *activation*, the layer of torch.nn)
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], type[nn.Module]]] = {
    "relu": (torch.relu, _relu_slope, nn.ReLU),
    "tanh": (torch.tanh, _tanh_slope, nn.Tanh),
    "sigmoid": (torch.sigmoid, _sigmoid_slope, nn.Sigmoid),
}


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron ``inputs -> hidden... -> classes``.

    Forward, for layer l: ``z_l = a_{l-1} W_l^T + b_l``, ``a_l = g(z_l)``; the last layer's z are the logits.

    Parameters
    ----------
    inputs, classes : int
    hidden : tuple of int
        Widths of the hidden layers; empty makes it softmax regression.
    activation : str
        A key of :data:`ACTIVATIONS`.
    """

    inputs: int
    hidden: tuple[int, ...]
    classes: int
    activation: str = "relu"

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by ``state_dict`` name, in its order; weights are [out, in] as in torch.nn.Linear."""
        widths = (self.inputs, *self.hidden, self.classes)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            # torch.nn.Sequential counts the activations in between as well.
            shapes[f"{2 * layer}.weight"] = (fan_out, fan_in)
            shapes[f"{2 * layer}.bias"] = (fan_out,)
        return shapes

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def initial(self, seed: int) -> NDArray[np.float64]:
        """Return Glorot-uniform weights and zero biases [size] (Glorot & Bengio 2010).

        W ~ U(-r, r) with r = sqrt(6 / (fan_in + fan_out)).
        """
        rng = stream(seed, "init")
        pieces = []
        for shape in self.shapes.values():
            if len(shape) == 2:
                limit = math.sqrt(6 / sum(shape))
                pieces.append(rng.uniform(-limit, limit, shape).ravel())
            else:
                pieces.append(np.zeros(shape))
        return np.concatenate(pieces)

    def layers(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return views (W [..., out, in], b [..., 1, out]) of flat parameters [..., size]."""
        lead, views, start = flat.shape[:-1], [], 0
        for shape in self.shapes.values():
            stop = start + math.prod(shape)
            full = shape if len(shape) == 2 else (1, *shape)
            views.append(flat[..., start:stop].view(*lead, *full))
            start = stop
        return list(zip(views[::2], views[1::2], strict=True))

    def forward(self, flat: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits [..., rows, classes] and the activations that :meth:`backward` needs.

        Parameters
        ----------
        flat : Tensor [..., size]
        x : Tensor [..., rows, inputs]
        """
        activate = ACTIVATIONS[self.activation][0]
        layers = self.layers(flat)
        activations = [x]
        for weight, bias in layers[:-1]:
            activations.append(activate(_affine(activations[-1], weight, bias)))
        weight, bias = layers[-1]
        return _affine(activations[-1], weight, bias), activations

    def backward(self, flat: Tensor, activations: list[Tensor], error: Tensor) -> Tensor:
        """Return the gradient [..., size] of a loss whose gradient in the logits is ``error``.

        With d_L = error: dW_l = d_l^T a_{l-1}, db_l = sum over rows of d_l, d_{l-1} = (d_l W_l) * g'(z_{l-1}).
        The gradient of the sum over clients decouples: each client's comes out in its own row.

        Parameters
        ----------
        flat : Tensor [..., size]
        activations : list of Tensor
            From :meth:`forward`.
        error : Tensor [..., rows, classes]
        """
        slope = ACTIVATIONS[self.activation][1]
        gradient = torch.empty_like(flat)
        layers, slots = self.layers(flat), self.layers(gradient)
        for layer in range(len(layers) - 1, -1, -1):
            weight_slot, bias_slot = slots[layer]
            weight_slot.copy_(error.mT @ activations[layer])
            torch.sum(error, dim=-2, keepdim=True, out=bias_slot)
            if layer:
                error = (error @ layers[layer][0]) * slope(activations[layer])
        return gradient

    def state_dict(self, flat: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """Return flat parameters [size] as arrays under their ``state_dict`` names."""
        arrays, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            arrays[name] = flat[start:stop].reshape(shape)
            start = stop
        return arrays

    def flat(self, arrays: Mapping[str, NDArray[np.floating]]) -> NDArray[np.floating]:
        """Return arrays under ``state_dict`` names as one flat vector [size].

        Raises
        ------
        ValueError
            When a name is missing or extra, or a shape is not this model's.
        """
        if set(arrays) != set(self.shapes):
            raise ValueError(f"expected arrays {', '.join(self.shapes)}; found {', '.join(arrays)}")
        for name, shape in self.shapes.items():
            if arrays[name].shape != shape:
                raise ValueError(f"array {name}: expected shape {shape}, found {arrays[name].shape}")
        return np.concatenate([arrays[name].ravel() for name in self.shapes])

    def module(self) -> nn.Sequential:
        """Return the same architecture as an ordinary ``torch.nn`` module (default initial weights)."""
        layer_type = ACTIVATIONS[self.activation][2]
        widths = (self.inputs, *self.hidden, self.classes)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            if layer:
                layers[str(2 * layer - 1)] = layer_type()
            layers[str(2 * layer)] = nn.Linear(fan_in, fan_out)
        return nn.Sequential(layers)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x W^T + b over any leading dimensions."""
    return x @ weight.mT + bias
