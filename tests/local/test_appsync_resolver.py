"""Subscription resolvers in Node: what they may use, what becomes of their mistakes."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local.edge import appsync_resolver
from local.edge.appsync_errors import FieldErrors
from local.edge.appsync_resolver import ResolverFailedError, ResolverRunner
from tests.local.appsync_fakes import RESOLVERS, SESSION

IMPORT = "import { util, extensions, runtime } from '@aws-appsync/utils';\n"
RESPOND = "export function response(ctx) { return ctx.result; }\n"


@pytest.fixture
async def runner() -> AsyncIterator[ResolverRunner]:
    runner = ResolverRunner()
    try:
        yield runner
    finally:
        await runner.close()


async def _filter(runner: ResolverRunner, arguments: str) -> Any:
    """Give what `toSubscriptionFilter` makes of its arguments."""
    set_ = f"return {{ payload: util.transform.toSubscriptionFilter({arguments}) }};"
    return (await runner.run(f"{IMPORT}export function request() {{ {set_} }}\n{RESPOND}", {})).value


def _groups(*groups: list[tuple[str, str, Any]]) -> dict[str, Any]:
    return {
        "filterGroup": [
            {"filters": [{"fieldName": name, "operator": operator, "value": value} for name, operator, value in group]}
            for group in groups
        ]
    }


async def test_the_projects_own_resolver_filters_by_session_and_owner_and_nothing_else(runner: ResolverRunner) -> None:
    identity = {"sub": "user-1", "claims": {"token_use": "id"}}
    resolved = await runner.run(
        RESOLVERS["onTokenReceived"], {"args": {"sessionId": SESSION.upper()}, "identity": identity}
    )
    assert (resolved.value, resolved.filter is None) == (None, False)
    assert resolved.filter is not None
    assert resolved.filter.admits({"sessionId": SESSION, "owner": "user-1"})
    for other in ({"owner": "user-2"}, {"sessionId": "x"}, {"owner": None}):
        assert not resolved.filter.admits({"sessionId": SESSION, "owner": "user-1", **other})


async def test_nobody_without_an_identity_subscribes(runner: ResolverRunner) -> None:
    with pytest.raises(FieldErrors) as refused:
        await runner.run(RESOLVERS["onTokenReceived"], {"args": {"sessionId": SESSION}, "identity": None})
    [error] = refused.value.errors
    assert error["errorType"] == "Unauthorized"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("{ a: { eq: 1 } }", _groups([("a", "eq", 1)])),
        ("{ a: { ge: 1, lt: 5 }, b: { in: ['x'] } }", _groups([("a", "ge", 1), ("a", "lt", 5), ("b", "in", ["x"])])),
        (
            "{ a: { eq: 1 }, and: [{ b: { eq: 2 } }, { c: { eq: 3 } }] }",
            _groups([("a", "eq", 1), ("b", "eq", 2), ("c", "eq", 3)]),
        ),
        (
            "{ a: { eq: 1 }, or: [{ b: { eq: 2 } }, { c: { eq: 3 } }] }",
            _groups([("a", "eq", 1), ("b", "eq", 2)], [("a", "eq", 1), ("c", "eq", 3)]),
        ),
        (
            "{ or: [{ a: { eq: 1 }, or: [{ b: { eq: 2 } }, { b: { eq: 3 } }] }, { c: { eq: 4 } }] }",
            _groups([("a", "eq", 1), ("b", "eq", 2)], [("a", "eq", 1), ("b", "eq", 3)], [("c", "eq", 4)]),
        ),
        ("{ a: { eq: 1 }, b: { eq: 2 } }, ['a']", _groups([("b", "eq", 2)])),
        (
            "{ or: [{ a: { eq: 1 } }, { b: { eq: 2 } }] }, [], { c: { eq: 3 } }",
            _groups([("a", "eq", 1), ("c", "eq", 3)], [("b", "eq", 2), ("c", "eq", 3)]),
        ),
        ("{}", _groups()),
        ("null", _groups()),
    ],
)
async def test_a_filter_is_made_of_conditions_with_and_and_or(
    runner: ResolverRunner, arguments: str, expected: dict[str, Any]
) -> None:
    assert await _filter(runner, arguments) == expected


async def test_a_resolver_need_not_set_a_filter_and_may_return_early(runner: ResolverRunner) -> None:
    for request, value in (
        ("return { payload: ctx.args };", {"x": "✓"}),
        ("return {};", None),
        ("runtime.earlyReturn({ early: 1 });", {"early": 1}),
    ):
        resolved = await runner.run(
            f"{IMPORT}export function request(ctx) {{ {request} }}\n{RESPOND}", {"args": {"x": "✓"}}
        )
        assert (resolved.value, resolved.filter) == (value, None)


async def test_what_a_resolver_raises_reaches_the_client(runner: ResolverRunner) -> None:
    raised = "util.error('There is no such session.', 'NotFound', { a: 1 }, { code: 'not_found' });"
    with pytest.raises(FieldErrors) as refused:
        await runner.run(f"{IMPORT}export function request() {{ {raised} }}\n{RESPOND}", {})
    assert refused.value.errors == [
        {
            "errorType": "NotFound",
            "message": "There is no such session.",
            "data": {"a": 1},
            "errorInfo": {"code": "not_found"},
        }
    ]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("this is no JavaScript", "Unexpected identifier"),
        ("export const request = 1;", "exports request and response"),
        ("import fs from 'node:fs';", "can't import node:fs"),
        ("await import('node:fs');", "dynamic import"),
        (f"{IMPORT}export function request() {{ util.time.nowISO8601(); }}", "util.time is not known"),
        (f"{IMPORT}export function request() {{ extensions.invalidateSubscriptions({{}}); }}", "is not known"),
        (f"{IMPORT}export function request() {{ process.exit(0); }}", "process is not defined"),
        (
            f"{IMPORT}export function request() {{ extensions.setSubscriptionFilter({{}}); return {{}}; }}",
            "a filter has",
        ),
        (f"{IMPORT}export function request() {{ throw null; }}", "null"),
    ],
)
async def test_a_resolver_that_does_what_none_can_fails_and_the_next_one_runs(
    runner: ResolverRunner, code: str, message: str
) -> None:
    with pytest.raises(ResolverFailedError, match=message):
        await runner.run(f"{code}\n{RESPOND}", {})
    assert await _filter(runner, "{}") == _groups()


@pytest.mark.parametrize(
    ("limits", "message"), [({"step": 1.0}, "timed out"), ({"answer": 1.0}, "no answer")], ids=["in Node", "from here"]
)
async def test_a_resolver_that_does_not_end_is_ended(limits: dict[str, float], message: str) -> None:
    runner = ResolverRunner(**limits)
    try:
        with pytest.raises(ResolverFailedError, match=message):
            await runner.run(f"export function request() {{ while (true); }}\n{RESPOND}", {})
        runner._step = runner._answer = 60
        assert await _filter(runner, "{}") == _groups()
    finally:
        await runner.close()


async def test_resolvers_run_one_after_the_other_each_with_its_own_answer(runner: ResolverRunner) -> None:
    code = f"export function request(ctx) {{ return {{ payload: ctx.args }}; }}\n{RESPOND}"
    results = await asyncio.gather(*(runner.run(code, {"args": number}) for number in range(20)))
    assert [result.value for result in results] == list(range(20))


async def test_one_that_nobody_waits_for_any_more_gives_its_answer_to_nobody_else(runner: ResolverRunner) -> None:
    code = f"export function request(ctx) {{ return {{ payload: ctx.args }}; }}\n{RESPOND}"
    await runner.run(code, {"args": 0})
    left = asyncio.create_task(runner.run(code, {"args": "left"}))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    assert (await runner.run(code, {"args": "next"})).value == "next"


async def test_without_node_it_says_so(runner: ResolverRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResolverFailedError, match="Node does not start"):
        await runner.run(RESPOND, {})


async def test_node_ends_with_the_stack() -> None:
    """Whatever ends the stack, a kill included, closes Node's standard input."""
    node = shutil.which("node")
    assert node
    question = json.dumps({"code": RESPOND, "context": {}, "timeout": 5000}) + "\n"
    command = [node, *appsync_resolver._COMMAND[1:]]
    ended = await asyncio.to_thread(
        subprocess.run,
        command,
        input=question.encode(),
        capture_output=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert b"failure" in ended.stdout
    assert ended.stderr == b""
