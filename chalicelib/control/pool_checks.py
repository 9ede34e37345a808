"""Asks EC2 about what a changed pool names, for a few seconds at most. The sentences are core's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chalicelib.cloud.ports import Facts
from chalicelib.core import offering_faults, pool_checks
from chalicelib.core.pool import PoolSpec
from chalicelib.core.pool_checks import Answers, Question, Template
from chalicelib.errors import CloudUnavailable, Fault, RegionRefused
from chalicelib.wiring import Plane

PATIENCE_S = 8.0  # the API must answer within 29 s, and a request may take 5 s; after this nothing further is asked


class Checks:
    """For one change: each question is asked once, though many pools of the stage may raise it."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._until = plane.clock() + PATIENCE_S
        self._known: dict[Question, tuple[Answers, str | None]] = {}

    def look(self, after: PoolSpec, before: PoolSpec | None) -> tuple[list[Fault], list[Fault]]:
        """(what is wrong, what could not be found out or does nothing) with what the change names."""
        wrong: list[Fault] = []
        unsure = list(offering_faults.warnings(after))
        for question in pool_checks.questions(after, before):
            answers, silence = self._ask(question)
            wrong += pool_checks.faults(question, answers, after, self._plane.settings.stage)
            for offering, fault in pool_checks.limits(question, answers, after):
                (unsure if before is not None and offering in before.offerings else wrong).append(fault)
            if silence is not None:
                unsure.append(
                    Fault(f"offerings[{question.offerings[0][0]}].region", f"was not checked with EC2: {silence}")
                )
        return wrong, unsure

    def _ask(self, question: Question) -> tuple[Answers, str | None]:
        if question not in self._known:
            self._known[question] = self._asked(question)
        return self._known[question]

    def _asked(self, question: Question) -> tuple[Answers, str | None]:
        """The answers as far as they came, and why no more did."""
        if self._plane.clock() >= self._until:
            return Answers(), f"other regions did not answer within {PATIENCE_S:g} s"
        answers = [Answers()]
        try:
            for known in _answers(self._plane.cloud.facts, question, self._plane.clock()):
                answers.append(known)
                if self._plane.clock() >= self._until and not _is_all(question, known):
                    return known, f"EC2 did not answer all within {PATIENCE_S:g} s"
        except RegionRefused as refusal:
            return Answers(refused=str(refusal)), None
        except CloudUnavailable as error:
            return answers[-1], str(error)
        return answers[-1], None


def _is_all(question: Question, said: Answers) -> bool:
    return said.zones is not None and (not question.limited or bool(said.spot))


def _answers(facts: Facts, question: Question, now: float) -> Iterator[Answers]:
    """What is known after each request; what decides most first."""
    region = question.region
    template = facts.template(region, question.template)
    answers = Answers(template_found=template is not None, template=template or Template())
    yield answers
    if template is None:
        return
    if question.template is not None:
        answers = replace(answers, template_ours=facts.template_is_ours(region, question.template))
        yield answers
    if template.subnet:
        answers = replace(answers, subnet_zone=facts.subnet_zone(region, template.subnet) or "")
        yield answers
    image = question.image or template.image
    if image and not image.startswith("resolve:"):  # a parameter's name in an image's place says nothing yet
        answers = replace(answers, image_arch=facts.image_arch(region, image) or "")
        yield answers
    answers = replace(answers, zones=facts.zones(region, question.types))
    yield answers
    if question.limited:
        yield replace(answers, spot=facts.spot_prices(region, question.limited, now))
