"""What a model is shown of a sketch: its input at its own size, and of a transformer with ink tokens which patches."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from fastsketch.inference.classifier import Member
from fastsketch.models.ink_tokens import InkPatchEmbed
from fastsketch.preprocess import Preprocess, shrink
from fastsketch.serve.schema import Patches, Sight


@torch.inference_mode()
def sight_of(member: Member, image: npt.NDArray[np.uint8]) -> Sight:
    """See the module.

    Args:
        member: The model. Of an exported one nothing is known but what goes into the file.
        image: uint8 [S, S], as the member reads originals.
    """
    preprocess = member.preprocess
    if not isinstance(preprocess, Preprocess):
        return Sight(size=image.shape[0], image=png_url(image))
    pixels = torch.from_numpy(image)[None, None].to(next(member.model.parameters()).device)
    shown = shrink(pixels, preprocess.size)[0, 0].cpu().numpy()
    embedding = getattr(member.model, "patch_embed", None)
    patches = None
    if isinstance(embedding, InkPatchEmbed) and embedding.eval_tokens is not None:
        kept = embedding.choose(embedding.cut(preprocess(pixels)), embedding.eval_tokens).kept
        rows, columns = embedding.grid_size
        patches = Patches(rows=rows, columns=columns, kept=sorted(kept[0].tolist()))
    return Sight(size=preprocess.size, image=png_url(shown), patches=patches)


def png_url(image: npt.NDArray[np.uint8]) -> str:
    """uint8 [H, W] → a PNG as a `data:` URL."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
