"""The import map: layers, cycles, and what it finds in a package of ours."""

from ashchat_dev.import_map import ImportMap, cycles, layers, report

CHAIN = {
    "top": frozenset({"middle", "bottom"}),
    "middle": frozenset({"bottom"}),
    "bottom": frozenset[str](),
}


def test_a_unit_lies_one_layer_above_the_highest_that_it_imports() -> None:
    assert layers(CHAIN) == [["bottom"], ["middle"], ["top"]]
    assert cycles(CHAIN) == []


def test_units_that_import_one_another_are_a_cycle_in_one_layer() -> None:
    circle = {**CHAIN, "bottom": frozenset({"middle"})}
    assert layers(circle) == [["bottom", "middle"], ["top"]]
    assert cycles(circle) == [["bottom", "middle"]]


def test_the_packages_of_the_operator_have_no_cycle() -> None:
    found = ImportMap.of("ashchat_operator")
    assert cycles(found.units) == []
    assert cycles(found.modules) == []
    assert "backends" in found.units["reconcile"]
    assert found.unit_imports() < found.module_imports()
    assert next(iter(report("ashchat_operator", found))).startswith("ashchat_operator: ")
