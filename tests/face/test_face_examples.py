"""The examples in docstrings are true."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["crop", "mean_face", "similarity"])
def test_examples(name):
    failed, tried = doctest.testmod(import_module(f"reenactor.face.geometry.{name}"))
    assert tried > 0
    assert failed == 0
