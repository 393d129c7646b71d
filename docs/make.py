"""Make what can be made of the documentation: the page of recipes and keys, and the pictures of the others.

python docs/make.py        # or: make docs
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from fastsketch.config import Recipe
from fastsketch.config.reference import Key, key_reference, section_names
from fastsketch.demo.dataset import draw_dataset
from fastsketch.recipes import load_recipe, recipe_names

DOCS = Path(__file__).resolve().parent
KEYS = DOCS / "recipes-and-keys.md"
PICTURES = DOCS / "pictures"

HEAD = """\
# Recipes and keys

<!-- Made by `make docs` from the recipes and from the docstrings in fastsketch/config: do not edit it here. -->

## Recipes

`fastsketch recipes NAME` prints one, with the commands that it was measured with. Any YAML file of the same form will
do as well.

| recipe | |
|---|---|
"""

BEFORE_KEYS = """
## Keys

`fastsketch recipes --keys` prints this list, `fastsketch recipes --keys optimizer` a section of it. A key is set with
`--set section.key=value`, from Python as `section__key=value`, or in a recipe:

```yaml
optimizer:
  name: adamw
  lr: 3e-4
```

[What to change for what](training.md#i-want-to-change-) is the shorter list.
"""


def reference_page() -> str:
    """The whole of `recipes-and-keys.md`."""
    recipes = "".join(f"| `{name}` | {_cell(load_recipe(name).description)} |\n" for name in recipe_names())
    return HEAD + recipes + BEFORE_KEYS + "".join(map(_section, section_names()))


def _section(name: str) -> str:
    summary = (Recipe.model_fields[name].annotation.__doc__ or "").splitlines()[0]
    rows = "".join(_row(key) for key in key_reference(name))
    return f"\n### {name}\n\n{summary}\n\n| key | takes | default | |\n|---|---|---|---|\n{rows}"


def _row(key: Key) -> str:
    return f"| `{key.name}` | {_cell(key.type)} | `{key.default}` | {_cell(key.meaning)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def preview_commands() -> list[list[str]]:
    """The previews that the pages show, by the commands that stand above them."""
    lines = [line for page in sorted(DOCS.glob("*.md")) for line in page.read_text(encoding="utf-8").splitlines()]
    return [
        shlex.split(line, comments=True)
        for line in lines
        if line.startswith("fastsketch preview ") and " --out " in line
    ]


def draw_pictures() -> None:
    """Draw sketches, convert them, and run the pages' own commands on them."""
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        sketches = Path(folder, "sketches")
        draw_dataset(sketches, counts={"train": 2, "val": 1}, workers=1)
        for command in (["fastsketch", "convert", str(sketches), "data/sketches"], *preview_commands()):
            subprocess.run([sys.executable, "-m", *command], cwd=folder, check=True)
        for picture in Path(folder).glob("*.png"):
            with Image.open(picture) as drawn:  # gray lines and a few colours: a palette is a third of the bytes
                drawn.convert("RGB").quantize(256).save(PICTURES / picture.name, optimize=True)


if __name__ == "__main__":
    KEYS.write_text(reference_page(), encoding="utf-8")
    draw_pictures()
