"""The dependencies of pyproject.toml, constraints.txt and docs/dependencies.md agree."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
# all extras that a user can install
REQUIREMENTS = [Requirement(text) for text in PROJECT["dependencies"]] + [
    Requirement(text) for extra, texts in OPTIONAL.items() if extra != "dev" for text in texts
]
DEVELOPMENT = [Requirement(text) for text in OPTIONAL["dev"] if not text.startswith("vgdfr")]


def floor(requirement: Requirement) -> Version:
    (lowest,) = (Version(each.version) for each in requirement.specifier if each.operator == ">=")
    return lowest


def test_constraints_pin_every_dependency_to_an_allowed_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().split()
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(pins) == len(lines), "one version for each package"
    for requirement in REQUIREMENTS + DEVELOPMENT:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_documented_floors_are_those_of_the_project() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    documented = [(canonicalize_name(name), Version(version)) for name, version in rows]
    assert sorted(documented) == sorted((canonicalize_name(each.name), floor(each)) for each in REQUIREMENTS)
