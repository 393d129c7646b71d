"""An option that a command does not have: what was most likely meant."""

from __future__ import annotations

from typing import Any

from fastsketch.errors import ConfigError, one_line


def is_unknown_option(error: BaseException) -> bool:
    """Whether typer refuses an option; of which click its exception is, depends on its version."""
    return type(error).__name__ == "NoSuchOption" and hasattr(error, "option_name")


def unknown_option(error: Any) -> ConfigError:
    """The error to tell, with the nearest option, or key for `--set`."""
    from fastsketch.recipes import NO_WORKERS

    written, command = error.option_name, error.ctx.command
    options = [option.removeprefix("--") for each in command.params for option in each.opts if option.startswith("--")]
    message = f"{command.name} has no option {one_line(written, 80)}"
    if "set" in options and _key(written) in ("workers", "num_workers"):
        return ConfigError(message, hint=NO_WORKERS)
    near = _nearest(_key(written), [_key(option) for option in options])
    return ConfigError(f"{message} (did you mean {near}?)" if near else message, hint=_more(command.name, options))


def _nearest(name: str, options: list[str]) -> str | None:
    from fastsketch.config.reference import key_reference
    from fastsketch.config.report import nearest
    from fastsketch.recipes import COMMON

    covered = {COMMON[option] for option in options if option in COMMON}
    keys = [key.name for key in key_reference() if key.name not in covered] if "set" in options else []
    near = nearest(name, [*options, *keys])
    if near is None:
        return None
    return f"--set {near}=..." if "." in near else f"--{near.replace('_', '-')}"


def _more(command: str, options: list[str]) -> str:
    keys = "; `fastsketch recipes --keys` lists all that --set takes" if "set" in options else ""
    return f"`fastsketch {command} --help` lists its options{keys}"


def _key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")
