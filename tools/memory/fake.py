"""Networks of fake tensors, and the peak of the memory that they would use.

Fake tensors have shapes and dtypes, but no values: a network of any size runs on any machine.
"""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

_ANY = (torch.ops.aten.any.default, torch.ops.aten.any.dim)
_SCALAR = torch.ops.aten._local_scalar_dense.default
_INDEX, _NOT = torch.ops.aten.index.Tensor, torch.ops.aten.bitwise_not.default
_NONZERO = torch.ops.aten.nonzero.default


class LiveBytes(TorchDispatchMode):
    """`peak` of the bytes of all storages that are alive at once, while this mode is on.

    A fake tensor has no value to branch on. Checks of values take the branch of sound ones: `all` is true, `any` false.
    A mask selects all rows, its inverse none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.peak = 0, 0
        self._known: dict[int, Any] = {}

    def count(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known[key] = weakref.ref(storage, lambda _: self._forget(key, size))
            self.now += size
            self.peak = max(self.peak, self.now)

    def restart(self) -> int:
        """Forget the peak so far; return the bytes that are alive."""
        gc.collect()
        self.peak = self.now
        return self.now

    def _forget(self, key: int, size: int) -> None:
        if self._known.pop(key, None) is not None:
            self.now -= size

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is _SCALAR and isinstance(args[0], FakeTensor) and args[0].dtype is torch.bool:
            return not getattr(args[0], "is_any", False)
        if function is _INDEX and isinstance(args[0], FakeTensor) and getattr(args[1][0], "dtype", None) is torch.bool:
            return args[0][:0] if getattr(args[1][0], "is_inverse", False) else args[0].clone()
        if function is _NONZERO and isinstance(args[0], FakeTensor) and args[0].ndim == 1:
            return torch.arange(len(args[0]))[:, None]
        result = function(*args, **(kwargs or {}))
        if function in _ANY:
            result.is_any = True
        if function is _NOT:
            result.is_inverse = True
        for leaf in tree_iter(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result


@contextmanager
def fake_weights() -> Iterator[FakeTensorMode]:
    """Let diffusers and transformers build networks of fake tensors, without weights.

    They read the `config.json` of a folder.
    """
    from diffusers import ModelMixin
    from diffusers.configuration_utils import ConfigMixin
    from transformers import PreTrainedModel

    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def build(cls: Any, where: Any, /, *, dtype: torch.dtype, **_: Any) -> tuple[nn.Module, dict[str, list[str]]]:
        with mode, _default(dtype):
            if issubclass(cls, ModelMixin):
                network, exact = cls.from_config(cls.load_config(str(where))), cls._keep_in_fp32_modules
            else:
                network = cls._from_config(cls.config_class.from_pretrained(str(where)), dtype=dtype)
                exact = cls._keep_in_fp32_modules if dtype is torch.float16 else cls._keep_in_fp32_modules_strict
            for name, parameter in network.named_parameters():
                if not set(exact or ()).isdisjoint(name.split(".")):
                    parameter.data = parameter.data.float()
        return network, {"missing_keys": [], "unexpected_keys": []}

    from_config = ConfigMixin.from_config.__func__

    def build_faked(cls: Any, /, *args: Any, **named: Any) -> nn.Module:
        with mode:
            return from_config(cls, *args, **named)

    with ExitStack() as stack:
        stack.enter_context(patch.object(ModelMixin, "from_config", classmethod(build_faked), create=True))
        for base in (ModelMixin, PreTrainedModel):
            stack.enter_context(patch.object(base, "from_pretrained", classmethod(build)))
        stack.enter_context(patch.object(nn.Module, "_apply", _apply))
        yield mode


def _apply(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Do what `nn.Module._apply` does, which swaps tensors; those with a weak reference cannot be swapped."""
    for child in module.children() if recurse else ():
        _apply(child, change)
    for parameter in module.parameters(recurse=False):
        parameter.data = change(parameter.data)
    for name, buffer in module._buffers.items():
        module._buffers[name] = None if buffer is None else change(buffer)
    return module


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _attention_flop(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[-2] * (width + value[-1])


ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop}
"""Operations that torch's counter does not know: attention on a CPU."""


def flop_of(call: Callable[[], Any]) -> float:
    """Return the FLOPs of a call: matrix products, convolutions and attention."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        call()
    return float(counter.get_total_flops())
