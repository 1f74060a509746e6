"""schemathesis on the OpenAPI schema: addresses and queries of any text get an answer that the schema has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
schemathesis = pytest.importorskip("schemathesis")

from explorer_world import Ask, World, served  # noqa: E402
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

from registry.explorer.pages import PAGES  # noqa: E402
from registry.explorer.snapshot import open_snapshot  # noqa: E402

pytestmark = pytest.mark.xdist_group("explorer")  # one process makes the world for all


@pytest.fixture(scope="module")
def ask(world: World) -> Iterator[Ask]:
    with served(open_snapshot(world.folder)) as found:
        yield found


def known(world: World) -> dict[str, list[str]]:
    """Return values of path parameters and queries that name something, so that answers other than 404 come too."""
    someone = next(iter(world.simulation.participants.values()))[0].account
    return {
        "model": [world.model.rpartition("/")[2]],
        "version": [f"0x{world.head.hex()}"],
        "digest": [f"0x{world.head.hex()}", f"0x{world.data_set.hex()}"],
        "account": [f"0x{someone.hex()}"],
        "number": ["2", "9"],
        "index": ["0"],
        "q": [world.head.hex()[:6], "0x" + world.head.hex()],
    }


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_every_answer_conforms_to_the_schema(world: World, ask: Ask, name: str) -> None:
    schema = schemathesis.openapi.from_dict(ask("/openapi.json").data)
    page = next(page for page in PAGES if page.name == name)
    loose = [positive_data_acceptance] if page.query else []  # a query's words may well name nothing
    operation = schema[f"{page.path}.json"]["GET"]
    values, reached = known(world), set[int]()

    named = {key: values[key] for key in (*re.findall(r"{(\w+)}", page.path), *page.query) if key in values}
    for place in range(2):  # what there is
        real = {key: known[place % len(known)] for key, known in named.items()}
        path, query = ({key: real[key] for key in real if (key in page.query) == asks} for asks in (False, True))
        case = operation.Case(path_parameters=path, query=query)
        reached.add(case.call_and_validate(base_url=ask.base, timeout=20).status_code)

    @seed(14)
    @settings(max_examples=12, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def conforms(case: Any) -> None:
        answer = case.call_and_validate(base_url=ask.base, timeout=20, excluded_checks=loose)
        assert answer.status_code < 500

    conforms()
    assert 200 in reached
