from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from deepcadence.schedules import nonuniform
from deepcadence.search import SearchSpace
from deepcadence.search.predicting import _hopeful
from deepcadence.search.predictor import Predictor
from deepcadence.search.proposals import Proposals
from deepcadence.search.regular import regular
from tests.search.test_predictor import MACS, effects

T = 20
SPACE = SearchSpace.default(T, T, (0, 2))
SHAPES = regular(SPACE, SPACE.cuts)


def test_regular_schedules_are_there_once_and_say_what_they_are() -> None:
    assert len({shape.key for shape in SHAPES}) == len(SHAPES)
    uniform = [shape for shape in SHAPES if shape.origin == "uniform"]
    assert {(shape.interval, shape.cut) for shape in uniform} == {(n, cut) for n in range(2, T + 1) for cut in (0, 2)}
    for shape in SHAPES:
        if shape.origin == "nonuniform":
            assert shape.center is not None
            assert shape.power is not None
            assert shape.calls == nonuniform(T, shape.interval or 0, shape.cut or 0, shape.center, shape.power).calls
    assert {shape.center for shape in SHAPES} >= {0, T - 1}


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("target", [1.5, 2.0, 4.4])
def test_what_is_proposed_for_a_target_keeps_to_it_and_is_different(alpha: float, target: float) -> None:
    predictor = Predictor(effects(4, T), MACS, alpha=alpha, caution=0.03)
    proposals = Proposals(predictor, T, 1 if alpha else 0, SHAPES)
    found = proposals.within(target)
    coded = predictor.encode([candidate.calls or () for candidate in found])
    assert (predictor.price(coded) * target <= 1).all()
    near = [candidate.calls or () for candidate in found if candidate.origin == "predicted"]
    assert 1 <= len(near) <= max(3, round(2 * target))
    for one, other in combinations(near, 2):
        assert np.mean([a != b for a, b in zip(one, other, strict=True)]) >= 0.1
    plain = [candidate for candidate in found if candidate.origin != "predicted"]
    assert [candidate.origin for candidate in plain] == ["uniform", "nonuniform"]
    values = predictor.psnr(predictor.encode([shape.calls or () for shape in SHAPES]))
    fits = [predictor.price(predictor.encode([shape.calls or ()]))[0] * target <= 1 for shape in SHAPES]
    for candidate in plain:
        rivals = [v for v, s, fit in zip(values, SHAPES, fits, strict=True) if fit and s.origin == candidate.origin]
        assert predictor.psnr(predictor.encode([candidate.calls or ()]))[0] == pytest.approx(max(rivals))
    assert max(predictor.psnr(coded)) == pytest.approx(predictor.psnr(predictor.encode(near)).max())


def test_a_target_out_of_reach_gets_no_proposal() -> None:
    proposals = Proposals(Predictor(effects(4, T), MACS), T, 0, SHAPES)
    assert proposals.within(50.0) == []


def test_what_is_far_behind_is_not_tried() -> None:
    proposals = Proposals(Predictor(effects(4, T), MACS, alpha=1.0), T, 1, SHAPES)
    found = proposals.within(2.0)
    predicted = {candidate.key: 40.0 - 5.0 * number for number, candidate in enumerate(found)}
    assert _hopeful(found, predicted) == found[:2]
    assert _hopeful([], {}) == []
