"""Methods by name: registered by a package's entry point, or named as `module:Class`."""

import importlib
import sys
from collections import Counter
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from meid_bench.errors import MethodError, SettingError, unknown
from meid_bench.methods.code_identity import sources_kept
from meid_bench.methods.layers import MakeAggregator
from meid_bench.methods.method import Method

METHOD_GROUP = "meid_bench.methods"  # of entry points
NETWORK_GROUP = "meid_bench.networks"


def registered() -> dict[str, EntryPoint]:
    """Every registered method's entry point by name, not yet imported.

    Raises:
        SettingError: Two packages claim one name.
    """
    found = entry_points(group=METHOD_GROUP)
    distinct = {(entry.name, entry.value): entry for entry in found}
    claims = Counter(name for name, _ in distinct)
    for name, count in claims.items():
        if count > 1:
            rivals = sorted(value for claimed, value in distinct if claimed == name)
            raise SettingError(
                f"Method name {name!r} is claimed by {' and by '.join(rivals)}; "
                "uninstall one, or name the class as module:Class"
            )
    return {name: entry for (name, _), entry in sorted(distinct.items())}


def find_method(name: str) -> type[Method]:
    """The method class of a registered name or of a `module:Class`.

    A module in the current folder is found too.

    Raises:
        SettingError: There is no such method, module or class.
        MethodError: The class is no Method, or its module fails to import.
    """
    if ":" in name:
        return _load(EntryPoint(name=name, value=name, group=METHOD_GROUP))
    methods = registered()
    if name not in methods:
        raise unknown("method", name, methods)
    return _load(methods[name])


def find_network(name: str) -> Callable[[MakeAggregator], MakeAggregator]:
    """A registered network: it wraps the aggregator, for any loss.

    Raises:
        SettingError: There is none of that name.
    """
    networks = {entry.name: entry for entry in entry_points(group=NETWORK_GROUP)}
    if name not in networks:
        raise unknown("network", name, ["own", *networks])
    with sources_kept(networks[name].module):
        wrap: Callable[[MakeAggregator], MakeAggregator] = networks[name].load()
    return wrap


def _load(entry: EntryPoint) -> type[Method]:
    module, _, attribute = entry.value.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        with sources_kept(module):
            loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(error.name + ".")):
            raise SettingError(
                f"There is no module {module!r} here or among the installed packages"
            ) from error
        raise MethodError(f"Module {module!r} cannot be imported: {error}") from error
    except Exception as error:
        raise MethodError(
            f"Module {module!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    found = getattr(loaded, attribute, None)
    if found is None:
        raise unknown(f"class in {module}", attribute, vars(loaded))
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise MethodError(f"{entry.value} is no subclass of meid_bench.methods.method.Method")
    return found
