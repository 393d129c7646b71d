"""Ink tokens: a vision transformer that looks at the inked patches of a sketch and leaves out blank paper.

Of the 196 patches that ViT-B/16 cuts a TU-Berlin sketch into, 28 % hold any ink. A transformer's cost grows with its
tokens, and the position embedding tells each of them where it is, wherever the others are: so K patches are chosen
for each sample in the input image, and only those are embedded. K is fixed, hence all shapes are; nothing waits for
the host.

The other patches have one token for all of them, the paper token: what an empty patch is embedded as, at the mean of
their positions. In attention, and where tokens are pooled, it weighs as much as they all would: a key that is there M
times over adds log M to its logit. Empty patches that differed in nothing would so be replaced exactly, and a model
that has learned from inked patches is nearly as good on all of them. Ink for which there is no room counts as paper.

| the sample has      | training                        | evaluation                      |
|---------------------|---------------------------------|---------------------------------|
| more than K inked   | a random subset of the inked    | those with the most ink         |
| fewer than K inked  | all, filled with blank patches that the most ink lies around | the same |

A model stays timm's own, with timm's names of its tensors: what it learned loads into plain timm and may look at all
patches there. Its class is exchanged for a subclass whose methods are below.

Dropping tokens at random is PatchDropout (Liu et al., 2022) and FLIP (Li et al., 2023); sketches say which ones. That a
token which stands for several adds the logarithm of their number is Token Merging's (Bolya et al., 2023).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from timm.layers import PatchDropout, PatchDropoutWithIndices, PatchEmbed, apply_keep_indices_nlc
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from fastsketch.errors import ConfigError
from fastsketch.ink import LEAST_INK
from fastsketch.preprocess import Preprocess

COVERED = 0.95
"""`auto` takes as many patches as this share of the augmented training sketches has at most with ink."""

MULTIPLE = 8
"""`auto` rounds up to where the whole sequence, with class token, registers and paper token, is a multiple of this:
half precision matrix products and attention kernels read eight numbers at a time."""

DENSE = 0.9
"""If `auto` would keep more than this share of the patches, choosing costs more than it saves: it keeps all."""

EARLIER = 2.0**-19
"""What a patch is behind the one before it: more than the last digit of a score; over a grid of 576 a thousandth."""

AROUND = 1.0
"""Standard deviation, in patches, of the Gaussian that weighs the inked patches around a blank one."""


class Selection(NamedTuple):
    """Which patches of each sample the transformer sees.

    Attributes:
        kept: int64 [B, K], positions in the row-major grid, all different, in no particular order.
        inked: bool [B, N], for every position of the grid.
    """

    kept: Tensor
    inked: Tensor


class Embedded(NamedTuple):
    """What a patch embedding hands to the model.

    Attributes:
        patches: [B, K, D], the chosen ones.
        kept: int64 [B, K], their positions in the grid.
        paper: [D], an empty one; None if none is left out, or no token stands for those.
        unseen: Zeros in timm's layout, one image whose every patch is embedded as 0: what timm makes of it are the
            class token, the registers and all position embeddings, resampled to the grid at hand.
    """

    patches: Tensor
    kept: Tensor
    paper: Tensor | None
    unseen: Tensor


def keep_inked(
    model: nn.Module,
    tokens: int | None,
    preprocess: Preprocess,
    *,
    eval_tokens: int | None = None,
    paper_token: bool = True,
) -> nn.Module:
    """Let a timm vision transformer keep only so many patches of each sample, the inked ones first.

    Its tensors and their names stay as they were. May be called again with other numbers.

    Args:
        model: Changed in place.
        tokens: Patches kept in training, None for all. At an input size with fewer, all are kept.
        preprocess: What made the model's input, which is looked through for ink.
        eval_tokens: The same for evaluation.
        paper_token: Whether one token stands for the patches that are left out.

    Returns:
        The same model.

    Raises:
        ConfigError: The model has no patches to choose from, or not so many, or drops some by chance.
    """
    if tokens is None and eval_tokens is None and type(model) not in _CHOOSING.values():
        return model
    patches = ink_patches(model, preprocess)
    for key, number in (("tokens", tokens), ("eval_tokens", eval_tokens)):
        if number is not None and not 1 <= number <= patches.num_patches:
            rows, columns = patches.grid_size
            raise ConfigError(
                f"model.{key} is {number}, but an image has {rows} × {columns} = {patches.num_patches} patches here",
                hint=f"take a number from 1 to that, {'auto or all' if key == 'tokens' else 'same or all'}",
            )
    if tokens is not None and isinstance(getattr(model, "patch_drop", None), PatchDropout | PatchDropoutWithIndices):
        raise ConfigError("model.tokens does not fit this model: its patch_drop_rate drops patches by chance already")
    patches.tokens, patches.eval_tokens, patches.paper_token = tokens, eval_tokens, paper_token
    return model


def kept_in_evaluation(model: nn.Module) -> int | None:
    """The patches that `keep_inked` left to a model's evaluation, None for all."""
    patches = getattr(model, "patch_embed", None)
    return patches.eval_tokens if isinstance(patches, InkPatchEmbed) else None


def has_paper_token(model: nn.Module) -> bool:
    """Whether in evaluation one token stands for the patches that are left out."""
    patches = getattr(model, "patch_embed", None)
    return isinstance(patches, InkPatchEmbed) and patches.eval_tokens is not None and patches.paper_token


def ink_patches(model: nn.Module, preprocess: Preprocess) -> InkPatchEmbed:
    """Prepare a model for `keep_inked`, which so far keeps all patches; what it returns can be asked about images.

    Raises:
        ConfigError: The model has no patches to choose from.
    """
    if not _fits(model):
        raise ConfigError(
            f"model.tokens does not fit this model ({type(model).__name__}): it has no grid of patches to choose from",
            hint="those that fit: vit_small, vit_base and most of timm's vit_*, deit_*, deit3_* and eva02_*",
        )
    model.__class__ = _CHOOSING.get(type(model), type(model))
    patches: InkPatchEmbed = model.patch_embed  # type: ignore[assignment]
    patches.__class__ = InkPatchEmbed
    patches.tokens = patches.eval_tokens = None
    patches.paper_token = True
    patches.preprocess = preprocess
    return patches


def auto_tokens(inked: npt.NDArray[np.integer[Any]], patches: int, others: int) -> int | None:
    """The K that keeps all ink of most sketches (`COVERED`), for what a model's grid and a training's sketches are.

    Args:
        inked: Patches with ink of each of a sample of augmented training images.
        patches: Of the whole grid.
        others: Tokens that are no patches: class token, registers, paper token.

    Returns:
        None, for all, if the images are too dense for it to pay.
    """
    wanted = max(1, int(np.quantile(inked, COVERED, method="higher")))
    tokens = -(-(wanted + others) // MULTIPLE) * MULTIPLE - others
    return tokens if tokens <= DENSE * patches else None


# ------------------------------------------------------------------------------------------------------ selection


def select(inked: Tensor, rank: Tensor, tokens: int) -> Tensor:
    """Choose patches: the inked of the highest rank first, then the blank ones that the most ink lies around.

    Args:
        inked: bool [B, H, W], for each patch of the grid.
        rank: float32 [B, H, W] in [0, 1].
        tokens: K, at most H · W.

    Returns:
        int64 [B, K], positions in the row-major grid, all different, in no particular order.
    """
    above = 2 * math.pi * AROUND**2 + 1  # the Gaussian's integral: no blank patch has as much around it
    scores = torch.where(inked, above + rank, _ink_around(inked.float())).flatten(1)
    # Of patches as good, the earlier: else each device and runtime would choose its own.
    scores = scores - EARLIER * torch.arange(scores.shape[1], device=scores.device)
    return scores.topk(tokens, dim=1, sorted=False).indices


def _ink_around(inked: Tensor) -> Tensor:
    """Blur a map of zeros and ones, float32 [B, H, W], with a Gaussian of height 1: two small matrix products."""
    for _ in range(2):
        place = torch.arange(inked.shape[2], device=inked.device)
        weights = torch.exp((place - place.unsqueeze(1)) ** 2 / (-2 * AROUND**2))
        inked = (inked @ weights).mT  # the other direction has its turn next
    return inked


# --------------------------------------------------------------------------------------------------------- models


class InkPatchEmbed(PatchEmbed):  # type: ignore[misc]
    """timm's patch embedding, of the chosen patches only; `keep_inked` makes one of a model's own and sets it up.

    Attributes:
        tokens: Patches kept in training, None for all.
        eval_tokens: The same for evaluation.
        paper_token: Whether one token stands for those that are left out.
        preprocess: What made the input.
    """

    tokens: int | None
    eval_tokens: int | None
    paper_token: bool
    preprocess: Preprocess

    def forward(self, images: Tensor) -> Tensor | Embedded:
        """Embed the chosen patches of float [B, C, H, W]; without a limit it is timm's result, of all patches."""
        tokens = self.limit
        if tokens is None:
            dense: Tensor = super().forward(images)
            return dense
        patches = self.cut(images)
        kept = self.choose(patches, tokens).kept
        sample = torch.arange(images.shape[0], device=images.device).unsqueeze(1)
        rows, columns = patches.shape[1:3]
        chosen = patches[sample, kept // columns, kept % columns].flatten(2)
        embedded = self._embed(chosen)
        paper = None
        if self.represented(images):
            paper = self._embed(self.preprocess.normalise(torch.ones_like(chosen[:1, :1])))[0, 0]
        grid = (rows * columns,) if self.flatten else (rows, columns)  # timm keeps the grid if sizes may change
        return Embedded(embedded, kept, paper, embedded.new_zeros(1, *grid, embedded.shape[2]))

    def _embed(self, patches: Tensor) -> Tensor:
        """What timm makes of patches [B, K, C · height · width]."""
        embedded: Tensor = self.norm(F.linear(patches, self.proj.weight.flatten(1), self.proj.bias))
        return embedded

    @property
    def limit(self) -> int | None:
        """Patches kept in the module's mode, None for all."""
        return self.tokens if self.training else self.eval_tokens

    def represented(self, images: Tensor) -> int:
        """For how many patches of each image [B, C, H, W] the paper token stands, 0 if there is none."""
        if self.limit is None or not self.paper_token:
            return 0
        patches: int = self.cut(images).shape[1:3].numel()
        return max(0, patches - self.limit)

    def cut(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] → a view of their patches [B, rows, columns, C, height, width]."""
        if self.strict_img_size and tuple(images.shape[2:]) != tuple(self.img_size):
            raise ValueError(f"images of {tuple(images.shape[2:])} pixels for a model of {tuple(self.img_size)}")
        height, width = self.patch_size
        rows, columns = images.shape[2] // height, images.shape[3] // width
        whole: Any = images[..., : rows * height, : columns * width]  # a convolution ignores the rest, too
        cut: Tensor = whole.unflatten(3, (columns, width)).unflatten(2, (rows, height)).permute(0, 2, 4, 1, 3, 5)
        return cut

    def choose(self, patches: Tensor, tokens: int) -> Selection:
        """Which patches of those that `cut` made would be seen, in the module's mode."""
        with torch.autocast(patches.device.type, enabled=False):
            inked = self.inked(patches)
            rank = (
                torch.rand(inked.shape, device=inked.device)
                if self.training
                else self.preprocess.ink(patches.mean(4).mean((3, 4)))
            )
            return Selection(select(inked, rank, min(tokens, inked[0].numel())), inked.flatten(1))

    def inked(self, patches: Tensor) -> Tensor:
        """Which patches, of those that `cut` made, hold any ink: bool [B, rows, columns]."""
        darkest = patches.amin(4).amin((3, 4))  # columns first: ten times as fast as all at once
        return self.preprocess.ink(darkest) > LEAST_INK


class _PaperToken:
    """Lets the last token, if there is a paper token, weigh as much as the patches that it stands for.

    timm's `forward_intermediates` knows nothing of it: features between the layers are to be asked for of all patches.
    """

    patch_embed: InkPatchEmbed
    num_prefix_tokens: int

    def forward_features(self, images: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Features [B, T, D] of float [B, C, H, W]; the paper token's are there as often as it stands for a patch.

        Raises:
            ValueError: A mask is given, and there is a paper token.
        """
        represented = self.patch_embed.represented(images)
        if not represented:
            dense: Tensor = super().forward_features(images, attn_mask, is_causal)  # type: ignore[misc]
            return dense
        if attn_mask is not None or is_causal:
            raise ValueError("a model with a paper token takes no attention mask")
        others = images.new_zeros(1, 1, 1, self.num_prefix_tokens + (self.patch_embed.limit or 0))
        weights = F.pad(others, (0, 1), value=math.log(represented))
        features: Tensor = super().forward_features(images, weights)  # type: ignore[misc]
        return torch.cat([features[:, :-1], features[:, -1:].expand(-1, represented, -1)], dim=1)


class _InkTokens(_PaperToken):
    """timm's model calls `_pos_embed` with what its patch embedding gave."""

    def _pos_embed(self, embedded: Tensor | Embedded) -> Tensor:
        if isinstance(embedded, Tensor):
            dense: Tensor = super()._pos_embed(embedded)  # type: ignore[misc]
            return dense
        return _place(embedded, super()._pos_embed(embedded.unseen), self.num_prefix_tokens)  # type: ignore[misc]


class InkVisionTransformer(_InkTokens, VisionTransformer):  # type: ignore[misc]
    """ViT, DeiT and whatever else timm builds from `VisionTransformer`."""


class InkDistilledTransformer(_InkTokens, VisionTransformerDistilled):  # type: ignore[misc]
    """DeiT with a distillation token."""


class InkEva(_PaperToken, Eva):  # type: ignore[misc]
    """EVA, DINOv3 and whatever else timm builds from `Eva`, with rotary position embeddings."""

    def _pos_embed(self, embedded: Tensor | Embedded) -> tuple[Tensor, Tensor | None]:
        if isinstance(embedded, Tensor):
            dense: tuple[Tensor, Tensor | None] = super()._pos_embed(embedded)
            return dense
        placed, rotary = super()._pos_embed(embedded.unseen)
        tokens = _place(embedded, placed, self.num_prefix_tokens)
        if rotary is not None:
            chosen = apply_keep_indices_nlc(tokens, rotary, embedded.kept)
            rotary = chosen if embedded.paper is None else _with_mean_of_others(chosen, rotary)
            # As timm's own: blocks come first where each has its own rotations, else all heads share one.
            rotary = rotary.transpose(0, 1) if self.rope_mixed else rotary.unsqueeze(1)
        return tokens, rotary


def _place(embedded: Embedded, placed: Tensor, prefix: int) -> Tensor:
    """Give chosen patches their positions, put the class token and registers before them, and the paper token behind.

    Args:
        embedded: K patches of each sample.
        placed: [1, prefix + N, D], what timm makes of `embedded.unseen`.
        prefix: Tokens that are no patches.
    """
    grid = placed[0, prefix:]
    patches, positions = embedded.patches, F.embedding(embedded.kept, grid)
    if embedded.paper is not None:
        patches = torch.cat([patches, embedded.paper.expand(patches.shape[0], 1, -1)], dim=1)
        positions = _with_mean_of_others(positions, grid)
    return torch.cat([placed[:, :prefix].expand(patches.shape[0], -1, -1), patches + positions], dim=1)


def _with_mean_of_others(chosen: Tensor, grid: Tensor) -> Tensor:
    """Append to K of the rows of `grid` [..., N, D] the mean of those that `chosen` [B, ..., K, D] has not."""
    others = grid.shape[-2] - chosen.shape[-2]
    mean = (grid.sum(dim=-2, keepdim=True) - chosen.sum(dim=-2, keepdim=True)) / others
    return torch.cat([chosen, mean], dim=-2)


_CHOOSING: dict[type[nn.Module], type[nn.Module]] = {
    VisionTransformer: InkVisionTransformer,
    VisionTransformerDistilled: InkDistilledTransformer,
    Eva: InkEva,
}


def _fits(model: nn.Module) -> bool:
    if type(model) not in (*_CHOOSING, *_CHOOSING.values()):
        return False
    # Others cut images differently: a CNN's maps (hybrids), several sizes (FlexiViT), padded.
    patches: Any = model.patch_embed
    return type(patches) in (PatchEmbed, InkPatchEmbed) and bool(patches.grid_size) and not patches.dynamic_img_pad
