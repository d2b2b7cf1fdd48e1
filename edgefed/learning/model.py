"""The multilayer perceptron, for one client or a thousand: parameters are one flat vector a client.

A cohort is a leading dimension. Parameters are ``[..., size]``, activations ``[..., rows, width]``; the same lines
train one client and a stack of them. The flat vector lies in ``state_dict`` order and layout, so that a stack of
clients is a matrix and an average is one product; while it trains, each layer has memory of its own.
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

_aten = torch.ops.aten


#: name -> (activation g in place, gradient in z from (gradient in a, a), the layer of torch.nn)
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor], type[nn.Module]]] = {
    "relu": (torch.relu_, lambda error, a: _aten.threshold_backward(error, a, 0), nn.ReLU),
    "tanh": (torch.tanh_, lambda error, a: _aten.tanh_backward(error, a), nn.Tanh),
    "sigmoid": (torch.sigmoid_, lambda error, a: _aten.sigmoid_backward(error, a), nn.Sigmoid),
}

Layers = list[tuple[Tensor, Tensor]]
"""(weight, bias) of each layer: [..., in, out] or [..., out, in], whichever is wider last, and [..., 1, out]."""


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

    @cached_property
    def transposed(self) -> tuple[bool, ...]:
        """Whether each layer's weight is kept as [out, in] while it trains, else as [in, out].

        The wider side comes last: a product of small matrices with a narrow last dimension takes up to three times as
        long.
        """
        widths = (self.inputs, *self.hidden, self.classes)
        return tuple(fan_in > fan_out for fan_in, fan_out in itertools.pairwise(widths))

    def unpack(self, flat: Tensor) -> Layers:
        """Return flat parameters [..., size] as layers of their own memory."""
        lead, views, start = flat.shape[:-1], [], 0
        for shape in self.shapes.values():
            stop = start + math.prod(shape)
            views.append(flat[..., start:stop].reshape(*lead, *(shape if len(shape) == 2 else (1, *shape))))
            start = stop
        pairs = zip(views[::2], views[1::2], self.transposed, strict=True)
        return [
            ((weight if kept else weight.mT).clone(memory_format=torch.contiguous_format), bias.clone())
            for weight, bias, kept in pairs
        ]

    def pack(self, layers: Layers) -> Tensor:
        """Return layers as flat parameters [..., size]: the inverse of :meth:`unpack`."""
        pieces = []
        for (weight, bias), kept in zip(layers, self.transposed, strict=True):
            pieces += [(weight if kept else weight.mT).flatten(-2), bias.flatten(-2)]
        return torch.cat(pieces, dim=-1)

    def forward(self, layers: Layers, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits [..., rows, classes] and each layer's input, which :meth:`deltas` needs.

        Parameters
        ----------
        layers : Layers
            From :meth:`unpack`.
        x : Tensor [..., rows, inputs]
        """
        activate = ACTIVATIONS[self.activation][0]
        inputs = [x]
        for (weight, bias), kept in zip(layers[:-1], self.transposed, strict=False):
            inputs.append(activate(_affine(inputs[-1], weight.mT if kept else weight, bias)))
        weight, bias = layers[-1]
        return _affine(inputs[-1], weight.mT if self.transposed[-1] else weight, bias), inputs

    def deltas(self, layers: Layers, inputs: list[Tensor], error: Tensor) -> list[Tensor]:
        """Return the gradient of a loss in each layer's z, from its gradient in the logits: backpropagation.

        delta_L = error; delta_{l-1} = (delta_l W_l) * g'(z_{l-1}), each [..., rows, width].
        """
        slope = ACTIVATIONS[self.activation][1]
        found = [error]
        for layer in range(len(layers) - 1, 0, -1):
            weight = layers[layer][0]
            passed = found[-1] @ (weight if self.transposed[layer] else weight.mT)
            found.append(slope(passed, inputs[layer]))
        return found[::-1]

    def gradient(self, inputs: list[Tensor], deltas: list[Tensor]) -> Layers:
        """Return the gradient in each layer: dW_l = delta_l^T a_{l-1}, db_l = sum over rows of delta_l.

        The gradient of the sum over clients decouples: each client's comes out in its own place.
        """
        return [
            (delta.mT @ a if kept else a.mT @ delta, delta.sum(-2, keepdim=True))
            for a, delta, kept in zip(inputs, deltas, self.transposed, strict=True)
        ]

    def descend(self, layers: Layers, inputs: list[Tensor], deltas: list[Tensor]) -> None:
        """Subtract the gradient from the layers in place, each product and its subtraction in one operation.

        Layers must have one leading dimension.
        """
        for (weight, bias), a, delta, kept in zip(layers, inputs, deltas, self.transposed, strict=True):
            if kept:
                weight.baddbmm_(delta.mT, a, alpha=-1)
            else:
                weight.baddbmm_(a.mT, delta, alpha=-1)
            bias.sub_(delta.sum(-2, keepdim=True))

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
    """Return x W + b, in one operation where there is one."""
    if x.dim() == weight.dim() == 3:
        return torch.baddbmm(bias, x, weight)
    return x @ weight + bias
