"""Import ccxt without the hundred exchanges that nobody here asks for.

`import ccxt.pro` executes every exchange three times over: six seconds and 60 MB, at every start of the bot, while positions
wait. The classes themselves are ccxt's own, unmodified: only the three package files that list them all are not executed;
their names are found one by one when they are asked for.

Does nothing when something has imported ccxt already, as a test may have. Import ccxt from here: `ccxt` below is it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any

PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")


def import_lightly() -> None:
    """Make `import ccxt`, `ccxt.async_support` and `ccxt.pro` cheap in this process."""
    if "ccxt" in sys.modules:
        return
    root = importlib.util.find_spec("ccxt")
    if root is None or not root.submodule_search_locations:
        raise ModuleNotFoundError("ccxt is not installed; run `./run test` once, it installs what is locked")
    folder = root.submodule_search_locations[0]
    for name in PACKAGES:
        package = _Package(name)
        package.__path__ = [folder + "/" + "/".join(name.split(".")[1:])]
        package.__spec__ = importlib.util.spec_from_loader(name, loader=None, is_package=True)
        package.__getattr__ = _finder(name)  # type: ignore[method-assign]
        sys.modules[name] = package
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, package)
    for source in ("ccxt.base.errors", "ccxt.base.decimal_to_precision"):
        module = importlib.import_module(source)
        for attribute in module.__all__:
            for name in PACKAGES:
                setattr(sys.modules[name], attribute, getattr(module, attribute))


class _Package(types.ModuleType):
    """A package in which the name of an exchange is its class, as ccxt's own packages have it, not its module."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep the class of a module that is named like it; the import system hands over the module."""
        found = getattr(value, name, None) if isinstance(value, types.ModuleType) else None
        super().__setattr__(name, found if isinstance(found, type) else value)


def _finder(package: str) -> Any:
    """Return the `__getattr__` of a package: an exchange's class is found in the module of its name."""

    def find(name: str) -> Any:
        """Return an exchange class, or a submodule."""
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "Exchange":
            return importlib.import_module(f"{package}.base.exchange").Exchange
        try:
            module = importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(f"{package} has no {name}") from None
        return getattr(module, name, module)

    return find


import_lightly()
import ccxt.pro  # noqa: E402  after the line above, on purpose

__all__ = ["ccxt"]
