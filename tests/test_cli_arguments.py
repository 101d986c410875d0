import click
import pytest

from schedules_async import DEV, OperationRef
from schedules_async.cli.arguments import read_ref, take_base_url, take_ref


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("s/o", OperationRef("s", "o")),
        ("https://elsewhere.example/prefix/schedules/s%2F1/operations/o?x=1", OperationRef("s/1", "o")),
    ],
)
def test_an_operation_is_named_by_its_ids_or_its_url(text: str, ref: OperationRef) -> None:
    assert read_ref(text) == ref


@pytest.mark.parametrize("text", ["", "s", "s/", "/o", "s/o/x", "s/..", "https://host/schedules/s", "s/\udc80"])
def test_anything_else_names_no_operation(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        read_ref(text)


@pytest.mark.parametrize(
    ("url", "base_url", "is_taken"),
    [
        ("https://dev-api.bentley.com/schedules/s/operations/o", None, True),
        ("https://api.bentley.com/schedules/s/operations/o", None, False),
        ("https://api.bentley.com/schedules/s/operations/o", "https://qa-api.bentley.com", True),
        ("s/o", None, True),
    ],
)
def test_the_url_of_another_service_needs_a_word_on_which_to_ask(
    url: str, base_url: str | None, *, is_taken: bool
) -> None:
    """The ids alone are taken from it, so a token never goes where nobody said it should."""
    command = click.Command("get")
    context, parameter = click.Context(command), click.Argument(["ref"])
    take_ref(context, parameter, url)
    if is_taken:
        assert take_base_url(context, parameter, base_url) == (base_url or DEV.api_url)
    else:
        with pytest.raises(click.UsageError, match=r"REF is a URL of api\.bentley\.com"):
            take_base_url(context, parameter, base_url)
