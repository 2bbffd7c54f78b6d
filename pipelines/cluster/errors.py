"""What the SDK's clients raise, in one line that says what to do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from assay.errors import AssayError

# Of a server that is being restarted, or of a proxy before it.
PASSING_ERRORS = (500, 502, 503, 504)


class Unanswered(AssayError):
    """The server cannot be reached, or fails: later it may answer."""


@contextlib.contextmanager
def explained(host: str) -> Iterator[None]:
    """Turn what the SDK raises into one line that says what to do."""
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        said = message(error)
        if error.status == 401:
            raise AssayError(
                f"{host}: not signed in, or the sign-in has expired ({said}). Renew the token: "
                "ASSAY_AUTH__TOKEN, or the file that auth.token_file names."
            ) from error
        if error.status == 403:
            raise AssayError(f"{host}: not allowed ({said}). Ask for the role in manifests/base/users.yaml.") from error
        if error.status in PASSING_ERRORS:
            raise Unanswered(
                f"{host}: the server failed with {error.status} ({said}). Look at its log: "
                "kubectl logs deploy/ml-pipeline."
            ) from error
        raise AssayError(f"{host}: refused with {error.status}: {said}") from error
    except HTTPError as error:
        raise Unanswered(
            f"{host}: does not answer ({cause(error)}). Is the port forwarded, and is KFP_HOST right?"
        ) from error


def message(error: Any) -> str:
    """Return what a server said, in one line."""
    try:
        said = json.loads(error.body)
        text = said.get("message") or said.get("error") or ""
    except (TypeError, ValueError, AttributeError):
        text = error.body or ""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return " ".join(str(text).split())[:300] or str(error.reason)


def cause(error: Any) -> str:
    """Return why a server was not reached, in one line."""
    return " ".join(str(getattr(error, "reason", None) or error).split())[:200]
