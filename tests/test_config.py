from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fastsketch.config import AugmentConfig, ConvertConfig, OptimizerConfig, Recipe, validated
from fastsketch.config.reference import key_reference, section_names
from fastsketch.errors import ConfigError
from fastsketch.recipes import COMMON, load_recipe, recipe_names, recipe_text


def recipe_file(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# ---------------------------------------------------------------------------------------------- shipped recipes


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.description
    assert "\n" not in recipe.description


@pytest.mark.parametrize("odd", ["\0", "\x07", "\x1b", "\x7f"])
def test_a_recipe_that_a_terminal_would_obey_is_not_printed(tmp_path: Path, odd: str) -> None:
    with pytest.raises(ConfigError, match="is not YAML: it holds the character") as caught:
        recipe_text(recipe_file(tmp_path, f"# a comment {odd}\nmodel:\n  name: vit_small\n"))
    assert odd not in caught.value.message


def test_there_are_recipes() -> None:
    assert {"demo", "quick", "report-1-affine"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_a_saved_recipe_is_the_same_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["optimizer.lr=3e-4", "data.path=some where/données", "augment.scale=[0.5, 2]"])
    recipe.save(tmp_path / "config.yaml")
    assert load_recipe(str(tmp_path / "config.yaml")) == recipe


def test_no_recipe_is_all_defaults() -> None:
    assert load_recipe() == Recipe()


# ----------------------------------------------------------------------------------------------------- layering


def test_overrides_come_over_settings_over_the_recipe_over_defaults(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, "training: {epochs: 2, seed: 2}\nmodel: {name: resnet10t}\n")
    recipe = load_recipe(path, ["training.epochs=4", "training.epochs=5"], training__epochs=3, training__seed=3)
    assert recipe.training.epochs == 5
    assert recipe.training.seed == 3
    assert recipe.model.name == "resnet10t"
    assert recipe.data == Recipe().data


def test_settings_that_are_none_are_not_given() -> None:
    assert load_recipe(None, [], model__name=None, training__epochs=7).training.epochs == 7


@pytest.mark.parametrize(
    "settings",
    [{"lr": 1e-3}, {"optimizer__lr": 1e-3}, {"optimizer.lr": 1e-3}, {"optimizer": {"lr": 1e-3}}],
    ids=["common", "underscores", "dotted", "section"],
)
def test_a_setting_in_python_has_several_spellings(settings: dict[str, object]) -> None:
    recipe = load_recipe("quick", **settings)
    assert recipe.optimizer.lr == 1e-3
    assert recipe.data == load_recipe("quick").data


@pytest.mark.parametrize(("size", "sizes"), [(64, (64,)), ([48, 64], (48, 64))])
def test_one_image_size_is_that_of_the_whole_training(size: object, sizes: tuple[int, ...]) -> None:
    assert load_recipe(image_size=size).training.image_sizes == sizes


def test_common_settings_are_keys() -> None:
    assert set(COMMON.values()) <= {key.name for key in key_reference()}


def test_a_path_and_a_recipe_are_recipes(tmp_path: Path) -> None:
    path = Path(recipe_file(tmp_path, "model: {name: resnet10t}\n"))
    recipe = load_recipe(path)
    assert recipe.model.name == "resnet10t"
    assert load_recipe(recipe, seed=3).model == recipe.model
    assert load_recipe(recipe, seed=3).training.seed == 3


@pytest.mark.parametrize(
    ("override", "stage", "field", "value"),
    [
        ("optimizer.lr=3e-4", "optimizer", "lr", 3e-4),  # a string in YAML 1.1
        ("optimizer.lr=3.0e-4", "optimizer", "lr", 3e-4),
        ("optimizer.lr=1", "optimizer", "lr", 1.0),
        ("data.batch_size='64'", "data", "batch_size", 64),
        ("model.name=resnet50", "model", "name", "resnet50"),
        ("model.name=a=b", "model", "name", "a=b"),
        ("model.weights=my weights.pth", "model", "weights", Path("my weights.pth")),
        ("model.pretrained=true", "model", "pretrained", True),
        ("data.path=null", "data", "path", None),
        ("data.path=", "data", "path", None),
        (" augment.scale = [0.8, 1.2] ", "augment", "scale", (0.8, 1.2)),
    ],
)
def test_values_are_yaml_and_coerced(override: str, stage: str, field: str, value: object) -> None:
    found = getattr(getattr(load_recipe(overrides=[override]), stage), field)
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)


def test_3e_4_is_a_number_in_a_file_too(tmp_path: Path) -> None:
    assert load_recipe(recipe_file(tmp_path, "optimizer:\n  lr: 3e-4\n")).optimizer.lr == 3e-4


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("optimizer.lrr=1", "optimizer.lr"),
        ("optimiser.lr=1", "optimizer"),
        ("trainin.epochs=1", "training"),
        ("training.epoch=1", "training.epochs"),
        ("data.batchsize=1", "data.batch_size"),
        ("augment.rotate=1", "augment.rotation"),
        ("model.drop_out=0", "model.dropout"),
        ("lr=1", "optimizer.lr"),
        ("training.lr=1", "optimizer.lr"),
        ("learning_rate=1", "optimizer.lr"),
        ("img_size=64", "training.image_sizes"),
        ("batch=64", "data.batch_size"),
        ("epoch=3", "training.epochs"),
    ],
)
def test_an_unknown_key_names_the_nearest(override: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"unknown key \(did you mean {nearest}\?\)"):
        load_recipe(overrides=[override])


@pytest.mark.parametrize("name", ["workers", "num_workers"])
def test_workers_that_training_does_without_are_explained(name: str) -> None:
    with pytest.raises(ConfigError, match="training has no workers") as caught:
        load_recipe("quick", **{name: 4})
    assert caught.value.hint == f"leave out {name}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvertConfig(image_size=96), r"ConvertConfig:\n  image_size: unknown key \(did you mean size\?\)$"),
        (lambda: OptimizerConfig(learning_rate=1), r"OptimizerConfig:\n  learning_rate: .* \(did you mean lr\?\)$"),
        (lambda: AugmentConfig(flip=2), r"AugmentConfig:\n  flip: should be less than or equal to 1 \(got 2\)$"),
        (lambda: Recipe(optimizer={"lrr": 1}), r"Recipe:\n  optimizer\.lrr: .* \(did you mean optimizer\.lr\?\)$"),
    ],
)
def test_a_section_made_by_name_is_told_alike(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^1 problem in the {message}"):
        make()


def test_an_unknown_key_near_to_nothing() -> None:
    with pytest.raises(ConfigError, match=r"zzzzzz: unknown key$"):
        load_recipe(overrides=["zzzzzz=1"])


def test_all_errors_are_in_one_message(tmp_path: Path) -> None:
    path = recipe_file(
        tmp_path,
        "training: {epochs: -1, label_smoothing: 2}\noptimizer: {lr: fast, momentun: 0.9}\naugment: {scale: [2, 1]}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, ["model.dropout=.nan"])
    headline, *lines = caught.value.message.splitlines()
    assert headline == f"6 problems in the recipe {path}:"
    said = "\n".join(sorted(lines))
    for expected in (
        "augment.scale: the smallest comes first",
        "model.dropout: ",
        "optimizer.lr: should be a valid number",
        "optimizer.momentun: unknown key (did you mean optimizer.momentum?)",
        "training.epochs: should be greater than or equal to 0 (got -1)",
        "training.label_smoothing: should be less than 1 (got 2)",
    ):
        assert expected in said
    assert len(lines) == 6


def test_one_error_is_one_problem() -> None:
    with pytest.raises(ConfigError, match=r"^1 problem in the configuration:\n  training.epochs: "):
        load_recipe(overrides=["training.epochs=-1"])


@pytest.mark.parametrize("override", ["epochs", "=3", " =3", ""])
def test_what_is_no_override(override: str) -> None:
    with pytest.raises(ConfigError, match="is not an override") as caught:
        load_recipe(overrides=[override])
    assert "key=value" in str(caught.value.hint)


@pytest.mark.parametrize("value", ["[1, 2", "{a: b", "'", "2024-99-99", "!!python/name:os.system x", "[" * 5_000])
def test_an_override_whose_value_is_no_yaml(value: str) -> None:
    with pytest.raises(ConfigError, match="the value is not YAML"):
        load_recipe(overrides=[f"model.name={value}"])


@pytest.mark.parametrize(
    "override", ["data=3", "data=[1]", "data..path=x", "model.name.x=1", "optimizer.lr=.inf", "optimizer.lr=-1",
                 "augment.flip=1.5", "augment.scale=[1]", "data.batch_size=1.5", "model.name=[a]"],
)  # fmt: skip
def test_values_out_of_range_or_of_the_wrong_kind(override: str) -> None:
    with pytest.raises(ConfigError, match=r"^1 problem in the configuration"):
        load_recipe(overrides=[override])


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no recipe or file 'quik'; did you mean 'quick'") as caught:
        load_recipe("quik")
    assert "fastsketch recipes" in str(caught.value.hint)
    with pytest.raises(ConfigError) as caught:
        load_recipe("zzzzzz")
    assert caught.value.message == "no recipe or file 'zzzzzz'"


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "3", "[]", "false", "0", "''"])
def test_a_file_that_is_not_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_recipe(recipe_file(tmp_path, text))


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    assert load_recipe(recipe_file(tmp_path, text)) == Recipe()


@pytest.mark.parametrize("content", [b"a: [1, 2", b"a: 2024-99-99", b"\x89PNG\r\n\x1a\n\x00\x00", b"a: caf\xe9"])
def test_a_file_that_is_not_yaml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine\.yaml is not YAML"):
        load_recipe(str(path))


def test_keys_that_are_no_strings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 problems"):
        load_recipe(recipe_file(tmp_path, "1: 2\nmodel: {3: 4}\n"))


def test_a_recipe_executes_nothing(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, f"description: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_recipe(path)
    assert not (tmp_path / "made").exists()


def test_a_configuration_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_recipe().training.epochs = 3  # type: ignore[misc]


def test_options_of_convert_are_validated_alike() -> None:
    with pytest.raises(ConfigError) as caught:
        validated(ConvertConfig, {"size": 4, "resize": "cubic", "workers": -1}, "options")
    assert caught.value.message.startswith("3 problems in the options:")
    assert caught.value.exit_code == 2


def test_the_saved_file_is_plain_yaml(tmp_path: Path) -> None:
    load_recipe("quick").save(tmp_path / "config.yaml")
    values = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert list(values) == list(Recipe.model_fields)
    assert values["optimizer"]["lr"] == 2e-3


# -------------------------------------------------------------------------------- hostile YAML (findings, "Low")

HOSTILE = {
    "a tag": "!!timestamp x",
    "every tag": "!!binary aGk=",
    "a tag of Python's": "!!python/object/apply:os.getcwd []",
    "a local tag": "!mine 3",
    "an anchor": "&a 3",
    "an alias": "*a",
    "a date": "2024-01-01",
    "no date": "2024-99-99",
    "not a number": "!!int x",
    "nested": "[" * 1000 + "]" * 1000,
    "nested mappings": "{a: " * 200 + "1" + "}" * 200,
    "unhashable": "{[1]: 2}",
    "a list of digits": "9" * 5000,
    "long": "x" * 70_000,
}


def one_short_line(error: ConfigError) -> None:
    assert len(error.message) < 400
    assert "\n" not in error.message.removeprefix("1 problem in the configuration:\n")
    assert error.message.isprintable() or error.message.startswith("1 problem")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_yaml_that_no_setting_needs_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    """Low: `!!timestamp x` was an AttributeError."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(overrides=[f"description={text}"])
    one_short_line(caught.value)
    with pytest.raises(ConfigError, match=r"mine\.yaml is no") as caught:
        load_recipe(recipe_file(tmp_path, f"description: {text}\n"))
    one_short_line(caught.value)


def test_an_alias_bomb_is_not_unfolded(tmp_path: Path) -> None:
    """Low: its message had 226 MB."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="anchors and aliases are not for settings in line 1") as caught:
        load_recipe(recipe_file(tmp_path, "\n".join(lines)))
    one_short_line(caught.value)


@pytest.mark.parametrize(
    "value",
    [".inf", "-.inf", ".nan", "10" * 2000, "0x" + "f" * 5000, "'" + "x" * 60_000 + "'", "[[[[[1]]]]]", '"\\ud800"',
     '"\\e[31m\\n"', "{a: {b: {c: 1}}}"],
)  # fmt: skip
def test_what_was_got_is_told_in_80_letters(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(overrides=[f"training.epochs={value}"])
    one_short_line(caught.value)


@pytest.mark.parametrize(
    "override", ["a" * 60_000 + "=1", ".".join("a" * 9000) + "=1", "x" * 60_000, 'data.path="a\\0b"']
)
def test_hostile_keys_are_told_in_one_line(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(overrides=[override])
    one_short_line(caught.value)


def test_a_thousand_problems_are_not_all_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1,000 problems") as caught:
        load_recipe(recipe_file(tmp_path, "\n".join(f"key{n}: 1" for n in range(1000))))
    assert caught.value.message.splitlines()[-1] == "  and 990 more"
    assert len(caught.value.message.splitlines()) == 12


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="is no recipe: it has more than 65,536 bytes"):
        load_recipe(str(path))


# ------------------------------------------------------------------------------------------ bounds (findings, "Low")


@pytest.mark.parametrize(
    "override",
    ["training.seed=10000000000000000000000000", "training.seed=9223372036854775808", "training.seed=-1",
     "training.epochs=1000001", "training.micro_batch=65537", "training.patience=1000001",
     "training.freeze_epochs=1000001", "training.image_sizes=[7]", "training.image_sizes=[4097]",
     "data.batch_size=1000000000000", "data.eval_batch_size=1000000000000", "model.head_hidden=[1000000000000]",
     "model.head_hidden=[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "model.tokens=1000000000000", "model.eval_tokens=262145",
     "schedule.warmup_epochs=1e300", "training.ema=1", "training.label_smoothing=1", "augment.perspective=1",
     "augment.scale=[0,1]", "augment.shear=90", "augment.thickness_range=[1,32]", "optimizer.layer_decay=0"],
)  # fmt: skip
def test_numbers_that_cannot_be_meant_are_refused(override: str) -> None:
    """Low: `--seed 10**25`, `eval_batch_size=10**12`, `head_hidden=[10**12]`."""
    with pytest.raises(ConfigError, match=r"^1 problem in the configuration:\n") as caught:
        load_recipe(overrides=[override])
    assert override.partition("=")[0] in caught.value.message


@pytest.mark.parametrize("override", ["training.seed=9223372036854775807", "data.eval_batch_size=65536"])
def test_large_numbers_that_can_be_meant_are_taken(override: str) -> None:
    load_recipe(overrides=[override])


@pytest.mark.parametrize("values", [{"seed": 2**63}, {"workers": 1025}, {"classes": 10**12}, {"split": "1" * 300}])
def test_options_of_convert_have_bounds(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="1 problem in the options"):
        validated(ConvertConfig, values, "options")


# ---------------------------------------------------------------------------------------------------- ink tokens


@pytest.mark.parametrize("value", ["auto", "all", "96", "1"])
def test_tokens_are_a_word_or_a_number(value: str) -> None:
    assert str(load_recipe(None, [f"model.tokens={value}"]).model.tokens) == value


@pytest.mark.parametrize("value", ["0", "-3", "half", "0.5", "true", "[1]", "same"])
def test_other_tokens_are_refused_in_one_line(value: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.tokens: must be all, auto or a number of patches from 1") as caught:
        load_recipe(None, [f"model.tokens={value}"])
    assert caught.value.message.startswith("1 problem")


def test_patches_in_evaluation_are_not_chosen_automatically() -> None:
    with pytest.raises(ConfigError, match="must be same, all or a number"):
        load_recipe(None, ["model.eval_tokens=auto"])


# ----------------------------------------------------------------------------------------------- the keys' reference


def all_keys(values: dict[str, object], prefix: str = "") -> list[str]:
    """What a saved recipe says, from the recipe itself rather than from its types."""
    keys: list[str] = []
    for key, value in values.items():
        keys += all_keys(value, f"{key}.") if isinstance(value, dict) else [prefix + key]
    return keys


def test_every_key_of_a_recipe_is_documented() -> None:
    reference = key_reference()
    assert [key.name for key in reference] == all_keys(Recipe().model_dump())
    assert [key.name for key in reference if len(key.meaning) < 10] == []
    assert [key.name for key in reference if "\n" in key.meaning or ": " in key.type] == []


def test_the_defaults_of_the_reference_make_the_default_recipe() -> None:
    assert load_recipe(None, [f"{key.name}={key.default}" for key in key_reference()]) == Recipe()


@pytest.mark.parametrize(
    ("name", "type", "default", "meaning"),
    [
        ("optimizer.lr", "number > 0", "0.005", "Peak learning rate."),
        ("schedule.name", "cosine | exponential | constant", "cosine", "`cosine` falls from `optimizer.lr` to"),
        ("augment.scale", "[number ≥ 0.01 and ≤ 100, number ≥ 0.01 and ≤ 100]", "[0.9, 1.1]", "Smallest and largest"),
        ("training.patience", "integer ≥ 1 and ≤ 1,000,000 | null", "null", "Stop when .* null is off."),
        ("training.channels_last", "auto | true | false", "auto", "Convolutions' memory order"),
        ("training.loggers", "[tensorboard | wandb, ...]", "[]", "Where the metrics go"),
        ("data.path", "path | null", "null", "The converted data set."),
    ],
)
def test_a_key_is_told_with_type_default_and_meaning(name: str, type: str, default: str, meaning: str) -> None:
    key = next(key for key in key_reference() if key.name == name)
    assert (key.type, key.default) == (type, default)
    assert re.match(meaning, key.meaning)


def test_a_section_of_the_reference() -> None:
    assert [key.name for key in key_reference("evaluation")] == ["evaluation.flip"]
    assert section_names()[0] == "data"
    with pytest.raises(ConfigError, match=r"no section 'trainig' \(did you mean training\?\)"):
        key_reference("trainig")
