"""Print how the packages of one of our distributions import one another.

    python -m ashchat_dev.import_map ashchat_operator

A *unit* is a direct child of the distribution's top-level package: a subpackage or a module.
Units are sorted into layers: a unit lies one layer above the highest unit that it imports, and
units that import one another share a layer.
"""

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import grimp

Imports = Mapping[str, frozenset[str]]
"""Unit → the other units that it imports."""


@dataclass(frozen=True, slots=True)
class ImportMap:
    """The imports within one top-level package."""

    modules: Imports
    """Between modules; packages count as their `__init__` module."""
    units: Imports
    """Between units."""

    @classmethod
    def of(cls, package: str) -> "ImportMap":
        """Return the import map of an installed top-level package.

        Args:
            package: For example `ashchat_operator`.
        """
        graph = grimp.build_graph(package, cache_dir=None)
        modules = {
            module: frozenset(graph.find_modules_directly_imported_by(module))
            for module in graph.modules
        }
        units: dict[str, set[str]] = {}
        for module, imported in modules.items():
            own = _unit(module)
            units.setdefault(own, set()).update(map(_unit, imported))
        names = {unit for unit in units if unit}
        return cls(
            modules,
            {unit: frozenset((units[unit] & names) - {unit}) for unit in sorted(names)},
        )

    def module_imports(self) -> int:
        """Return how many imports there are between modules."""
        return sum(map(len, self.modules.values()))

    def unit_imports(self) -> int:
        """Return how many pairs of units there are of which one imports the other."""
        return sum(map(len, self.units.values()))


def _unit(module: str) -> str:
    """Return the unit of a module; empty: the top-level package itself."""
    return ".".join(module.split(".")[1:2])


def layers(imports: Imports) -> list[list[str]]:
    """Return names in layers, the lowest first; names that import one another share a layer."""
    components = _components(imports)
    depth: dict[frozenset[str], int] = {}
    of = {name: component for component in components for name in component}
    for component in components:  # each comes after all that it imports
        below = {of[name] for member in component for name in imports[member] if name in of}
        depth[component] = max((depth[other] + 1 for other in below - {component}), default=0)
    result: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for component, level in depth.items():
        result[level].extend(component)
    return [sorted(names) for names in result]


def cycles(imports: Imports) -> list[list[str]]:
    """Return the groups of names that import one another, directly or through others."""
    return [sorted(component) for component in _components(imports) if len(component) > 1]


def _components(imports: Imports) -> list[frozenset[str]]:
    """Return the strongly connected components, each after those that it imports.

    Tarjan's algorithm (https://doi.org/10.1137/0201010).
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[frozenset[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(imports[name]):
            if other not in imports:
                continue
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            start = stack.index(name)
            found.append(frozenset(stack[start:]))
            del stack[start:]

    for name in sorted(imports):
        if name not in index:
            visit(name)
    return found


def report(package: str, found: ImportMap) -> Iterable[str]:
    """Yield the lines of a report."""
    levels = layers(found.units)
    yield f"{package}: {len(found.modules)} modules, {found.module_imports()} imports between them"
    yield (
        f"{len(found.units)} units in {len(levels)} layers, "
        f"{found.unit_imports()} imports between units, {len(cycles(found.units))} cycles"
    )
    for level in reversed(range(len(levels))):
        yield ""
        yield f"layer {level}"
        for unit in levels[level]:
            size = sum(_unit(module) == unit for module in found.modules)
            counted = f" ({size} modules)" if size > 1 else ""
            imported = ", ".join(sorted(found.units[unit])) or "nothing"
            yield f"  {unit}{counted} imports {imported}"


def main() -> None:
    """Print the report of each package named."""
    parser = argparse.ArgumentParser(
        prog="python -m ashchat_dev.import_map", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("package", nargs="+", help="a top-level package, such as ashchat_operator")
    for package in parser.parse_args().package:
        print("\n".join(report(package, ImportMap.of(package))))


if __name__ == "__main__":
    main()
