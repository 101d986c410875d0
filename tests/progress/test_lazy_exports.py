import pickle

import pytest

from schedules_async import progress


@pytest.mark.parametrize("name", ["RichProgress", "TqdmProgress"])
def test_exported_class_carries_the_public_module(name: str) -> None:
    """In its repr, and in a pickle, which finds the class again."""
    exported = getattr(progress, name)
    assert repr(exported) == f"<class 'schedules_async.progress.{name}'>"
    assert pickle.loads(pickle.dumps(exported)) is exported
