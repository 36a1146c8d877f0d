"""Annotations: lines by which a workflow of GitHub Actions puts a warning next to a line of code."""

import os

from ._sentences import sentence, title


def wanted():
    """Whether a workflow runs us."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def of_chronology(chronology):
    """The lines for the starvations of a run."""
    return [
        warning(sentence(it, chronology.threshold, _workspace()), title(it), it.file, it.line)
        for it in chronology.starvations
    ]


def warning(message, heading, file=None, line=None):
    """The line that puts a warning next to a line of code. A file is named from the top of the workspace."""
    name = os.path.relpath(file, _workspace()).replace(os.sep, "/") if file else None
    properties = {"file": name, "line": line, "title": heading}
    given = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value)
    return f"::warning {given}::{_data(message)}"


def _workspace():
    return os.environ.get("GITHUB_WORKSPACE") or os.getcwd()


def _data(text):
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text):
    return _data(text).replace(":", "%3A").replace(",", "%2C")
