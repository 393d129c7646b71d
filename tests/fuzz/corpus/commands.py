"""Settings, recipes, weights and options that commands once fell over."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fuzz.case import Case
from fuzz.corpus import entry
from fuzz.kinds.recipes import BOMB
from fuzz.kinds.weights import TOUCH
from fuzz.templates import TINY, Templates

TRAIN = ["train", "ds", *TINY, "--out", "out"]


def _refused(command: list[str], folder: Path, templates: Templates) -> Case:
    for name in ("ds", "run"):
        templates.put(name, folder)
    return Case([command], codes=(1, 2))


for title, options in {
    "M16": ["--weights", "/etc/passwd"],
    "M16 folder": ["--weights", "ds"],
    "M16 JSON": ["--weights", "ds/dataset.json"],
    "Low: !!timestamp": ["--set", "training.seed=!!timestamp x"],
    "Low: seed 10**25": ["--seed", str(10**25)],
    "Low: eval_batch_size": ["--set", "data.eval_batch_size=1000000000000"],
    "Low: head_hidden": ["--set", "model.head_hidden=[1000000000000]"],
    "Low: image_sizes": ["--set", "model.name=test_vit", "--set", "training.image_sizes=[8]"],
    "Low: meta": ["--device", "meta"],
    "micro-batch of one": ["--set", "training.micro_batch=1"],
    "Low: --out": ["--out", ""],
}.items():
    entry(title)(partial(_refused, [*TRAIN, *options]))

entry("Low: --sheet x.foo")(partial(_refused, ["inspect", "ds", "--sheet", "x.foo"]))
entry("Low: --split train+train")(partial(_refused, ["evaluate", "run", "--split", "train+train"]))


@entry("Low: --sheet of two splits")
def _two_splits(folder: Path, templates: Templates) -> Case:
    templates.put("ds", folder)
    return Case([["inspect", "ds", "--sheet", "out.png", "--split", "train+val"]], writes=("out.png",))


def _recipe(text: str, folder: Path, templates: Templates) -> Case:
    templates.put("ds", folder)
    (folder / "mine.yaml").write_text(text)
    return Case([[*TRAIN, "--recipe", "mine.yaml"]], codes=(2,))


for title, text in {
    "timestamp": "training:\n  seed: !!timestamp x\n",
    "alias bomb": BOMB,
    "alias bomb in a section": "model:\n" + "".join(f"  {line}\n" for line in BOMB.splitlines()),
    "alias of itself": "model: &a {name: *a}\n",
    "brackets": "model: " + "[" * 5000,
    "code": f"model: !!python/object/apply:os.system ['{TOUCH}']\n",
}.items():
    entry(f"Low: YAML {title}")(partial(_recipe, text))
