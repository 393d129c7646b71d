"""The model card: what a stranger has to know of an exported model, in the form that Hugging Face reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fastsketch.config import ModelConfig
from fastsketch.inference.description import Description
from fastsketch.training.run.directory import Run

CARD = "README.md"

SHOWN_CLASSES = 20

LIBRARY = "library_name"
"""In the front matter; Hugging Face's."""


def is_model_card(path: Path) -> bool:
    """Whether a README is one of ours, which another export may replace."""
    return path.is_file() and path.read_bytes().startswith(f"---\n{LIBRARY}: fastsketch\n".encode())


def model_card(run: Run, checkpoint: str, files: Sequence[tuple[str, Description]]) -> str:
    """Markdown under YAML front matter.

    Args:
        run: What was exported.
        checkpoint: Of it.
        files: Names and descriptions.
    """
    described, dataset = files[0][1], run.dataset()
    front = {
        LIBRARY: "fastsketch",
        "pipeline_tag": "image-classification",
        "tags": ["sketch", "image-classification", "timm"],
    }
    size = described.reading.size
    names = ", ".join(described.classes[:SHOWN_CLASSES]) + (", …" if len(described.classes) > SHOWN_CLASSES else "")
    counts = ", ".join(f"{record.samples:,} {split}" for split, record in dataset.splits.items())
    lines = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# {described.model}, {len(described.classes)} classes of sketches",
        f"Made by fastsketch {described.fastsketch} from the run `{run.root.name}` (`{checkpoint}`).",
        "## Use",
        f"Input `images`: uint8 `[batch, 1, {size}, {size}]`, gray, paper = 255, ink = 0: the sketch laid on white, "
        f"fitted into the square ({described.reading.resize}), centred. Output `probabilities`: float32 "
        f"`[batch, {len(described.classes)}]`. Normalisation, {_inside(described)}are inside. From files to labels:",
        f'```python\nimport fastsketch\n\nfastsketch.load("{files[0][0]}").predict("sketch.png")\n```',
        _patches(run.recipe().model),
        "## Files",
        _table(["file", "precision", "largest difference", "same top-1", "ms a sketch, against PyTorch"], [
            [name, each.precision, *_parity(each)] for name, each in files
        ]),
        "## Data",
        f"{counts} sketches at {dataset.size} px (checksum `{dataset.checksum()[:16]}`). Classes: {names}",
        "## Scores",
        _scores(run, checkpoint, files),
        "## Training",
        f"```yaml\n{_recipe(run)}```",
        _made_with(run),
    ]  # fmt: skip
    return "\n\n".join(line for line in lines if line) + "\n"


def _inside(described: Description) -> str:
    parts = ["the choice of inked patches"] * bool(described.tokens) + ["the mirror image"] * described.flip
    return "".join(f"{part}, " for part in parts) + f"softmax and temperature ({described.temperature:.3f}) "


def _patches(config: ModelConfig) -> str:
    """What a transformer with ink tokens has learned to see, and what that means elsewhere."""
    if config.tokens == "all":
        return ""
    seen = f"It has learned from {config.tokens} patches of each sketch, those with ink first"
    if not config.paper_token:
        return f"{seen}, and has never seen the others: plain timm, which shows all, shows it what it does not know."
    return f"{seen}, and one token for all others: plain timm, which shows all, shows it much what it knows."


def _parity(described: Description) -> list[str]:
    parity = described.parity
    if parity is None:
        return ["", "", ""]
    ours, torchs = parity.milliseconds["1"]
    return [f"{parity.largest_difference:.1e}", f"{parity.same_top1:.2%}", f"{ours:g}, {torchs:g}"]


def _scores(run: Run, checkpoint: str, files: Sequence[tuple[str, Description]]) -> str:
    rows = []
    config = run.recipe().model
    # A file that sees all patches, of a run that was evaluated on some, has none of that run's scores but these.
    shown = "-tokens-all" if files[0][1].tokens is None and config.tokens != "all" != config.eval_tokens else ""
    for path in sorted(run.evaluation.glob(f"{checkpoint}-*{shown}.json")) if run.evaluation.is_dir() else ():
        found = json.loads(path.read_bytes())
        error = found.get("calibration", {}).get("after")
        rows.append(
            [path.stem, f"{found['top1']:.2%}", f"{found['top5']:.2%}", "" if error is None else f"{error:.2%}"]
        )
    rows += [[f"{name}, val", f"{each.top1:.2%}", "", ""] for name, each in files if each.top1 is not None]
    if not rows:
        return "None were written down: `fastsketch evaluate` does."
    return _table(["", "top-1", "top-5", "expected calibration error"], rows)


def _recipe(run: Run) -> str:
    sections = {"model", "augment", "optimizer", "training"}
    return yaml.safe_dump(run.recipe().model_dump(mode="json", include=sections), sort_keys=False)


def _made_with(run: Run) -> str:
    """Commit and versions of the last session, as far as they are known."""
    try:
        sessions: list[dict[str, Any]] = json.loads(run.record.read_bytes())["sessions"]
        known = sessions[-1]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return ""
    versions = known.get("versions") or {}
    named = ", ".join(f"{name} {versions[name]}" for name in ("torch", "timm", "kornia") if name in versions)
    return f"fastsketch at commit `{known.get('commit')}`; {named}."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
