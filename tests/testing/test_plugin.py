"""The fixtures, in runs of pytest of their own: each way of running async tests, and none."""

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

async def test_a_minute_passes_at_once(fake_schedules, schedules_session, ref):
    operation = await schedules_session.wait_for_operation(*ref)
    assert operation.is_succeeded
    assert fake_schedules.clock.monotonic() >= 60

async def test_everything_is_new(fake_schedules, schedules_session):
    assert fake_schedules.requests == []
    assert fake_schedules.clock.monotonic() == 0.0
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-W", "error", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *options)


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
    """The server runs where the test runs, by its marker or by the configured default."""
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
    result.stdout.fnmatch_lines(["*needs a test on pytest-asyncio, or one marked anyio*"])


def test_trio_test_gets_error_naming_asyncio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USERS_TESTS.format(mark="pytestmark = pytest.mark.anyio", fixture="@pytest.fixture"))
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend_name():\n    return 'trio'")
    result = run(pytester, *ANYIO)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*runs on asyncio alone*"])


def test_run_without_fixtures_is_unaffected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    run(pytester, *NEITHER).assert_outcomes(passed=1)


def test_plugin_can_be_disabled(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(fake_schedules): pass")
    result = run(pytester, *NEITHER, "-p", "no:schedules_async")
    result.stdout.fnmatch_lines(["*fixture 'fake_schedules' not found*"])
