"""Schemathesis makes requests from the OpenAPI document, fitting ones and others; none may make the server fail."""

import contextlib
import unittest
from collections import Counter

import pytest

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("examples", [5, pytest.param(300, marks=pytest.mark.slow)], ids=["some", "many"])
def test_no_request_makes_the_server_fail(examples, here, photo):
    app = here(rate_per_minute=10**6, queue=50)
    target = app.first.post("/v1/targets", files={"photos": ("a", photo.read_bytes())}).json()["id"]
    job = app.first.post("/v1/jobs", data={"target": target, "motion": "blink"}).json()["id"]
    schema = schemathesis.openapi.from_dict(app.nobody.get("/openapi.json").json())
    schema.app = app.app
    asked = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            ask(app, operation, mode, target if "targets" in operation.path else job, examples, asked)
    assert set(asked) == {operation.ok().label for operation in schema.get_all_operations()}
    assert asked["POST /v1/jobs"] >= examples


def ask(app, operation, mode, known_id, examples, asked):
    """Ask in many ways for one operation, about half of them for an id that exists."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def one(case, known):
        asked[operation.label] += 1
        if known and "identity" in (case.path_parameters or {}):
            case.path_parameters["identity"] = known_id
        case.headers = {**(case.headers or {}), "Authorization": app.first.headers["Authorization"]}
        case.validate_response(case.call(base_url="http://127.0.0.1", app=app.app), checks=CHECKS)

    # Operations without parameters have no negative cases.
    with contextlib.suppress(Unsatisfiable, unittest.SkipTest):
        one()
