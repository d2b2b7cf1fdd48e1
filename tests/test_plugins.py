"""Names that other packages register: docs/plugins.md's own package, built and used; and packages with mistakes."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgefed.errors import SettingsError
from edgefed.imbalance import REMEDIES, Remedy
from edgefed.plugins import Registry

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
SHORT = ["-s", "num-server-rounds=2", "-s", "local-epochs=1"]


# ---- the page's package
@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the page's package is installed: its wheel, built and unpacked, as pip does."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    for name, text in FILES.items():
        (source / name).write_text(text, encoding="utf-8")
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(wheels)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(wheels.glob("edgefed_example-*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def python(site: Path, folder: Path, *arguments: str) -> str:
    """Run Python with the package installed; return stdout."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def edgefed(site: Path, folder: Path, *arguments: str) -> str:
    """Run the command line with the package installed; return stdout."""
    return python(site, folder, "-m", "edgefed", *arguments)


def test_the_page_is_a_whole_package() -> None:
    assert list(FILES) == ["pyproject.toml", "edgefed_example.py"]
    assert sum(len(text.splitlines()) for text in FILES.values()) < 90


@pytest.mark.parametrize(
    ("what", "own", "name", "line"),
    [
        ("strategies", REMEDIES.own, "power-weights", "Class weights n_c^-strength by a client's own counts"),
        ("partitions", ["iid", "natural"], "home-class", "Each client has a home class"),
        ("datasets", ["iris", "csv"], "two-moons", "600 points of two half-moons"),
    ],
)
def test_it_is_listed_last_with_its_package(
    site: Path, tmp_path: Path, what: str, own: list[str], name: str, line: str
) -> None:
    lines = edgefed(site, tmp_path, "list", what).splitlines()
    names = [text.split()[0] for text in lines if text and not text.startswith(" ")]
    assert names[0] == what
    assert [found for found in names if found in own] == list(own)
    assert names[-1] == name
    assert re.search(rf"^{name} +{re.escape(line)}.*\(edgefed-example 0\.1\.0\) *$", lines[-1])


def test_a_run_uses_all_three_and_says_where_they_are_from(site: Path, tmp_path: Path) -> None:
    names = ["-s", "dataset=two-moons", "-s", "partition=home-class", "-s", "imbalance=power-weights"]
    options = ["-s", 'imbalance-options="strength=1"', *SHORT, "--format", "json"]
    out = edgefed(site, tmp_path, "run", *names, *options, "--out", "r")
    assert json.loads(out)["clients"] == 10
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))
    origin = "edgefed-example 0.1.0"
    assert manifest["plugins"] == {"dataset": origin, "partition": origin, "imbalance": origin}
    assert manifest["classes"] == ["upper", "lower"]
    # Clients 0, 2, ... are at home in class 0: they hold 80 % of its rows and half of the other fifth.
    counts = manifest["shards"]["class_counts"]
    at_home = sum(row[0] for row in counts[::2]) / sum(row[0] for row in counts)
    assert 0.82 < at_home < 0.98


RUNS = """
import edgefed, json
base = edgefed.FederationConfig(dataset="two-moons", long_tail=10, num_server_rounds=2, local_epochs=1)
asked = {
    "plain": {},
    "balanced": {"imbalance": "class-weights-balanced-local"},
    **{f"{text or 'default'}": {"imbalance": "power-weights", "imbalance_options": text}
       for text in ("", "strength=0", "strength=1")},
}
print(json.dumps({key: edgefed.run(base.replace(**changes)).summary for key, changes in asked.items()}))
"""


def test_its_option_reaches_it_and_has_a_default(site: Path, tmp_path: Path) -> None:
    found = json.loads(python(site, tmp_path, "-c", RUNS))
    models = {key: summary["model_sha256"] for key, summary in found.items()}
    losses = {key: summary["test"]["log_loss"] for key, summary in found.items()}
    assert models["strength=0"] == models["plain"]  # n^0 is 1 for every class
    # n_c^-1, scaled to mean 1, is n / (C n_c): the balanced weights, but for the last digits.
    assert losses["strength=1"] == pytest.approx(losses["balanced"], rel=1e-4)
    assert abs(losses["balanced"] / losses["plain"] - 1) > 1e-2
    assert min(losses["plain"], losses["balanced"]) < losses["default"] < max(losses["plain"], losses["balanced"])


def test_natural_clients_of_its_dataset(site: Path, tmp_path: Path) -> None:
    out = edgefed(site, tmp_path, "partition", "-s", "dataset=two-moons", "-s", "partition=natural", "--format", "json")
    shards = json.loads(out)["shards"]
    # 60 % of 600 rows, about a third at each site.
    assert (len(shards), sum(sum(row.values()) for row in shards)) == (3, 360)


def test_a_comparison_takes_it_and_names_whose_options_they_are(site: Path, tmp_path: Path) -> None:
    options = ["-s", "imbalance-options=power-weights.strength=1", "--strategies", "power-weights,smote"]
    few = ["--seeds", "2", "--no-tune", *SHORT, "--format", "json", "--out", "c"]
    out = json.loads(edgefed(site, tmp_path, "compare", "-s", "dataset=two-moons", *options, *few))
    assert {arm["name"] for arm in out["strategies"]} == {"none", "power-weights", "smote"}
    config = (tmp_path / "c" / "federations" / "power-weights" / "rate-0.1" / "seed-0" / "config.toml").read_text()
    assert "long-tail = 1.0\n" in config  # a tail is for the bundled datasets


# ---- packages with mistakes
def package(folder: Path, name: str, points: dict[str, str], code: str = "") -> None:
    """Write an installed package: a module, and the folder that says what it registers."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    lines = [f"{point} = {target}" for point, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[edgefed.remedies]", *lines, ""]))


class Mine(Remedy):
    """Mine."""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def registry(**own: type[Remedy]) -> Registry[type[Remedy]]:
    """Return a registry that has not looked at the installed packages yet."""
    return Registry("edgefed.remedies", {"first": Mine, **own}, base=Remedy)


GOOD = "from edgefed.imbalance import Remedy\nclass Good(Remedy):\n    '''Good.\n\n    More.'''\n"


def test_own_names_come_first_and_plug_ins_by_name(installed: Path) -> None:
    package(installed, "plug_a", {"zeta": "plug_a:Good", "alpha": "plug_a:Good"}, GOOD)
    found = registry(zz=Mine)
    assert list(found) == ["first", "zz", "alpha", "zeta"]
    assert len(found) == 4
    assert "plug_a" not in sys.modules  # names alone import nothing
    assert issubclass(found["alpha"], Remedy)
    assert found["alpha"] is found["alpha"]
    own, others = ["Mine.", "another name of first: Mine."], ["Good. (plug_a 2.0)", "Good. (plug_a 2.0)"]
    assert [found.line(name) for name in found] == own + others
    assert [found.package(name) for name in ("first", "zeta")] == ["", "plug_a 2.0"]
    assert "beta" not in found
    with pytest.raises(KeyError, match="beta"):
        found["beta"]


def test_own_names_are_found_without_a_look_at_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", None)
    assert registry()["first"] is Mine
    with pytest.raises(TypeError):
        list(registry())


@pytest.mark.parametrize(
    ("points", "code", "says"),
    [
        ({"bad": "plug_b:Bad"}, "import nothing_such", r"cannot be imported \(ModuleNotFoundError: No module named"),
        ({"bad": "plug_b:Bad"}, "def f(:", r"cannot be imported \(SyntaxError: "),
        ({"bad": "plug_b:Bad"}, "", r"cannot be imported \(AttributeError: "),
        ({"bad": "plug_b:Bad"}, "class Bad: ...", "is no subclass of edgefed.imbalance.remedy.Remedy: found <class"),
        ({"bad": "plug_b:Bad"}, "Bad = 3", "is no subclass of .*: found 3"),
    ],
)
def test_a_plug_in_with_a_mistake_gets_one_line_with_its_package(
    installed: Path, monkeypatch: pytest.MonkeyPatch, points: dict[str, str], code: str, says: str
) -> None:
    monkeypatch.delitem(sys.modules, "plug_b", raising=False)
    package(installed, "plug_b", points, code)
    package(installed, "plug_c", {"good": "plug_c:Good"}, GOOD)
    found = registry()
    with pytest.raises(
        SettingsError, match=f"^the plug-in 'bad' of plug_b 2.0 \\(edgefed.remedies\\) {says}"
    ) as caught:
        found["bad"]
    assert "\n" not in str(caught.value)
    assert found.line("bad") == f"cannot be used: {caught.value}"
    assert found.line("good") == "Good. (plug_c 2.0)"  # one bad package hides no other


def test_a_function_is_asked_for_where_no_class_is(installed: Path) -> None:
    package(installed, "plug_d", {"number": "plug_d:number", "f": "plug_d:f"}, "number = 3\ndef f(): ...")
    found = Registry("edgefed.remedies", {"own": print})
    assert callable(found["f"])
    with pytest.raises(SettingsError, match=r"'number' of plug_d 2\.0 .* is no function: found int"):
        found["number"]


def test_an_own_name_cannot_be_replaced(installed: Path) -> None:
    package(installed, "plug_e", {"first": "plug_e:Good"}, GOOD)
    found = registry()
    assert found["first"] is Mine
    assert list(found) == ["first"]
    says = "'first' is edgefed's own, and plug_e 2.0 registers it as well (edgefed.remedies): rename it there"
    assert found.clash("first").startswith(says)
    assert found.line("first") == f"cannot be used: {found.clash('first')}"


def test_a_setting_with_a_replaced_name_is_refused(installed: Path) -> None:
    package(installed, "plug_f", {"smote": "plug_f:Good"}, GOOD)
    program = (
        "import edgefed\ntry: edgefed.FederationConfig(imbalance='smote')\nexcept edgefed.SettingsError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("imbalance=smote: 'smote' is edgefed's own, and plug_f 2.0 registers it as well")


def test_two_packages_with_one_name_are_refused(installed: Path) -> None:
    package(installed, "plug_g", {"twin": "plug_g:Good"}, GOOD)
    package(installed, "plug_h", {"twin": "plug_h:Good"}, GOOD)
    with pytest.raises(SettingsError, match=r"plug_[gh] 2\.0 and plug_[gh] 2\.0 .* comes from more than one package"):
        registry()["twin"]


@pytest.mark.parametrize("name", ["Loud", "a/b", "a.b", "a_b", "-a", "a--b"])
def test_a_name_that_no_folder_should_have_is_refused(installed: Path, name: str) -> None:
    package(installed, "plug_i", {name: "plug_i:Good"}, GOOD)
    with pytest.raises(SettingsError, match="expected a name of lower-case letters, digits and single dashes"):
        registry()[name]
