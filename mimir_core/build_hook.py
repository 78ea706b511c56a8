"""Build hook: the wheel, editable or not, gets the embedding model and the kernel built into it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from pybind11.setup_helpers import Pybind11Extension
from setuptools import Distribution

CORE = Path(__file__).parent
KERNEL = "mimir_core/index/_kernel"
PRIVATE_NAME = "mimir_model_build"
QUIET = "mimir_quiet_build"


class CoreBuildHook(BuildHookInterface[Any]):
    """Builds both in the source tree, then lets them into the wheel although git ignores them."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files. Raises BuildError, or the compiler's."""
        load_model_builder()
        importlib.import_module(f"{PRIVATE_NAME}.model").ensure_model()
        compile_kernel()
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        build_data["artifacts"] += ["/mimir_core/embedding/model/*", f"/{KERNEL}{suffix}"]
        build_data["pure_python"], build_data["infer_tag"] = False, True


def load_model_builder() -> None:
    """Import the folder that builds the model as a package of its own.

    As part of mimir_core it would import the whole core, whose dependencies are not installed
    in the environment that builds it. What the core imports first comes first here, too.
    """
    _load(QUIET, CORE / "quiet.py")
    folder = CORE / "embedding" / "build"
    _load(PRIVATE_NAME, folder / "__init__.py", [str(folder)])


def _load(name: str, path: Path, submodules: list[str] | None = None) -> None:
    """Import a file under a name of its own."""
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=submodules
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def compile_kernel() -> None:
    """Compile `index/kernel` into the source tree; does nothing where it is newer than its files.

    No operation is contracted (`a * b + c` rounds twice), so that scores are the same wherever
    the compiler has fused ones.
    """
    sources = CORE / "index" / "kernel"
    extension = Pybind11Extension(
        KERNEL.replace("/", "."),
        sorted(str(path.relative_to(CORE.parent)) for path in sources.glob("*.cpp")),
        depends=[str(path) for path in sources.glob("*.hpp")],
        cxx_std=17,
        extra_compile_args=[] if sys.platform == "win32" else ["-O3", "-ffp-contract=off"],
    )
    with TemporaryDirectory() as folder:
        options = {"build_ext": {"inplace": True, "build_temp": folder}}
        Distribution({"ext_modules": [extension], "options": options}).run_command("build_ext")

