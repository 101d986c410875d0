import pytest

from schedules_async import OperationRef
from schedules_async.cli.arguments import read_ref


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
