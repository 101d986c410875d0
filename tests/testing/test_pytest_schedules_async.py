"""The plugin in test runs of its own, with each plugin that runs async tests and without any."""

from types import ModuleType
from typing import Any

import pytest

pytest_plugins = ["pytester"]

STRICT = ("-p", "no:anyio", "-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function")
AUTO = ("-p", "no:anyio", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
ANYIO = ("-p", "no:asyncio")
BOTH = ("-o", "asyncio_default_fixture_loop_scope=function")
NEITHER = ("-p", "no:asyncio", "-p", "no:anyio")

USERS_TESTS = """
import pytest
import pytest_asyncio

{mark}

@pytest.fixture
def anyio_backend():
    return "asyncio"

{fixture}
async def ref(fake_schedules, schedules_session):
    ref = fake_schedules.start_operation(duration=60)
    assert not (await schedules_session.get_operation(*ref)).is_done
    return ref

async def test_minute_passes_at_once(fake_schedules, schedules_session, ref):
    operation = await schedules_session.wait_for_operation(*ref)
    assert operation.is_succeeded
    assert fake_schedules.clock.monotonic() >= 60

async def test_fixtures_are_new(fake_schedules, schedules_session):
    assert fake_schedules.requests == []
    assert fake_schedules.clock.monotonic() == 0.0
"""


def run(pytester: pytest.Pytester, *options: str, plugins: tuple[object, ...] = ()) -> pytest.RunResult:
    common = ("-W", "error", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    return pytester.runpytest_inprocess(*common, *options, plugins=plugins)


def asyncio_plugin(fixture: Any) -> ModuleType:
    """Return a plugin that takes the name, and so the place, of pytest-asyncio."""
    plugin = ModuleType("asyncio")
    plugin.__dict__["fixture"] = fixture
    return plugin


@pytest.mark.parametrize(
    ("mark", "fixture", "options"),
    [
        ("pytestmark = pytest.mark.asyncio", "@pytest_asyncio.fixture", STRICT),
        ("", "@pytest.fixture", AUTO),
        ("pytestmark = pytest.mark.anyio", "@pytest.fixture", ANYIO),
        ("pytestmark = pytest.mark.anyio", "@pytest.fixture", BOTH),
        ("pytestmark = pytest.mark.asyncio", "@pytest_asyncio.fixture", BOTH),
    ],
    ids=["pytest-asyncio strict", "pytest-asyncio auto", "anyio", "anyio beside the other", "pytest-asyncio beside it"],
)
def test_fixtures_work_with_each_async_plugin(
    pytester: pytest.Pytester, mark: str, fixture: str, options: tuple[str, ...]
) -> None:
    pytester.makepyfile(USERS_TESTS.format(mark=mark, fixture=fixture))
    run(pytester, *options).assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", ["module", "package", "session"])
def test_fixtures_use_shared_loop_of_tests(pytester: pytest.Pytester, scope: str) -> None:
    """The loop scope is that of the test's marker, or the configured default."""
    fixture = f"@pytest_asyncio.fixture(loop_scope='{scope}')"
    pytester.makepyfile(
        test_marked=USERS_TESTS.format(mark=f"pytestmark = pytest.mark.asyncio(loop_scope='{scope}')", fixture=fixture),
        test_configured=USERS_TESTS.format(mark="pytestmark = pytest.mark.asyncio", fixture=fixture),
    )
    run(pytester, *STRICT, "test_marked.py").assert_outcomes(passed=2)
    run(pytester, *STRICT, "-o", f"asyncio_default_test_loop_scope={scope}").assert_outcomes(passed=4)


def test_fixtures_use_loop_of_class(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest

        @pytest.mark.asyncio(loop_scope="class")
        class TestOnOneLoop:
            async def test_it(self, fake_schedules, schedules_session):
                ref = fake_schedules.start_operation()
                assert (await schedules_session.wait_for_operation(*ref)).is_succeeded
        """)
    run(pytester, *STRICT).assert_outcomes(passed=1)


def test_plain_test_gets_error_naming_what_is_missing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(schedules_session): pass")
    result = run(pytester, *NEITHER)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs a test on pytest-asyncio 0.24 or later, or marked anyio*"])


def test_trio_test_gets_error_naming_asyncio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USERS_TESTS.format(mark="pytestmark = pytest.mark.anyio", fixture="@pytest.fixture"))
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend_name():\n    return 'trio'")
    result = run(pytester, *ANYIO)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*runs on asyncio only*"])


def test_run_without_fixtures_is_unaffected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    run(pytester, *NEITHER).assert_outcomes(passed=1)


def test_plugin_can_be_disabled(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(fake_schedules): pass")
    result = run(pytester, *NEITHER, "-p", "no:schedules_async")
    result.stdout.fnmatch_lines(["*fixture 'fake_schedules' not found*"])


def test_run_without_fixtures_does_not_import_package(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_it():
            assert "pytest_schedules_async" in sys.modules
            assert not {"schedules_async", "aiohttp", "attrs"} & set(sys.modules)
        """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_pytest_asyncio_without_loop_scopes_gets_error(pytester: pytest.Pytester) -> None:
    """As 0.23 and earlier: other tests run, and a test that uses the fixtures names the version that it needs."""
    pytester.makepyfile("def test_other(): pass\ndef test_it(fake_schedules): pass")
    result = run(pytester, "-p", "no:anyio", plugins=(asyncio_plugin(lambda function, **_: function),))
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*needs a test on pytest-asyncio 0.24 or later, or marked anyio*"])


def test_pytest_asyncio_without_default_scope_uses_function_loop(pytester: pytest.Pytester) -> None:
    """As 0.24 and 0.25, which have no option for the default scope of tests."""

    def fixture(_: object, loop_scope: str, name: str) -> object:
        return pytest.fixture(lambda: (loop_scope, None), name=name)

    pytester.makepyfile("def test_it(fake_schedules): assert fake_schedules == 'function'")
    run(pytester, "-p", "no:anyio", plugins=(asyncio_plugin(fixture),)).assert_outcomes(passed=1)
