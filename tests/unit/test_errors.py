import inspect

import pytest
from msgspec.json import encode

from tokenstream import errors
from tokenstream.errors import ErrorCode, Internal, InvalidRequest, Rejected, Throttled, TokenstreamError
from tokenstream.frames import ErrorDetail

CONCRETE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, TokenstreamError) and kind not in {TokenstreamError, Rejected}
]


def test_each_code_has_its_own_error() -> None:
    assert sorted(kind.code for kind in CONCRETE) == sorted(ErrorCode)


@pytest.mark.parametrize("kind", CONCRETE)
def test_the_tree_that_is_drawn_is_the_one_that_is_there(kind: type[TokenstreamError]) -> None:
    [line] = [line for line in (errors.__doc__ or "").splitlines() if f"── {kind.__name__} " in line]
    assert kind.code in line
    assert line.startswith("│") is issubclass(kind, Rejected)


def test_the_error_object_leaves_out_a_field_that_is_not_at_fault() -> None:
    assert encode(ErrorDetail.of(Throttled("Busy.", retryable=True))) == (
        b'{"code":"throttled","message":"Busy.","retryable":true}'
    )


def test_the_error_object_names_the_field_at_fault() -> None:
    assert encode(ErrorDetail.of(InvalidRequest("Bad.", field="options.topP"))) == (
        b'{"code":"invalid_request","message":"Bad.","retryable":false,"field":"options.topP"}'
    )


def test_a_fault_of_ours_says_nothing_about_itself_and_may_be_tried_again() -> None:
    error = Internal()
    assert (str(error), error.retryable) == ("Something went wrong on our side.", True)


def test_an_error_prints_as_the_message_for_the_client() -> None:
    assert str(InvalidRequest("The prompt is empty.", field="prompt")) == "The prompt is empty."
