"""Build hook: the wheel, editable or not, gets the embedding model built into it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PRIVATE_NAME = "mimir_model_build"


class ModelBuildHook(BuildHookInterface[Any]):
    """Builds the model in the source tree, then lets it into the wheel although git ignores it."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files. Raises BuildError."""
        _load_package()
        importlib.import_module(f"{PRIVATE_NAME}.model").ensure_model()
        build_data["artifacts"].append("/mimir_core/embedding/model/*")


def _load_package() -> None:
    """Import this folder as a package of its own.

    As part of mimir_core it would import the whole core, whose dependencies are not installed
    in the environment that builds it.
    """
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        PRIVATE_NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {folder}")
    sys.modules[PRIVATE_NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PRIVATE_NAME])
