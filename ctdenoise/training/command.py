"""``ctdenoise train``: a recipe of MONAI's bundle format, run."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ctdenoise.errors import CTDenoiseError, one_line


def train(
    configs: Sequence[str], *, data: Path, output: Path | None, overrides: Sequence[str]
) -> None:
    """Run the recipes' ``initialize``, ``run`` and ``finalize``.

    Args:
        configs: files or names of embedded recipes (``train_lite``); later ones override.
        data: what the recipe learns from.
        output: folder for checkpoints and the model; by default the recipe's own.
        overrides: ``key=value`` or ``part#key=value``; the value is JSON, or text.

    Raises:
        CTDenoiseError: a recipe, its data or a key does not exist, or the recipe is not valid.
    """
    if not data.exists():
        raise CTDenoiseError(f"--data {data}: no such file or folder")
    if find_spec("tensorboard") is None:
        raise CTDenoiseError("training needs more packages: pip install 'ctdenoise[train]'")
    parser = ConfigParser()
    try:
        parser.read_config([str(find_config(name)) for name in configs])
    except ValueError as error:
        raise CTDenoiseError(f"--config {' '.join(configs)}: {one_line(error)}") from None
    if "trainer" not in parser:
        raise CTDenoiseError(f"--config {' '.join(configs)}: a recipe needs a trainer")
    parser["data"] = str(data)
    if output is not None:
        parser["output_dir"] = str(output)
    for override in overrides:
        key, value = _override(override)
        whole = key.rpartition("#")[0] or key
        if whole not in parser:
            raise CTDenoiseError(f"{override}: the recipe has no {whole}")
        parser[key] = value
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", force=True)
    # The engines announce every epoch themselves; a line with the time left says it better.
    for noisy in (
        "ignite.engine.engine.SupervisedTrainer",
        "ignite.engine.engine.SupervisedEvaluator",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        for section in ("initialize", "run", "finalize"):
            if section in parser:
                parser.get_parsed_content(section)
    except RuntimeError as error:
        raise _origin(error) from None


def find_config(name: str) -> Path:
    """The file of a recipe: a path, or the name of an embedded one.

    Raises:
        CTDenoiseError: there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    folder = _embedded_recipes()
    embedded = folder / f"{name.removesuffix('.json')}.json"
    if Path(name).parent == Path() and embedded.is_file():
        return embedded
    others = ("inference", "metadata", "results")
    known = sorted(path.stem for path in folder.glob("*.json") if path.stem not in others)
    raise CTDenoiseError(f"--config {name}: no such file; embedded recipes are {', '.join(known)}")


def _embedded_recipes() -> Path:
    """The folder of the recipes, in the installed package or in a checkout."""
    package = Path(str(resources.files("ctdenoise")))
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def _override(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise CTDenoiseError(f"{text}: write KEY=VALUE")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _origin(error: BaseException) -> BaseException:
    """What went wrong in a component of the recipe, from below MONAI's own wrapping."""
    while error.__cause__ is not None and not isinstance(error, CTDenoiseError):
        error = error.__cause__
    return error
