"""Mistakes that people make in settings and in CSV files, and what the one line about each must say.

One table, two users: the unit tests (``SettingsError``, one line) and the command line's (exit 2, one line on
stderr, no traceback). ``says`` is a regular expression that the line has to match.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DATA, SETTINGS = "data.csv", "settings.toml"


@dataclass(frozen=True)
class BadInput:
    """One mistake: ``-s`` texts, and the bytes of a CSV or TOML file where the mistake is in one.

    ``{folder}`` in a text stands for the folder that the files are written to.
    """

    name: str
    says: str
    settings: tuple[str, ...] = ()
    csv: bytes | None = None
    toml: bytes | None = None

    def written(self, folder: Path) -> tuple[Path | None, list[str]]:
        """Write the files; return the settings file, if any, and the ``-s`` texts."""
        texts = [text.replace("{folder}", str(folder)) for text in self.settings]
        if self.csv is not None:
            (folder / DATA).write_bytes(self.csv)
            texts = ["dataset=csv", f"data-path={folder / DATA}", *texts]
        if self.toml is None:
            return None, texts
        (folder / SETTINGS).write_bytes(self.toml)
        return folder / SETTINGS, texts

    def arguments(self, folder: Path) -> list[str]:
        """Write the files; return what follows ``edgefed run`` on the command line."""
        path, texts = self.written(folder)
        return [*([str(path)] if path else []), *(part for text in texts for part in ("-s", text))]


def _rows(*lines: str, header: str = "a,b,y") -> bytes:
    return "\n".join([header, *lines, ""]).encode()


_NINE = [f"{number},{number * number},{'uvw'[number % 3]}" for number in range(9)]
GOOD = _rows(*_NINE, *_NINE)
"""A file with nothing wrong: 18 rows, features a and b, label y, three classes of six rows."""

WITH_CLIENTS = _rows(
    *(f"{number},{number},{'uv'[number % 2]},{('north', 'south', 'east')[number % 3]}" for number in range(30)),
    header="a,b,y,site",
)
"""Nothing wrong either: 30 rows, two classes, three clients in the column ``site``."""

_ONE_TO_70 = _rows(*(f"{number},1,{number / 7}" for number in range(1, 71)))

_PRIVATE = ("privacy=dp-fixed", "standardize=server")
PRIVATE = [
    ("strategy", "fedadam", "its noise .* plain average: set strategy=fedavg", (*_PRIVATE, "strategy=fedadam")),
    ("standardize", "federated", "exact means .*: set standardize=server or none", ("privacy=dp-fixed",)),
    ("missing", "mean", "exact means", ("privacy=dp-fixed", "standardize=none", "missing=mean")),
    ("selection", "oort", "whom a round asks", (*_PRIVATE, "selection=oort")),
    ("availability", "there.json", "leave availability unset", (*_PRIVATE, "availability=there.json")),
    ("explain", "yes", "set explain=no", (*_PRIVATE, "explain=yes")),
    ("client-test-fraction", "0.2", r"exactly: set client-test-fraction=0", (*_PRIVATE, "client-test-fraction=0.2")),
    ("checkpoint-every", "5", "release rounds twice: set checkpoint-every=1", (*_PRIVATE, "checkpoint-every=5")),
    ("imbalance", "climb", "all have the same", (*_PRIVATE, "imbalance=climb")),
]
"""Settings that differential privacy refuses: key, value, why, and the texts."""

BAD_SETTINGS = [
    # ---- keys
    BadInput("unknown key", r"unknown setting 'nmu-clients': did you mean num-clients\?", ("nmu-clients=4",)),
    BadInput("underscores", r"unknown setting 'num_clients': did you mean num-clients\?", ("num_clients=4",)),
    BadInput(
        "key like no other",
        r"unknown setting 'qqqq': edgefed list settings has all \d+$",
        ("qqqq=1",),
    ),
    BadInput("no equals sign", r"setting 'alpha': expected key=value", ("alpha",)),
    BadInput("no key", r"unknown setting '': edgefed list settings has all", ("=3",)),
    # ---- types
    BadInput("text for a whole number", r"num-clients=ten: expected a whole number, at least 1", ("num-clients=ten",)),
    BadInput("half a client", r"num-clients=2\.5: expected a whole number", ("num-clients=2.5",)),
    BadInput("text for a number", r"alpha=small: expected a number, more than 0", ("alpha=small",)),
    BadInput("true for a number", r"seed=true: expected a whole number", toml=b"seed = true\n"),
    BadInput("true for text", r"partition=true: expected text", toml=b"partition = true\n"),
    BadInput("a list of widths", r'hidden=\[32, 16\]: expected text, as "32-16"', toml=b"hidden = [32, 16]\n"),
    BadInput("a date", r"seed=2024-01-01: expected a whole number", toml=b"seed = 2024-01-01\n"),
    # ---- ranges
    BadInput(
        "no clients", r"num-clients=0: expected a whole number, at least 1 and at most 1000000", ("num-clients=0",)
    ),
    BadInput("too many clients", r"num-clients=2147483648: expected .* at most 1000000", ("num-clients=2147483648",)),
    BadInput("negative seed", r"seed=-1: expected a whole number, at least 0", ("seed=-1",)),
    BadInput("seed beyond 32 bits", r"seed=4294967296: expected .* at most 4294967295", ("seed=4294967296",)),
    BadInput("batch beyond 31 bits", r"batch-size=4294967296: .* at most 2147483647", ("batch-size=4294967296",)),
    BadInput("alpha 0", r"alpha=0\.0: expected a number, more than 0", ("alpha=0",)),
    BadInput("alpha nan", r"alpha=nan: expected a number, more than 0", ("alpha=nan",)),
    BadInput("rate inf", r"learning-rate=inf: expected a number, .* at most 1000", ("learning-rate=inf",)),
    BadInput("negative rate", r"learning-rate=-0\.1: expected a number, more than 0", ("learning-rate=-0.1",)),
    BadInput("momentum 1", r"momentum=1\.0: expected a number, at least 0 and less than 1", ("momentum=1",)),
    BadInput("fraction 2", r"fraction-train=2\.0: .* more than 0 and at most 1", ("fraction-train=2",)),
    BadInput("fraction 0", r"fraction-train=0\.0: .* more than 0 and at most 1", ("fraction-train=0",)),
    BadInput("no test rows asked for", r"test-fraction=0\.0: .* more than 0 and less than 1", ("test-fraction=0",)),
    BadInput("no rounds", r"num-server-rounds=0: expected a whole number, at least 1", ("num-server-rounds=0",)),
    BadInput("no epochs", r"local-epochs=0: expected a whole number, at least 1", ("local-epochs=0",)),
    BadInput("tail below 1", r"long-tail=0\.5: expected a number, at least 1", ("long-tail=0.5",)),
    BadInput(
        "a number of 5,000 digits",
        r"seed=a huge number: expected a whole number",
        toml=b"seed = 0x" + b"f" * 5000 + b"\n",
    ),
    BadInput(
        "a float beyond floats", r"alpha=1000+\.\.\.: expected a number", toml=(b"alpha = 1" + b"0" * 400 + b"\n")
    ),
    # ---- names
    BadInput(
        "unknown partition", r"partition=diriclet: unknown name .* did you mean dirichlet\?", ("partition=diriclet",)
    ),
    BadInput("capitals", r"partition=IID: unknown name 'IID': did you mean iid\?", ("partition=IID",)),
    BadInput("unknown remedy", r"imbalance=smoot: unknown name 'smoot'", ("imbalance=smoot",)),
    BadInput("unknown dataset", r"dataset=irsi: unknown name 'irsi': did you mean iris\?", ("dataset=irsi",)),
    BadInput("line break in a name", r"dataset=ir\\nis: unknown name", toml=b'dataset = "ir\\nis"\n'),
    # ---- hidden layers
    BadInput("width 0", r"hidden=0: expected widths from 1 to 65536 joined by dashes", ("hidden=0",)),
    BadInput(
        "widths with commas", r"hidden=32,16: expected widths .* joined by dashes \(16, 32-16\)", ("hidden=32,16",)
    ),
    BadInput("negative width", r"hidden=-16: expected widths", ("hidden=-16",)),
    BadInput("width of 5,000 digits", r"hidden=1{57}\.\.\.: expected widths", ("hidden=" + "1" * 5000,)),
    BadInput("digits of another script", r"hidden=.*: expected widths", ("hidden=²",)),
    BadInput("a giant", r"hidden=65536-65536: 2 layers with 4294967296 weights", ("hidden=65536-65536",)),
    BadInput("a tower", r"40 layers .* at most 32", ("hidden=" + "-".join(["1"] * 40),)),
    # ---- contradictions
    BadInput(
        "nothing left to train on",
        r"test-fraction=0\.5 and validation-fraction=0\.5 leave no training rows",
        ("test-fraction=0.5", "validation-fraction=0.5"),
    ),
    BadInput("momentum of adam", r"momentum=0\.9 contradicts optimizer=adam", ("optimizer=adam", "momentum=0.9")),
    BadInput("csv without a file", r"dataset=csv needs data-path", ("dataset=csv",)),
    BadInput("label column of iris", r"label-column=y contradicts dataset=iris", ("label-column=y",)),
    BadInput("natural iris", r"partition=natural needs dataset=csv and client-column", ("partition=natural",)),
    BadInput(
        "balanced softmax of hinge",
        r"imbalance=balanced-softmax contradicts loss=hinge: it is defined for cross-entropy and mse only",
        ("imbalance=balanced-softmax", "loss=hinge"),
    ),
    *(
        BadInput(f"differential privacy and {key}", rf"privacy=dp-fixed contradicts {key}={found}: .*{why}", asked)
        for key, found, why, asked in PRIVATE
    ),
    BadInput(
        "noise without privacy",
        r"noise-multiplier=2 contradicts privacy=none: it belongs to privacy=dp-fixed and privacy=dp-adaptive",
        ("noise-multiplier=2",),
    ),
    BadInput(
        "a delta that promises nothing",
        r"privacy-delta=0\.1: expected less than one over num-clients=10",
        ("privacy=dp-fixed", "standardize=server", "privacy-delta=0.1"),
    ),
    BadInput(
        "more noise than the count bears",
        r"noise-multiplier=1: expected less than a tenth of the 10 clients",
        ("privacy=dp-adaptive", "standardize=server"),
    ),
    BadInput(
        "no rows to take a scale from",
        r"standardize=server .* there are none \(validation-fraction=0\): set standardize=none",
        ("standardize=server", "validation-fraction=0"),
    ),
    BadInput("option of no remedy", r"imbalance-options=k=1: none has no option 'k'", ("imbalance-options=k=1",)),
    BadInput("option without value", r"imbalance-options=k: expected name=number", ("imbalance-options=k",)),
    BadInput("one class named", r"classes=setosa: one class only, expected at least two", ("classes=setosa",)),
    BadInput("class named twice", r"classes=a,b,a: 'a' stands there twice", ("classes=a,b,a",)),
    # ---- classes and tails of a known dataset
    BadInput(
        "class that is none",
        r"classes=.*: unknown class 'virginca': did you mean virginica",
        ("classes=setosa,versicolor,virginca",),
    ),
    BadInput(
        "class left out",
        r"classes=setosa,versicolor: the data also hold the class 'virginica'",
        ("classes=setosa,versicolor",),
    ),
    BadInput(
        "tail that iris cannot bear", r"long-tail=100: .* at least 3 are needed; at most 12 fits", ("long-tail=100",)
    ),
    BadInput("tail order of no class", r"long-tail-order=x: unknown class 'x'", ("long-tail=10", "long-tail-order=x")),
    BadInput(
        "tail order without a class",
        r"long-tail-order=0,1: expected each of the 3 classes once \(setosa,versicolor,virginica\), or rotate",
        ("long-tail=10", "long-tail-order=0,1"),
    ),
    BadInput("tail order without a tail", r"long-tail-order=x: unknown class 'x'", ("long-tail-order=x",)),
    BadInput(
        "tail order in superscript",
        r"long-tail-order=²,0,1: unknown class '²'",
        (
            "long-tail=10",
            "long-tail-order=²,0,1",
        ),
    ),
    BadInput("test set of nothing", r"test-fraction=0\.001: no test row in 150 rows", ("test-fraction=0.001",)),
    BadInput(
        "validation set of nothing", r"validation-fraction=0\.001: no validation row", ("validation-fraction=0.001",)
    ),
    # ---- partitions that cannot be
    BadInput(
        "more classes than there are",
        r"classes-per-client=4: the training rows hold 3 classes; at most 3 fits",
        (
            "partition=classes",
            "classes-per-client=4",
        ),
    ),
    BadInput(
        "class without a holder",
        r"classes-per-client=1: 2 clients would leave a class without a holder; .* 2",
        (
            "partition=classes",
            "num-clients=2",
            "classes-per-client=1",
        ),
    ),
    BadInput(
        "more shards than rows",
        r"shards-per-client=20: 200 shards cannot be cut from 90 .* at most 9",
        (
            "partition=shards",
            "shards-per-client=20",
        ),
    ),
    BadInput(
        "more rows than there are",
        r"min-rows=10: 10 clients would need 100 .* there are 90; at most 9 fits",
        ("min-rows=10",),
    ),
    BadInput(
        "rows that Dirichlet never leaves",
        r"min-rows=9: the best of 50 draws with alpha=0\.05",
        (
            "min-rows=9",
            "alpha=0.05",
        ),
    ),
    BadInput(
        "rows that classes never leave",
        r"min-rows=9: partition=classes leaves a client with",
        (
            "partition=classes",
            "min-rows=9",
        ),
    ),
    # ---- the settings file
    BadInput("not TOML", r"settings\.toml: not valid TOML \(.*line 2", toml=b"seed = 1\nalpha = = 2\n"),
    BadInput("same key twice", r"settings\.toml: not valid TOML", toml=b"seed = 1\nseed = 2\n"),
    BadInput("unknown key in a file", r"settings\.toml: unknown setting 'sed': did you mean seed", toml=b"sed = 1\n"),
    BadInput("a table", r"settings\.toml: unknown setting 'data'", toml=b'[data]\npath = "x"\n'),
    BadInput("pyproject of another", r"settings\.toml: no \[tool\.flwr\.app\.config\] table", toml=b"[tool.ruff]\n"),
    BadInput("tool that is no table", r"settings\.toml: no \[tool\.flwr\.app\.config\] table", toml=b"tool = 3\n"),
    BadInput(
        "settings in two places",
        r"settings\.toml: 'seed' stands outside \[tool\.flwr\.app\.config\]",
        toml=b"seed = 1\n[tool.flwr.app.config]\nalpha = 1.0\n",
    ),
    BadInput(
        "a thousand brackets", r"settings\.toml: not settings \(.*brackets too deep", toml=b"hidden = " + b"[" * 5000
    ),
    BadInput(
        "a number of 5,000 digits in TOML",
        r"settings\.toml: not settings \(a number of thousands",
        toml=b"seed = " + b"1" * 5000,
    ),
    BadInput(
        "settings in latin-1", r"settings\.toml: row 2: not UTF-8 text \(byte 0xe9\)", toml=b'#\nclasses = "\xe9"'
    ),
    BadInput("settings in UTF-16", r"settings\.toml: UTF-16 text", toml="seed = 1\n".encode("utf-16")),
]

BAD_CSV = [
    # ---- the file
    BadInput("missing file", r"nowhere\.csv: no such file", ("dataset=csv", "data-path={folder}/nowhere.csv")),
    BadInput("a folder", r": is a folder, expected CSV text", ("dataset=csv", "data-path={folder}")),
    BadInput("NUL in a path", r"a\\x00b: cannot be read", toml=b'dataset = "csv"\ndata-path = "a\\u0000b"\n'),
    BadInput("empty file", r"data\.csv: empty; expected a header line and rows", csv=b""),
    BadInput("blank lines", r"data\.csv: empty; expected a header line", csv=b"\n\r\n\n"),
    BadInput("header only", r"data\.csv: a header line but no rows", csv=b"a,b,y\n"),
    BadInput("latin-1", r"data\.csv: row 3: not UTF-8 text \(byte 0xe9\); save .* UTF-8", csv=b"a,y\n1,u\n2,\xe9\n"),
    BadInput("UTF-16", r"data\.csv: UTF-16 text, .* save it as UTF-8", csv="a,y\n1,u\n".encode("utf-16")),
    BadInput("UTF-16 without a mark", r"data\.csv: holds NUL bytes", csv="a,y\n1,u\n".encode("utf-16-le")),
    BadInput(
        "a spreadsheet's own file", r"data\.csv: holds NUL bytes, so it is no text", csv=b"PK\x03\x04\x14\x00\x06\x00"
    ),
    BadInput("junk", r"data\.csv: row 1: not UTF-8 text \(byte 0x89\)", csv=b"\x89PNG\r\n\x1a\n\xff\xd8"),
    # ---- its shape
    BadInput("semicolons", r"data\.csv: one column only, .* separated by ';'", csv=GOOD.replace(b",", b";")),
    BadInput("tabs", r"data\.csv: one column only, .* separated by '\\t'", csv=GOOD.replace(b",", b"\t")),
    BadInput("one column", r"data\.csv: one column only, expected features and a label", csv=b"y\nu\nv\n"),
    BadInput("ragged row", r"data\.csv: row 3: 2 cells, expected 3 as in the header", csv=_rows("1,2,u", "3,v")),
    BadInput("row too long", r"data\.csv: row 2: 4 cells, expected 3", csv=_rows("1,2,3,u", "3,4,v")),
    BadInput("ragged after a cell of two lines", r"data\.csv: row 4: 2 cells", csv=_rows('1,2,"u\n"', "3,v", "4,5,u")),
    BadInput("ragged after a blank line", r"data\.csv: row 4: 2 cells", csv=b"a,b,y\r\n1,2,u\r\n\r\n3,v\r\n"),
    BadInput(
        "open quote",
        r"data\.csv: row 3: not CSV \(.*\); is a quote left open",
        csv=_rows("1,2,u", '3,"4,v', "5,6,u", "7,8,v"),
    ),
    BadInput("quote within a cell", r"data\.csv: row 2: not CSV .* not doubled", csv=_rows('"1"0,2,u', "3,4,v")),
    BadInput(
        "huge field", r"data\.csv: row 3: not CSV \(field larger", csv=_rows("1,2,u", "3," + "4" * 200_000 + ",v")
    ),
    BadInput(
        "too many columns",
        r"data\.csv: 10001 columns; at most 10000 are read \(is the table transposed\?\)",
        csv=",".join(f"c{number}" for number in range(10_001)).encode() + b"\n",
    ),
    # ---- its header
    BadInput("duplicate columns", r"data\.csv: row 1: two columns are named 'a'", csv=_rows("1,2,u", header="a,a,y")),
    BadInput("nameless column", r"data\.csv: row 1: column 1 has no name", csv=_rows("0,2,u", "1,3,v", header=",b,y")),
    BadInput("numbers for a header", r"data\.csv: row 1 holds numbers only, expected a header", csv=b"1,2,0\n3,4,1\n"),
    BadInput("data for a header", r"data\.csv: row 1: 'w' is a label too, expected a header", csv=GOOD[18:]),
    BadInput(
        "two equal numbers for a header",
        r"two columns are named '5\.1'; is the header line missing",
        csv=b"5.1,5.1,u\n",
    ),
    # ---- its columns
    BadInput("unknown label", r"label-column=z: unknown column 'z': known: a, b, y", ("label-column=z",), csv=GOOD),
    BadInput("unknown client", r"client-column=sit: .* did you mean site\?", ("client-column=sit",), csv=WITH_CLIENTS),
    BadInput("unknown feature", r"feature-columns=c: unknown column 'c'", ("feature-columns=a,c",), csv=GOOD),
    BadInput("unknown dropped", r"drop-columns=c: unknown column 'c'", ("drop-columns=c",), csv=GOOD),
    BadInput("feature twice", r"feature-columns=a,a: 'a' stands there twice", ("feature-columns=a,a",), csv=GOOD),
    BadInput(
        "feature dropped",
        r"feature-columns names 'a', which drop-columns leaves out",
        (
            "feature-columns=a",
            "drop-columns=a",
        ),
        csv=GOOD,
    ),
    BadInput(
        "label as feature",
        r"label-column=y: the same column is in feature-columns",
        (
            "feature-columns=a,y",
            "label-column=y",
        ),
        csv=GOOD,
    ),
    BadInput(
        "label dropped",
        r"label-column=y: the same column is in drop-columns",
        (
            "label-column=y",
            "drop-columns=y",
        ),
        csv=GOOD,
    ),
    BadInput(
        "label as client",
        r"label-column=y: the same column is the client-column",
        (
            "label-column=y",
            "client-column=y",
        ),
        csv=GOOD,
    ),
    BadInput("unknown category", r"categories=c: unknown column 'c': known: a, b, y", ("categories=c",), csv=GOOD),
    BadInput(
        "label as category",
        r"label-column=y: the same column is in categories",
        ("categories=y", "label-column=y"),
        csv=GOOD,
    ),
    BadInput(
        "the last column, which is the label, as category",
        r"label-column=y \(the last column, since none is named\): the same column is in categories",
        ("categories=a,y",),
        csv=GOOD,
    ),
    BadInput("category dropped", r"categories names 'a', which drop-", ("categories=a", "drop-columns=a"), csv=GOOD),
    BadInput(
        "category not chosen",
        r"categories names 'a', which is not in feature-columns: add it there",
        ("categories=a", "feature-columns=b"),
        csv=GOOD,
    ),
    BadInput("category of nothing", r"categories=a=: an empty value of 'a', expected as", ("categories=a=",), csv=GOOD),
    BadInput("category twice", r"categories=a,a: 'a' stands there twice", ("categories=a,a",), csv=GOOD),
    BadInput("category without a file", r"categories=a contradicts dataset=iris", ("categories=a",)),
    BadInput("all dropped", r"no column is left for the label", ("drop-columns=a,b,y",), csv=GOOD),
    BadInput("no feature left", r"no feature column is left beside the label", ("drop-columns=a,b",), csv=GOOD),
    # ---- its cells
    BadInput(
        "text among numbers",
        r"row 3, column 'b': 'red' is not a number; .* drop-columns=b",
        csv=_rows("1,2,u", "3,red,v"),
    ),
    BadInput(
        "text column",
        r"row 2, column 'b': 'red' .* to learn from text, categories=b; to leave out .* drop-columns=b",
        csv=_rows("1,red,u", "3,blue,v"),
    ),
    BadInput(
        "unknown value",
        r"row 3, column 'b': 'blu' is none of its categories \(red, blue\)",
        ("categories=b=red|blue",),
        csv=_rows("1,red,u", "3,blu,v"),
    ),
    BadInput(
        "empty category",
        r"row 3, column 'b': empty cell; missing=mean fills it",
        ("categories=b",),
        csv=_rows("1,red,u", "3,,v"),
    ),
    BadInput(
        "names of rows",
        r"column 'a': 70 different values in 70 rows are many for a category; drop-columns=a",
        ("categories=a",),
        csv=_ONE_TO_70,
    ),
    BadInput(
        "decimal comma",
        r"row 2, column 'a': '1,5' is not a number; write decimals with a point",
        csv=_rows('"1,5",2,u'),
    ),
    BadInput("digits grouped by _", r"row 2, column 'a': '1_000' is not a number", csv=_rows("1_000,2,u", "3,4,v")),
    BadInput(
        "header again", r"row 4, column 'a': the column's name again", csv=_rows("1,2,u", "3,4,v", "a,b,y", "5,6,u")
    ),
    BadInput("empty cell", r"row 3, column 'b': empty cell; missing=mean fills it", csv=_rows("1,2,u", "3,,v")),
    BadInput("NaN", r"row 2, column 'a': 'NaN' for an empty cell; missing=mean", csv=_rows("NaN,2,u", "3,4,v")),
    BadInput(
        "inf", r"row 2, column 'a': inf is out of range, expected a number within ±3\.4e\+38", csv=_rows("inf,2,u")
    ),
    BadInput("inf among means", r"row 2, column 'a': -inf is out of range", ("missing=mean",), csv=_rows("-inf,2,u")),
    BadInput("1e300", r"row 3, column 'a': 1e300 is out of range", csv=_rows("1,2,u", "1e300,2,v")),
    BadInput("a row of empty cells", r"row 3, column 'a': empty cell", csv=_rows("1,2,u", ",,", "3,4,v")),
    BadInput(
        "an empty column",
        r"column 'b': every cell is empty; drop it with drop-columns",
        ("missing=mean",),
        csv=_rows("1,,u", "3,?,v"),
    ),
    # ---- its labels
    BadInput("no label", r"row 3, column 'y': a row without a label", csv=_rows("1,2,u", "3,4,", "5,6,v")),
    BadInput("null label", r"row 3, column 'y': 'null' counts as no label", csv=_rows("1,2,u", "3,4,null", "5,6,v")),
    BadInput("one class", r"column 'y': one class only \('u'\), expected at least two", csv=_rows("1,2,u", "3,4,u")),
    BadInput(
        "label not in classes", r"row 4, column 'y': not in classes=u,v: unknown class 'w'", ("classes=u,v",), csv=GOOD
    ),
    BadInput(
        "measured number", r"column 'y': 70 different labels in 70 rows; is it a measured number\?", csv=_ONE_TO_70
    ),
    BadInput(
        "measured number, few rows",
        r"column 'y': 4 different labels in 4 rows",
        csv=_rows("1,2,.1", "1,2,.2", "1,2,.3", "1,2,.4"),
    ),
    BadInput(
        "1 and 1.0",
        r"column 'y': labels '1' and '1\.0' are the same number",
        csv=_rows("1,2,1", "3,4,1.0", "5,6,2", "7,8,2"),
    ),
    BadInput(
        "blank client",
        r"row 3, column 'site': empty cell, expected the row's client",
        ("client-column=site",),
        csv=_rows("1,u,n", "2,v,", header="a,y,site"),
    ),
    # ---- too little of it
    BadInput("two rows", r"test-fraction=0\.2: no test row in 2 rows", csv=_rows("1,2,u", "3,4,v")),
    BadInput(
        "more clients than rows",
        r"min-rows=1: 100 clients would need 100 training rows",
        (
            "num-clients=100",
            "min-rows=1",
        ),
        csv=GOOD,
    ),
    BadInput(
        "a tail of too few",
        r"long-tail=2: the rarest class would keep 2 .* at most 1\.2 fits",
        ("long-tail=2",),
        csv=GOOD,
    ),
    BadInput(
        "other number of clients",
        r"num-clients=4 contradicts partition=natural: column 'site' names 3 clients",
        (
            "partition=natural",
            "client-column=site",
            "num-clients=4",
        ),
        csv=WITH_CLIENTS,
    ),
    BadInput(
        "natural clients too small",
        r"min-rows=9: 3 clients would need 27 training rows",
        (
            "partition=natural",
            "client-column=site",
            "min-rows=9",
        ),
        csv=WITH_CLIENTS,
    ),
]

BAD_INPUT = [*BAD_SETTINGS, *BAD_CSV]
