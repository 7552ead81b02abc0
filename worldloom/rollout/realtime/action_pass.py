"""An action module's pass over rows of tokens, with what actions alone decide worked out before.

The mouse's window enters its first layer beside the tokens: its share of that layer is the same at
every place of a latent and at every denoising step. So are the keyboard's keys and values. It does
not know what surrounds the module in a block.

Letters: B samples, T latents, P places, R = B T P rows, E width, H inner width, W window frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldloom.errors import ConfigError
from worldloom.model.action_module import ActionModule
from worldloom.model.rope import Rotation, rotate
from worldloom.rollout.realtime.product import Product, answer_of, format_of, multiply
from worldloom.rollout.realtime.rows import Residual, Tokens, Update, activate, update
from worldloom.rollout.realtime.time_attention import PlaceKeys, attend_in_time


@dataclass(frozen=True)
class ToldActions:
    """What a segment's actions say to one module."""

    mouse: Tensor  # [B T, H], the window's share of the mouse's first layer, its bias included
    keyboard: PlaceKeys  # ready
    rotation: Rotation  # of the latents


class ActionPass:
    """One module's layers in the order and the strokes of a GPU."""

    def __init__(self, module: ActionModule, dim: int) -> None:
        """Take a module's layers.

        Raises:
            ConfigError: when the layer that the mouse enters by is not in full precision.
        """
        entry, _, self.inner, norm = module.mouse_in
        assert isinstance(norm, nn.LayerNorm), "the mouse's way in ends with a norm"
        if not isinstance(entry, nn.Linear):
            message = (
                f"mouse_in of an action module: its first layer is {type(entry).__name__}, "
                "expected full precision; add a pattern for it to keep"
            )
            raise ConfigError(message)
        self.module = module
        self.norm = norm
        self._of_tokens = entry.weight[:, :dim]
        self._of_window = entry.weight[:, dim:]
        self._bias = entry.bias

    def tell(
        self,
        keyboard_BTWK: Float[Tensor, "B T W K"],
        mouse_BTWM: Float[Tensor, "B T W M"],
        num_memory: int,
    ) -> ToldActions:
        """Work out what actions say, whatever the tokens."""
        module, times = self.module, mouse_BTWM.shape[1]
        mouse = F.linear(mouse_BTWM.flatten(2).flatten(0, 1), self._of_window, self._bias)
        rotation = module.rotation(times, num_memory)
        keys, values = module.keyboard_kv(
            module.keyboard_embed(keyboard_BTWK).flatten(2).flatten(0, 1)
        ).chunk(2, dim=-1)
        heads = module.keyboard_norm_k(keys.unflatten(-1, (module.num_heads, -1)))
        turned = rotate(heads.unflatten(0, (-1, times)), rotation).to(keys.dtype)
        ready = torch.stack([turned.flatten(2).flatten(0, 1), values])
        return ToldActions(mouse, PlaceKeys(ready[0], ready[1], None), rotation)

    def __call__(self, residual: Residual, told: ToldActions) -> Residual:
        """Return the residual stream with what mouse and keyboard say still to be added."""
        module = self.module
        places = len(residual.tokens) // len(told.mouse)
        dtype = residual.tokens.dtype
        tokens, rows = update(residual, Update(), None)
        said = self._mouse(rows.values, told, places)
        asks = format_of(module.keyboard_q)
        tokens, rows = update(Residual(tokens, said), Update(), asks)
        query = answer_of(module.keyboard_q, rows, dtype)
        read = attend_in_time(query, told.keyboard, module.keyboard_norm_q, told.rotation, places)
        out = activate(Product(read), "none", format_of(module.keyboard_out))
        return Residual(tokens, multiply(module.keyboard_out, out, dtype))

    def _mouse(self, tokens: Tokens, told: ToldActions, places: int) -> Product:
        module, dtype = self.module, tokens.dtype
        entered = Product(F.linear(tokens, self._of_tokens))
        rows = activate(entered, "gelu", format_of(self.inner), told.mouse)
        hidden = Residual(answer_of(self.inner, rows, dtype))
        _, rows = update(hidden, Update(norm=self.norm), format_of(module.mouse_qkv))
        query, keys, values = answer_of(module.mouse_qkv, rows, dtype).chunk(3, dim=-1)
        seen = PlaceKeys(keys, values, module.mouse_norm_k)
        read = attend_in_time(query, seen, module.mouse_norm_q, told.rotation, places)
        rows = activate(Product(read), "none", format_of(module.mouse_out))
        return multiply(module.mouse_out, rows, dtype)
