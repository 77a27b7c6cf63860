"""One command for everything: the models' verbs, mistyped words, completion, exchanged files."""

import doctest
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from entityseg_bench import cli, parser
from entityseg_bench.completion import SHELLS, completion, words_of

ROOT = Path(__file__).parents[2]
GT = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 2, "width": 2}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 0, "area": 2, "iscrowd": 0, "bbox": [1, 0, 1, 2],
         "segmentation": {"size": [2, 2], "counts": "22"}},
    ],
    "categories": [{"id": 0, "name": "entity"}],
}  # fmt: skip
DT = [{"image_id": 1, "score": 0.5, "segmentation": {"size": [2, 2], "counts": "22"}}]


@pytest.mark.parametrize(
    ("argv", "guess"),
    [
        (["evalute"], "did you mean evaluate?"),
        (["evaluate", "a", "b", "--jsno", "c"], "did you mean --json?"),
        (["evaluate", "a", "b", "--task", "entty"], "did you mean entity?"),
        (["--completion", "bsh"], "did you mean bash?"),
    ],
)
def test_a_mistyped_word_is_guessed(argv, guess, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(guess)


@pytest.mark.parametrize("verb", ["predict", "train"])
def test_a_verb_of_the_models_names_the_extra_that_it_needs(verb, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "baselines"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main([verb, "--help"]) == 2
    message = f"entityseg {verb}: this needs torch; run: pip install 'entityseg-bench[baselines]'"
    assert capsys.readouterr().err.strip() == message


@pytest.mark.parametrize("command", ["baselines.predict", "baselines.train"])
def test_a_module_of_the_models_says_in_a_sentence_that_torch_is_missing(command):
    """Without `site` no installed library is found, torch least of all."""
    if not (ROOT / "baselines").is_dir():
        pytest.skip("the packages are not beside the installed tests")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-m", command, "--help"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    hint = "run: pip install 'entityseg-bench[baselines]'"
    assert done.stderr.strip() == f"python -m {command}: this needs torch; {hint}"


@pytest.mark.parametrize(("users", "seen"), [(None, "None"), ("3", "3")])
def test_the_models_multiply_with_all_threads(users, seen):
    """What starts the other verbs sooner would slow PyTorch where it multiplies with OpenBLAS."""
    code = (
        "import os; from entityseg_bench import cli; from entityseg_bench.commands import models; "
        "models.main = lambda *_: print(os.environ.get(cli.BLAS_THREADS)) or 0; "
        "cli.main(['models'])"
    )
    env = {name: value for name, value in os.environ.items() if name != cli.BLAS_THREADS}
    env |= {cli.BLAS_THREADS: users} if users else {}
    said = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == seen


@pytest.fixture
def files(tmp_path):
    for name, content in (("gt", GT), ("dt", DT)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "gt.json", tmp_path / "dt.json"


@pytest.mark.parametrize("verb", ["evaluate", "errors"])
def test_exchanged_files_are_named(verb, files, capsys):
    gt, dt = map(str, files)
    assert cli.main([verb, gt, dt, "--quiet"]) == 0
    capsys.readouterr()
    for pair, what in (
        ((dt, gt), "(predictions), not ground truth"),
        ((gt, gt), "this is ground truth"),
    ):
        assert cli.main([verb, *pair, "--quiet"]) == 2
        message = capsys.readouterr().err
        assert what in message
        assert "Are GT and PRED exchanged? GT comes first" in message


def test_bash_completes_verbs_options_and_values(tmp_path):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    script = tmp_path / "entityseg.bash"
    script.write_text(completion("bash", cli.verbs()), encoding="utf-8", newline="\n")

    def typed(*words):
        line = " ".join(f"'{word}'" for word in words)
        code = f"source '{script.as_posix()}'; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        code += '_entityseg; echo "${COMPREPLY[@]}"'
        done = subprocess.run([bash, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert typed("entityseg", "ev") == ["evaluate"]
    assert typed("entityseg", "evaluate", "--ta") == ["--task"]
    assert typed("entityseg", "evaluate", "--task", "p") == ["panoptic"]
    assert typed("entityseg", "leaderboard", "ver") == ["verify"]
    assert typed("entityseg", "evaluate", "gt.json", "") == []  # files are left to bash


def test_every_shell_gets_every_verb_and_option():
    verbs = cli.verbs()
    scripts = {shell: completion(shell, verbs) for shell in SHELLS}
    for verb in verbs:
        for shell, script in scripts.items():
            assert verb in script, shell
        for option in words_of(verb).options:
            assert f" -l {option.removeprefix('--')}" in scripts["fish"]
    assert "bashcompinit" in scripts["zsh"]


def test_examples():
    assert doctest.testmod(parser).attempted > 0
    assert doctest.testmod(parser).failed == 0
