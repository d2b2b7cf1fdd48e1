"""A GPU made of a CPU's memory: tensors that say they are on one, and refuse what a real one refuses.

Its products are the CPU's, so results must agree to the bit; what it tells is where a tensor is left on the wrong
side: an operation over both sides, a tensor of the GPU that NumPy is given.
"""

import torch
from torch.overrides import TorchFunctionMode

GPU = torch.device("cuda")
#: An index may stay in main memory, and these carry values over.
CROSSING = {
    torch.Tensor.__getitem__,
    torch.Tensor.__setitem__,
    torch.Tensor.copy_,
    torch.Tensor.to,
    torch.Tensor.type_as,
}


class OnGPU(torch.Tensor):
    """A tensor of the pretended GPU."""

    device = GPU
    is_cuda = True

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func not in CROSSING:
            with torch._C.DisableTorchFunctionSubclass():
                sides = {isinstance(tensor, OnGPU) for tensor in tensors((args, kwargs)) if tensor.dim()}
            if len(sides) > 1:
                raise RuntimeError(
                    f"{func.__name__}: expected all tensors to be on the same device, found cuda and cpu"
                )
        if func in (torch.Tensor.numpy, torch.Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if func is torch.Tensor.cpu:
            return in_memory(args[0]).clone()
        found = super().__torch_function__(func, types, args, kwargs)
        # What a tensor in memory is asked for stays there, even by an index or a value of the GPU.
        if func in (torch.Tensor.__getitem__, torch.Tensor.copy_) and not isinstance(args[0], OnGPU):
            return in_memory(found)
        return found

    def __array__(self, dtype=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")


class PretendedGPU(TorchFunctionMode):
    """Within this, ``device="cuda"`` names the pretended GPU."""

    moved = back = 0
    """Tensors that were made on the GPU or carried there, and that were carried back."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.to:
            return self.to(args, kwargs)
        self.back += func is torch.Tensor.cpu
        device = kwargs.get("device")
        if device is None or torch.device(device).type != "cuda":
            return func(*args, **kwargs)
        self.moved += 1
        return func(*args, **{**kwargs, "device": "cpu"}).as_subclass(OnGPU)

    def to(self, args, kwargs):
        tensor, *wanted = args
        named = [*wanted, *kwargs.values()]
        target = next((torch.device(value) for value in named if isinstance(value, str | torch.device)), None)
        other = next((value for value in named if isinstance(value, torch.Tensor)), None)
        to_gpu = isinstance(tensor, OnGPU) if target is None and other is None else isinstance(other, OnGPU)
        if target is not None:
            to_gpu = target.type == "cuda"
        dtype = next(
            (value for value in named if isinstance(value, torch.dtype)), other.dtype if other is not None else None
        )
        plain = in_memory(tensor)
        crosses = to_gpu != isinstance(tensor, OnGPU)
        found = plain.to(dtype or plain.dtype, copy=crosses)
        self.moved += crosses and to_gpu
        self.back += crosses and not to_gpu
        if not to_gpu:
            return found
        return tensor if found is plain and not crosses else found.as_subclass(OnGPU)


def in_memory(tensor):
    """Return the plain tensor behind one of the pretended GPU."""
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(torch.Tensor)


def tensors(values):
    """Yield all tensors in nested arguments."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, dict):
        yield from tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors(value)
