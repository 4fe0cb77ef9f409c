"""The Bicep sources and the templates say the same, as far as it can be told without Azure's compiler.

Both are read; then every resource, parameter, variable and output is compared, value for value. What one of them
computes, the other must compute as well; that it computes the same is for people to see.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from pycep import BicepParser

ACI = Path(__file__).parents[1] / "deploy" / "aci"
NAMES = ["foundation", "service"]
COMPUTED: Final = "(computed)"


def bicep(name: str) -> dict[str, Any]:
    return dict(BicepParser().parse(text=(ACI / f"{name}.bicep").read_text()))


def template(name: str) -> dict[str, Any]:
    return dict(json.loads((ACI / f"{name}.json").read_text()))


def of_bicep(value: Any) -> Any:
    """*value* as the parser gives it, with what is computed told apart from what is written."""
    match value:
        case {"function": {"type": "json", "parameters": {"arg_1": str(number)}}}:
            return float(number)
        case {"function": _} | {"operator": _}:
            return COMPUTED
        case dict():
            return {COMPUTED if "${" in key else key: of_bicep(each) for key, each in value.items()}
        case list():
            return [of_bicep(each) for each in value]
        case str():
            return COMPUTED if "${" in value else value
        case _:
            return value


def of_template(value: Any) -> Any:
    """*value* in the same terms: a parameter or variable is its name, which is all that the parser of Bicep tells."""
    match value:
        case dict():
            return {of_template(key): of_template(each) for key, each in value.items()}
        case list():
            return [of_template(each) for each in value]
        case str():
            if value.startswith("[["):
                return value[1:]
            if named := re.fullmatch(r"\[(?:parameters|variables)\('(\w+)'\)\]", value):
                return named[1]
            if number := re.fullmatch(r"\[json\('([\d.]+)'\)\]", value):
                return float(number[1])
            return COMPUTED if value.startswith("[") else value
        case _:
            return value


def differences(ours: Any, theirs: Any, where: str) -> list[str]:
    """Where the two differ; a name that the template computes first may be computed in place by Bicep."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = [f"{where}: only one of them has {key}" for key in sorted(ours.keys() ^ theirs.keys())]
        for key in ours.keys() & theirs.keys():
            found += differences(ours[key], theirs[key], f"{where}.{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            return [f"{where}: {len(ours)} and {len(theirs)} entries"]
        return [
            each
            for index, (one, other) in enumerate(zip(ours, theirs, strict=True))
            for each in differences(one, other, f"{where}[{index}]")
        ]
    if ours == theirs or (ours == COMPUTED and str(theirs).endswith("Name")):
        return []
    return [f"{where}: {ours!r} and {theirs!r}"]


def resource_of_bicep(resource: dict[str, Any]) -> dict[str, Any]:
    config = resource["config"]
    conditional = "condition" in config
    content = of_bicep(config["config"] if conditional else config)
    if "parent" in content:  # in a template, part of the name
        content["name"] = COMPUTED
        del content["parent"]
    if "scope" in content:
        content["scope"] = COMPUTED
    return {"type": resource["type"], "apiVersion": resource["api_version"], "conditional": conditional, **content}


def resource_of_template(resource: dict[str, Any]) -> dict[str, Any]:
    content = {key: of_template(each) for key, each in resource.items() if key not in {"condition", "dependsOn"}}
    return {"conditional": "condition" in resource, **content}


@pytest.mark.parametrize("name", NAMES)
def test_both_make_the_same_resources(name: str):
    ours = [resource_of_bicep(each) for each in bicep(name)["resources"].values() if not each["existing"]]
    theirs = [resource_of_template(each) for each in template(name)["resources"]]

    assert differences(ours, theirs, name) == []


@pytest.mark.parametrize("name", NAMES)
def test_both_call_what_is_part_of_another_resource_the_same(name: str):
    parts = [
        content["name"]
        for each in bicep(name)["resources"].values()
        for content in [each["config"].get("config", each["config"])]
        if "parent" in content
    ]
    named = [each["name"] for each in template(name)["resources"] if each["type"].count("/") > 1]

    assert len(parts) == len(named)
    for part, whole in zip(parts, named, strict=True):
        assert whole.endswith(f"/{part}')]")


@pytest.mark.parametrize("name", NAMES)
def test_both_take_the_same_parameters(name: str):
    ours = {}
    for key, each in bicep(name)["parameters"].items():
        marks = {mark["type"]: mark.get("argument") for mark in each["decorators"]}
        secure = "secure" in marks
        ours[key] = {
            "type": "securestring" if secure else each["type"],
            "description": marks["description"],
            **{camel(mark): number for mark, number in marks.items() if mark.startswith(("min_", "max_"))},
            **({} if each["default"] is None else {"defaultValue": of_bicep(each["default"])}),
        }
    theirs = {
        key: {"description": each["metadata"]["description"]}
        | {word: of_template(value) for word, value in each.items() if word != "metadata"}
        for key, each in template(name)["parameters"].items()
    }

    assert differences(ours, theirs, name) == []


def camel(snake: str) -> str:
    first, *others = snake.split("_")
    return first + "".join(each.title() for each in others)


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_of_both_is_the_same(name: str):
    theirs = template(name)["variables"]
    ours = {key: of_bicep(each["value"]) for key, each in bicep(name)["variables"].items()}

    assert ours.keys() <= theirs.keys()
    assert differences(ours, {key: of_template(theirs[key]) for key in ours}, name) == []


@pytest.mark.parametrize("name", NAMES)
def test_both_tell_the_same(name: str):
    ours = {
        key: (each["type"], each["decorators"][0]["argument"], of_bicep(each["value"]) == COMPUTED)
        for key, each in bicep(name)["outputs"].items()
    }
    theirs = {
        key: (each["type"], each["metadata"]["description"], str(each["value"]).startswith("["))
        for key, each in template(name)["outputs"].items()
    }

    assert ours == theirs


def test_what_looks_the_same_and_is_not_is_found():
    ours, theirs = {"a": [1, {"b": "c"}]}, {"a": [1, {"b": "d"}], "e": 1}

    assert differences(ours, theirs, "here") == ["here: only one of them has e", "here.a[1].b: 'c' and 'd'"]
