"""Profiles: every number has its source, mixtures are drawn as asked, a person's own come from TOML."""

import dataclasses

import numpy as np
import pytest

from edgefed.config import FederationConfig
from edgefed.edge.profiles import PROFILES, Profile, as_toml_table, fleet, own_profiles
from edgefed.errors import SettingsError


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_whole_and_says_where_it_comes_from(name):
    profile = PROFILES[name]
    numbers = [getattr(profile, spec.name) for spec in dataclasses.fields(Profile) if spec.name != "source"]
    assert all(value >= 0 for value in numbers)
    assert len(profile.source) > 100
    assert "estimate" in profile.source  # whatever is one says so
    assert profile.idle <= min(profile.compute, profile.receive, profile.send)


def test_a_mixture_is_drawn_by_share_and_by_name():
    mixed = fleet("raspberry-pi-4:7,jetson-orin-nano:3", 20_000, seed=1)

    share = (mixed.kind == 0).mean()
    assert abs(share - 0.7) < 5 * np.sqrt(0.21 / 20_000)
    assert set(mixed.flops[mixed.kind == 0]) == {PROFILES["raspberry-pi-4"].flops}
    assert set(mixed.down[mixed.kind == 1]) == {PROFILES["jetson-orin-nano"].down}
    assert (fleet("raspberry-pi-4:7,jetson-orin-nano:3", 100, seed=1).kind == mixed.kind[:100]).all()
    assert (fleet("raspberry-pi-4:0.7,jetson-orin-nano:0.3", 100, seed=2).kind != mixed.kind[:100]).any()


def test_a_spread_is_log_normal_and_leaves_the_median():
    spread = fleet("phone", 40_000, seed=0, spread=0.5)
    phone = PROFILES["phone"]

    for values, middle in ((spread.flops, phone.flops), (spread.up, phone.up), (1 / spread.step_seconds, 12_500)):
        logs = np.log(values / middle)
        assert abs(logs.mean()) < 5 * 0.5 / 200
        assert abs(logs.std() - 0.5) < 5 * 0.5 / np.sqrt(80_000)
    assert abs(np.corrcoef(np.log(spread.flops), np.log(spread.up))[0, 1]) < 0.03
    np.testing.assert_allclose(spread.flops * spread.step_seconds, phone.flops * phone.step_seconds)
    assert set(spread.compute) == {phone.compute}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raspbery-pi-4", "devices=raspbery-pi-4: .*raspberry-pi-4"),
        ("phone:0.5,phone:x", "'x' is no share of phone"),
        ("phone:0", "'0' is no share of phone"),
        ("phone:inf", "no share"),
        ("phone:0.5,", "devices=phone:0.5,"),
        ("phone:0.3,laptop:0.1,phone:0.6", "phone is there twice"),
    ],
)
def test_a_mixture_that_is_none(text, says):
    with pytest.raises(SettingsError, match=says):
        FederationConfig(devices=text)


def written(folder, text):
    path = folder / "devices.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_profile_goes_through_toml(tmp_path):
    path = written(tmp_path, as_toml_table("mine", PROFILES["phone"]))

    assert own_profiles(path) == {"mine": PROFILES["phone"]}
    assert fleet("mine:1,laptop:1", 50, seed=0, own=path).names == ("mine", "laptop")


GOOD = as_toml_table("mine", PROFILES["phone"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[mine", "not valid TOML"),
        ("mine = 3", "'mine' is no table"),
        (GOOD.replace("flops = ", "flop = "), r"\[mine\]: .*flop.*flops"),
        (GOOD.replace("flops = 17600000000.0", "flops = 0"), "flops=0: expected a number, more than 0"),
        (GOOD.replace("latency = 0.028", "latency = -1"), "latency=-1: expected a number, at least 0"),
        (GOOD.replace("latency = 0.028\n", ""), "latency is missing"),
        (GOOD.replace("idle = 0.5", 'idle = "low"'), "idle=low"),
        pytest.param(
            GOOD.replace("idle = 0.5", "idle = 1" + "0" * 400), "idle=10+.*expected a number", id="401 digits"
        ),
        pytest.param(GOOD.replace("idle = 0.5", "idle = 1" + "0" * 5000), "not valid TOML", id="5001 digits"),
        pytest.param("mine = " + "[" * 3000, "not valid TOML", id="3000 brackets"),
    ],
)
def test_a_file_of_profiles_that_is_none(text, says, tmp_path):
    with pytest.raises(SettingsError, match=says):
        own_profiles(written(tmp_path, text))


def test_a_file_that_is_not_there():
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        own_profiles("nowhere.toml")
