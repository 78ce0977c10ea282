"""Libraries that only some distributions need: imported when one is made, or asked for by name."""

import importlib
from types import ModuleType


def require_extra(module: str, extra: str, needed_by: str) -> ModuleType:
    """Import a module of the optional dependencies `extra`; ModuleNotFoundError says how to install them."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{needed_by} needs {module}, which is not installed: pip install 'metarl_exp[{extra}]'", name=error.name
        ) from None
