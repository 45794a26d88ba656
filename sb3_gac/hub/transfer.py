"""Requests to the Hub: tried again when that may help, and explained when it does not."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

# Seconds to wait before each new attempt
WAITS = (1.0, 2.0, 4.0, 8.0)
# Time-outs, too many requests, and what goes wrong in the server
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class HubError(RuntimeError):
    """A request to the Hub failed for good; the message says what to do."""


@contextmanager
def explained(what: str) -> Iterator[None]:
    """
    Whatever requests raise becomes an error that says what to do.

    :param what: What has not been done then.
    :raises HubError: instead of what was raised.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        raise HubError(f"{what}: {_explain(error)}") from error


def with_retries(request: Callable[[], Result]) -> Result:
    """
    Make a request, and again while the network or the server fail, waiting longer each time.

    :param request: The request; it may be made twice though the first time succeeded, if the answer was lost.
    """
    for wait in WAITS:
        try:
            return request()
        except Exception as error:
            if not is_transient(error):
                raise
        time.sleep(wait)
    return request()


def is_transient(error: BaseException) -> bool:
    """
    Whether the same request may succeed later.

    :param error: What it raised.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    for cause in _chain(error):
        if isinstance(cause, HfHubHTTPError):
            return cause.response.status_code in TRANSIENT
        # A server that fails answers with a page where JSON is expected
        if isinstance(cause, httpx2.TransportError | json.JSONDecodeError):
            return not is_offline(error)
    return False


def is_offline(error: BaseException) -> bool:
    """
    Whether the environment variable HF_HUB_OFFLINE forbade the request.

    :param error: What it raised.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    return any(isinstance(cause, OfflineModeIsEnabled) for cause in _chain(error))


def _explain(error: BaseException) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    status = next((cause.response.status_code for cause in _chain(error) if isinstance(cause, HfHubHTTPError)), None)
    if is_offline(error):
        advice = "The environment variable HF_HUB_OFFLINE is set: unset it"
    elif is_transient(error):
        advice = "The network or the Hub fails: try again later"
    elif status in (401, 403):
        advice = "Log in with `hf auth login`, or set HF_TOKEN to a token that may do this"
    elif status == 404:
        advice = "Check the name of the repository and the revision; a private one needs a token that may read it"
    else:
        advice = "See the message of the Hub"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2]).rstrip('.')}. {advice}."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it: uploads wrap what goes wrong."""
    while error is not None:
        yield error
        error = error.__cause__
