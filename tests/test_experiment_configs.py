"""Configs that a person writes: templates that explain themselves, and errors that name the line."""

from __future__ import annotations

import dataclasses
import importlib
import re
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdjax.factor import FactorConfig, Solver
from crowdjax.labels import InputError
from experiments import config as configs
from experiments.__main__ import main
from experiments.config import STUDIES
from experiments.lines import lines
from experiments.template import documented, template

# Lines

NAMES = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,4}", fullmatch=True),
    st.sampled_from(["", "a b", "a.b", 'q"', "#", "é", "=", "[x]"]),
)
ON_ONE_LINE = [
    "1",
    "-1.5e3",
    "true",
    "inf",
    "1979-05-27 07:32:00Z",
    '"a # b"',
    "'[c]'",
    r'"\"]}"',
    '""',
    '"""x""""',
    "''",
]
ON_MANY = ['"""\n[no]\nkey = 1 # "\n\\""""', "'''\n]\n}'''", "'''\n'''''", '"""\n"\n"""']


class Writer:
    """Writes a TOML text piece by piece and remembers on which line it put what."""

    def __init__(self, draw):
        self.draw, self.text, self.found = draw, "", {}

    def any_of(self, *values):
        return self.draw(st.sampled_from(values))

    def write(self, *choices):
        self.text += self.any_of(*choices)

    def note(self, *path):
        self.found.setdefault(path, self.text.count("\n") + 1)
        return path

    def blank(self):
        self.write("", "", "\n", "  \n# [comment] = {\n", "\t# '''\n")

    def new_name(self, path):
        taken = {p[len(path)] for p in self.found if p[: len(path)] == path and len(p) > len(path)}
        return self.draw(NAMES.filter(lambda name: name not in taken))

    def key(self, path):
        """A new key below a path, now and then a dotted one; its path."""
        for k in range(self.any_of(1, 1, 2)):
            if k:
                self.write(".", " . ", "\t.")
            path = self.note(*path, self.new_name(path))
            self.text += self.quoted(path[-1])
        return path

    def quoted(self, name):
        bare = [name] if name and set(name) <= set(configs.NAME) else []
        return self.any_of(*bare, f"'{name}'", '"' + name.replace('"', '\\"') + '"')

    def value(self, path, depth, one_line=False):
        kind = self.any_of("scalar", "scalar", *(["list", "table"] if depth else []))
        if kind == "scalar":
            self.write(*ON_ONE_LINE, *([] if one_line else ON_MANY))
        elif kind == "list":
            self.text += "["
            for k in range(self.any_of(0, 1, 3)):
                self.text += "," if k else ""
                if not one_line:
                    self.blank()
                self.value(self.note(*path, k), depth - 1, one_line)
                self.write("", " ")
            self.write("]", " ]" if one_line else "\n]")
        else:
            self.text += "{ "
            for k in range(self.any_of(0, 1, 2)):
                self.text += ", " if k else ""
                at = self.key(path)
                self.write("=", " = ")
                self.value(at, depth - 1, one_line=True)
            self.text += " }"

    def assignments(self, path):
        for _ in range(self.any_of(0, 1, 2)):
            self.blank()
            self.write("", "  ")
            at = self.key(path)
            self.write("=", " = ")
            self.value(at, 2)
            self.write("\n", "  # end\n")

    def header(self, path, opening, closing):
        self.text += opening + self.any_of("", " ")
        self.text += self.any_of(".", " . ").join(self.quoted(name) for name in path)
        self.text += self.any_of("", " ") + closing + self.any_of("\n", " # [x]\n")


@st.composite
def documents(draw):
    """(text, the line of every setting)."""
    writer = Writer(draw)
    writer.assignments(())
    for _ in range(draw(st.integers(0, 3))):
        writer.blank()
        outer = writer.note(writer.new_name(()))
        if writer.any_of("table", "array") == "table":
            writer.header(outer, "[", "]")
            writer.assignments(outer)
            inner = (*outer, writer.new_name(outer))
            writer.blank()
            writer.note(*inner)
            writer.header(inner, "[", "]")
            writer.assignments(inner)
        else:
            for k in range(writer.any_of(1, 2)):
                element = writer.note(*outer, k)
                writer.header(outer, "[[", "]]")
                writer.assignments(element)
                inner = writer.new_name(element)
                writer.blank()
                writer.note(*element, inner)
                writer.header((*outer, inner), "[", "]")
                writer.assignments((*element, inner))
    return writer.text, writer.found


def places(value, path=()):
    """The paths of everything in what ``tomllib`` reads."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path, *(p for name, part in parts for p in places(part, (*path, name)))} - {()}


@settings(max_examples=60)
@given(documents())
def test_every_setting_is_on_its_line(document):
    text, found = document
    assert places(tomllib.loads(text)) == set(found)
    assert lines(text) == found


CONFIG = """# a comment
study = "real"
sets = [
    "ducks",
    "dukcs",  # a typing error
]
solver = { restarts = 2, rtol = 0.1 }

[models.'my model']
preset = "factor"
n_factor = 2
"""


GLAD = 'models={x={preset="gald"}}'
AGAIN = 'models={"my model"={n_factor=3}}'
HCB = {"dukcs": "hcb"}
FINE = HCB | {"n_factor ": "n_factors "}


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        ({}, [], "PATH:5: sets[1]: got 'dukcs'; allowed: duchenne, …; did you mean ducks?"),
        (HCB, [], "PATH:11: models.my model: unknown key 'n_factor'; allowed: preset, …; did you mean n_factors?"),
        (
            HCB | {"n_factor ": "bias "},
            [],
            "PATH:11: models.my model.bias: got 2; allowed: a list of 2 numbers or none",
        ),
        (
            HCB | {"n_factor = 2": "bias = [0, -1]"},
            [],
            "PATH:11: models.my model.bias: mean 0.0, standard deviation -1.0; …",
        ),
        ({"restarts = 2": "restarts = 0"}, ["sets=[]"], "PATH:7: solver.restarts: got 0; allowed: 1 or more"),
        ({"study": "sutdy"}, [], "PATH: study: got None; allowed: specialist, …"),
        ({'"real"': '"rael"'}, [], "PATH:2: study: got 'rael'; allowed: …; did you mean real?"),
        ({"]\nsolver": "\nsolver"}, [], "PATH:7: cannot be read as TOML: Invalid value"),
        ({"0.1": "0.1.1"}, [], "PATH:7: cannot be read as TOML: …"),
        (FINE, ["models.x.presett=glad"], "override 'models.x.presett=glad': models.x: unknown key 'presett'; …"),
        (HCB, ["models={}", "x" * 5000 + "=1"], "override 'xxx…...: unknown key 'xxx…...; allowed: …"),
        (HCB, ["models={}", "slover.a=1"], "override 'slover.a=1': unknown key 'slover'; …; did you mean solver?"),
        ({}, ["sets=dukcs"], "override 'sets=dukcs': sets: got 'dukcs'; allowed: a list of duchenne, …"),
        (HCB, [AGAIN], f"override '{AGAIN}': models.my model: unknown key 'n_factor'; …"),
        (HCB, [GLAD], f"override '{GLAD}': models.x.preset: got 'gald'; allowed: …; did you mean glad?"),
        (HCB, ["models={}", "seed.x=1"], "override 'seed.x=1': seed: got {'x': 1}; allowed: a whole number"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_or_its_override(tmp_path, change, overrides, message):
    path, text = tmp_path / "x.toml", CONFIG
    for old, new in change.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)
    with pytest.raises(InputError) as error:
        configs.load(path, overrides)
    pattern = re.escape(message).replace("PATH", re.escape(str(path))).replace("…", ".*")
    assert re.fullmatch(pattern, str(error.value)), str(error.value)


# Templates


@pytest.mark.parametrize("study", STUDIES)
def test_a_template_is_the_study_with_its_defaults(study, tmp_path):
    path = tmp_path / "mine.toml"
    assert main(["init", study, "--out", str(path)]) == 0
    found = configs.load(path)
    assert (found.study, found.config) == (study, importlib.import_module(f"experiments.{study}").Config())
    assert max(map(len, path.read_text().splitlines())) <= 100


@pytest.mark.parametrize("study", STUDIES)
def test_every_key_is_there_with_what_it_means_and_what_is_allowed(study):
    text, config = template(study), importlib.import_module(f"experiments.{study}").Config()
    above = dict(zip(*(range(2, len(text.splitlines()) + 1), text.splitlines()), strict=False))

    def check(config, path):
        assert set(documented(type(config))) == {field.name for field in dataclasses.fields(config)}
        for field in dataclasses.fields(config):
            value, place = getattr(config, field.name), (*path, field.name)
            if dataclasses.is_dataclass(value) and type(value) is not configs.Model:
                check(value, place)
            assert above[found[place]].startswith("#"), place

    found = lines(text)
    check(config, ())


def test_what_a_key_means_is_said_once_for_all_who_ask():
    for kind in (FactorConfig, Solver):
        said = documented(kind)
        assert set(said) == {field.name for field in dataclasses.fields(kind)}
        assert all(text.endswith(".") and "``" not in text for text in said.values())


def test_a_template_goes_to_the_terminal_or_to_a_new_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "fig3"]) == 0
    assert capsys.readouterr().out == template("fig3")
    (tmp_path / "there.toml").write_text("mine")
    for arguments, words in (
        (["fig5"], "study: got 'fig5'; allowed: specialist"),
        (["fig3", "--out", "there.toml"], "there.toml: is there already"),
        (["fig3", "--out", "no/folder.toml"], "no/folder.toml: cannot be written"),
    ):
        assert main(["init", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error
    assert (tmp_path / "there.toml").read_text() == "mine"


def test_every_study_can_be_the_first_that_is_imported(fresh_python):
    """No circle of imports: each is imported where no other has been."""
    code = f"""
import importlib, sys
for study in {STUDIES!r}:
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]
    importlib.import_module("experiments." + study)
"""
    assert fresh_python(code) == ""
