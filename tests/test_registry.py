"""The registry: complete, without clashes, generated; entries made wrongly are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from labelwright import _generate, _index
from labelwright._planned import PLANNED
from labelwright.errors import InputError
from labelwright.recipes.steps import VERB_ARGUMENTS, arguments_of
from labelwright.registry import RESERVED, VERBS, Auditor, Flaw, Have, Want, find, methods, register

SHEETS = frozenset(
    """active-gcd bcp biomedparse capro ce-ssl class-separability comic concept-unlearning cv-dd data-selection-survey data-taggants ddfa dfn
    distill-weighted dp4tl elr erase fedlabel graphium hello imbalanced-semi-self infer kd-pruning labeling-instructions lad laf laso
    llm-decontaminator llm-label-errors llp-bp locle lp-icp marvelovd meal-v2 mgd nested-coteaching noisy-local-clustering nrr-dd
    nutrition-label ofds pca prot2text protsolm pu-mlc queaco rad rudolfv semipfl shrinkmatch simclrv2 sla smooth-expert-mtt ssp tape
    toxic-commons ukbob ultra-fineweb uss""".split()  # noqa: SIM905
)


def test_the_index_is_what_the_classes_say():
    text = Path(_index.__file__).read_text(encoding="utf-8")
    assert _generate.render() == text, "run: python -m labelwright._generate"


def test_available_and_planned_are_disjoint_and_cover_the_58_sheets():
    assert len(SHEETS) == 58
    available = {(e.verb, e.name) for e in _index.METHODS}
    planned = {(e.verb, e.name) for e in PLANNED}
    assert len(available) == len(_index.METHODS)
    assert not available & planned
    assert {e.sheet for e in methods()} - {None} == SHEETS


@pytest.mark.parametrize("entry", methods(), ids=lambda e: f"{e.verb}-{e.name}")
def test_an_entry_speaks_the_vocabulary(entry):
    assert entry.verb in VERBS
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert entry.name not in RESERVED
    assert set(entry.has) <= set(Have)
    assert entry.has
    assert set(entry.flaw) <= set(Flaw)
    assert set(entry.gives) <= set(Want)
    assert entry.gives
    assert entry.paper


@pytest.mark.parametrize("entry", _index.METHODS, ids=lambda e: f"{e.verb}-{e.name}")
def test_no_field_hides_an_argument_of_the_command_line(entry):
    taken = {a.name for a in arguments_of(entry.verb, entry.name)} | {"out", "json", "quiet"}
    assert not taken & {o.name for o in entry.options}


def test_every_verb_has_arguments():
    assert set(VERB_ARGUMENTS) == set(VERBS)
    assert all("seed" in {a.name for a in arguments} for arguments in VERB_ARGUMENTS.values())


def test_available_methods_come_first():
    states = [e.state for e in methods()]
    assert states == sorted(states)  # "available" < "planned"


def test_filters_hold_together():
    rows = methods(have="class-labels", flaw="noise", want="classifier")
    assert {"elr", "nested-coteaching"} <= {e.name for e in rows}
    assert all("class-labels" in e.has and "noise" in e.flaw and "classifier" in e.gives for e in rows)
    with pytest.raises(InputError, match="'learn'"):
        methods(verb="lern")


def test_find_gives_the_class_or_the_nearest_name():
    assert find("learn", "elr").__name__ == "ELR"
    with pytest.raises(InputError, match="'elr'"):
        find("learn", "ellr")
    with pytest.raises(InputError, match="planned"):
        find("learn", "graphium")


def test_wrong_registrations_are_refused():
    @dataclass(frozen=True, kw_only=True)
    class Good(Auditor):
        def audit(self, data, *, signals=None, seed): ...

    facts = {"sheet": None, "has": Have.NONE, "gives": Want.FINDINGS, "paper": ""}
    with pytest.raises(InputError, match="kebab-case"):
        register("Not Kebab", **facts)(Good)
    with pytest.raises(InputError, match="kebab-case"):
        register("correct", **facts)(Good)
    with pytest.raises(InputError, match="already"):
        register("label-errors", **facts)(Good)

    class Plain(Auditor):
        def audit(self, data, *, signals=None, seed): ...

    with pytest.raises(InputError, match="frozen dataclass"):
        register("plain", **facts)(Plain)
