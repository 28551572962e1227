"""What is described in /openapi.json holds: schemathesis asks all that it allows, and more, and no answer is a 500."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette", reason="the extra 'studio' is not installed")

from hypothesis import HealthCheck, Phase, given, settings

from betabloom.studio.app import create_app
from betabloom.studio.atelier import Atelier
from betabloom.studio.jobs import Jobs
from betabloom.studio.routes import ROUTES

HOST = "127.0.0.1:8190"
EXAMPLES = 40


@pytest.fixture(scope="module")
def schema(model_folder, tmp_path_factory):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: make test-slow")
    patch = pytest.MonkeyPatch()
    patch.setattr(Jobs, "_begin", lambda self, run, words: run.with_name(f"{run.name}.log").write_text(""))
    atelier = Atelier(model_folder)
    app = create_app(atelier, tmp_path_factory.mktemp("asked"), [HOST])
    found = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": HOST})
    yield found
    atelier.close()
    patch.undo()


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_answer_is_an_error_of_the_program(schema, route):
    operation = schema[route.path][route.method.lower()]
    asked = settings(
        max_examples=EXAMPLES, deadline=None, phases=[Phase.explicit, Phase.generate], database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    @given(case=operation.as_strategy())
    @asked
    def ask(case):
        answer = case.call(base_url=f"http://{HOST}", headers={"host": HOST}, timeout=60)
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        described = set(operation.definition.raw["responses"])
        assert str(answer.status_code) in described, (answer.status_code, answer.text)

    ask()
