"""What is written twice for those who package: the recipe, the workflows, the classifiers."""

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / ".github/workflows").glob("*.yml"))
}


def steps(workflow, action):
    """Return the settings that an action is used with, in order."""
    jobs = WORKFLOWS[workflow]["jobs"].values()
    used = [step for job in jobs for step in job["steps"] if "uses" in step]
    return [step.get("with", {}) for step in used if step["uses"].startswith(f"{action}@")]


@pytest.mark.parametrize(
    ("part", "declared"),
    [
        ("host", PROJECT["build-system"]["requires"]),
        ("run", PROJECT["project"]["dependencies"]),
    ],
)
def test_the_conda_recipe_asks_for_what_the_project_does(part, declared):
    recipe = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text(encoding="utf-8"))
    asked = [one.replace(" ", "") for one in recipe["requirements"][part]]
    assert sorted({*asked} - {"python", "pip"}) == sorted(declared)


def test_each_python_that_is_named_is_tested():
    named = [
        line.rpartition(" ")[2]
        for line in PROJECT["project"]["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert WORKFLOWS["tests"]["jobs"]["pythons"]["strategy"]["matrix"]["python"] == named
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"


def test_the_wheels_are_built_of_the_archive_and_all_is_published():
    up, down = (steps("release", f"actions/{verb}-artifact") for verb in ("upload", "download"))
    source, wheels = (one["name"] for one in up)
    built, published = down
    assert built["name"] == source
    pattern = published["pattern"].removesuffix("*")
    assert pattern and source.startswith(pattern) and wheels.startswith(pattern)
    # What two machines upload would else be one name, and the second is refused.
    assert "matrix.os" in wheels
