"""The run folder: the only thing that analysis, plots and reports read. No torch here."""

from edgefed.durable import model_hash, read_arrays, write_arrays, write_atomically
from edgefed.runs.files import csv_lines, history_lines, plain, read_json, write_json
from edgefed.runs.folder import (
    AUDIT,
    AUDIT_HOME,
    COLLECTED,
    EXPLANATION,
    EXPLANATION_HOME,
    EXPLANATION_PAGE,
    SELECTION,
    check_kind,
    check_new,
    clear_start,
    explanation_folder,
    is_begun,
    is_folder_of,
    kept_in,
    made_folder,
    new_folder,
    other_setting,
)
from edgefed.runs.kinds import check_folder, is_finished
from edgefed.runs.run import History, Run, check_same_settings
from edgefed.runs.writer import CLIENT_COLUMNS, OPENED, Interrupted, RunWriter

__all__ = [
    "AUDIT",
    "AUDIT_HOME",
    "CLIENT_COLUMNS",
    "COLLECTED",
    "EXPLANATION",
    "EXPLANATION_HOME",
    "EXPLANATION_PAGE",
    "OPENED",
    "SELECTION",
    "History",
    "Interrupted",
    "Run",
    "RunWriter",
    "check_folder",
    "check_kind",
    "check_new",
    "check_same_settings",
    "clear_start",
    "csv_lines",
    "explanation_folder",
    "history_lines",
    "is_begun",
    "is_finished",
    "is_folder_of",
    "kept_in",
    "made_folder",
    "model_hash",
    "new_folder",
    "other_setting",
    "plain",
    "read_arrays",
    "read_json",
    "write_arrays",
    "write_atomically",
    "write_json",
]
