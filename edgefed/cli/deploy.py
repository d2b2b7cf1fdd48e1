"""Commands for real devices: keys and certificates, server and device processes, runs on them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from edgefed.cli.options import Format, Out, OutputFormat, Resume, Settings
from edgefed.config import SettingsError, read_settings
from edgefed.errors import shown
from edgefed.terminal import note, print_json, show_devices, show_rehearsal, show_run

AGREE_WITHIN = 1e-5
"""Largest difference in a weight between devices and simulation, in float32."""
Folder = Annotated[Path, typer.Argument(help="The deployment's folder, from edgefed provision.", show_default=False)]
Insecure = Annotated[bool, typer.Option("--insecure", help="Plain text and no keys: for loopback.")]
OnNetwork = Annotated[bool, typer.Option("--on-network", help="With --insecure: yes, over the network too.")]


def provision(
    out: Annotated[Path, typer.Option(help="The deployment's folder: made new with --server, else changed.")],
    server: Annotated[
        str,
        typer.Option(help="Names and addresses (IPv4, IPv6) of the server, comma-separated; devices dial the first."),
    ] = "",
    devices: Annotated[int, typer.Option(help="How many devices.")] = 3,
    port: Annotated[int, typer.Option(help="The server's port.")] = 8000,
    days: Annotated[int, typer.Option(help="Days that the server's certificate is valid.")] = 365,
    keys_on_device: Annotated[
        bool, typer.Option("--keys-on-device", help="Make no private keys: each device makes its own.")
    ] = False,
    add: Annotated[int | None, typer.Option(help="Add so many devices.", show_default=False)] = None,
    revoke: Annotated[str, typer.Option(metavar="DEVICE", help="Take a device's key out.", show_default=False)] = "",
    public_key: Annotated[
        Path | None, typer.Option(help="Take the key that --device has made.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="Whose --public-key it is.", show_default=False)] = "",
    renew: Annotated[bool, typer.Option("--renew", help="Make the server a new certificate.")] = False,
) -> None:
    """Make certificates, keys, start files and a page of instructions for a server and its devices."""
    from edgefed.deploy import provision as provisioning
    from edgefed.deploy.folder import Deployment
    from edgefed.deploy.instructions import states

    changes = [bool(server), add is not None, bool(revoke), public_key is not None, renew]
    if sum(changes) != 1:
        raise SettingsError("give one of --server (a new deployment), --add, --revoke, --public-key, --renew")
    if (public_key is None) != (not device):
        raise SettingsError("--public-key and --device go together")
    if server:
        names = [name.strip() for name in server.split(",") if name.strip()]
        found = provisioning.provision(out, names, devices, port=port, days=days, keys_on_device=keys_on_device)
    else:
        found = Deployment.read(out)
        if add is not None:
            found = provisioning.add_devices(found, add, keys_on_device=keys_on_device)
        elif revoke:
            found = provisioning.revoke(found, revoke)
        elif public_key is not None:
            found = provisioning.accept_key(found, device, public_key)
        else:
            provisioning.check_days(days)
            provisioning.renew_server_certificate(found, days)
            note("the server takes the new certificate when it is started again")
    note(f"{found.address}: {states(found)}; what to do next is in {out / 'README.md'}")


def launch_server(
    folder: Folder,
    host: Annotated[
        str, typer.Option(help="Addresses to listen on: 0.0.0.0, ::, 127.0.0.1, ::1 (default: as fits, of both kinds).")
    ] = "",
    insecure: Insecure = False,
    on_network: OnNetwork = False,
) -> None:
    """Serve devices until stopped: Flower's SuperLink, over TLS, for known keys, its control interface fenced."""
    from edgefed.deploy.superlink import Serve, run_server

    run_server(Serve(folder, host, insecure, on_network))


def launch_device(
    folder: Annotated[Path, typer.Argument(help="The device's own folder.", show_default=False)],
    data: Annotated[Path, typer.Option(help="This device's rows.", metavar="FILE.csv", show_default=False)],
    label: Annotated[str, typer.Option(help="Its label column, whatever a run asks for (default: the last).")] = "",
    insecure: Insecure = False,
    on_network: OnNetwork = False,
) -> None:
    """Take part with this machine's rows until stopped: Flower's SuperNode and a warm worker beside it."""
    from edgefed.deploy.supernode import Start, run_device

    run_device(Start(folder, data, insecure, on_network, label))


def launch(
    folder: Folder,
    source: Annotated[Path | None, typer.Argument(metavar="[CONFIG.toml]", show_default=False)] = None,
    settings: Settings = None,
    out: Out = None,
    resume: Resume = False,
    insecure: Insecure = False,
    output: OutputFormat = Format.text,
) -> None:
    """Train one federation on the devices, from the server's own machine; the same folder as edgefed run.

    A test-path in a TOML file is taken from that file's folder. Settings of a simulation, as a comparison's best.toml,
    are taken too: devices train on their own files, with its columns, label column and classes, and without the edge
    that it modelled.
    """
    from edgefed.deploy.carried import of_simulation, settings_carried
    from edgefed.deploy.folder import Deployment
    from edgefed.deploy.launch import launch as launched
    from edgefed.notes import look_alikes

    given: dict[str, Any] = {**read_settings(source)}
    if source is not None and given.get("test-path"):
        given["test-path"] = str(source.parent / str(given["test-path"]))
    beside = read_settings(None, settings or ())
    if source is not None and of_simulation(given) and not of_simulation(beside):
        given, said = settings_carried(source, given, beside, Deployment.read(folder).clients)
        note(f"note: {said}")
    else:
        given |= beside
    done = launched(folder, given, out=out, insecure=insecure, resume=resume, progress=True)
    if output is Format.json:
        print_json(done.summary)
    else:
        show_run(done)
    for line in look_alikes({"classes": done.manifest["classes"]}):
        note(f"note: {line}")


def rehearse(
    devices: Annotated[int, typer.Option(help="How many devices.")] = 3,
    rounds: Annotated[int, typer.Option(help="How many rounds.")] = 3,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Keep it all in this folder, made new.", show_default=False)] = None,
    output: OutputFormat = Format.text,
) -> None:
    """Rehearse a deployment on this machine: real processes, TLS and keys, held against the simulation."""
    from edgefed.deploy.rehearse import rehearse as rehearsed

    found = rehearsed(devices, rounds, read_settings(None, settings or ()), out=out)
    if output is Format.json:
        print_json(found)
    else:
        show_rehearsal(found)
    if found["noised"]:
        note("note: devices and simulation differ by their noise, which on devices follows from no seed")
    elif found["max_weight_difference"] > AGREE_WITHIN:
        note(f"edgefed: devices and simulation differ by more than {AGREE_WITHIN:g}")
        raise typer.Exit(1)


def status(folder: Folder, insecure: Insecure = False, output: OutputFormat = Format.text) -> None:
    """List a deployment's devices: connected, last seen, rows, rounds taken part in, last error."""
    from edgefed.deploy.folder import Deployment
    from edgefed.deploy.status import devices_of

    rows = devices_of(Deployment.read(folder), insecure=insecure)
    if output is Format.json:
        print_json({"devices": rows})
    else:
        show_devices(rows)


def doctor(
    folder: Annotated[Path | None, typer.Argument(help="A deployment's folder, or a device's own.")] = None,
    data: Annotated[Path | None, typer.Option(help="A device's rows.", metavar="FILE.csv")] = None,
    label: Annotated[
        str, typer.Option(help="Their label column, as for launch-device (default: the last).", show_default=False)
    ] = "",
    profile: Annotated[
        Path | None,
        typer.Option(help="Instead, measure how fast this machine trains, for device-profiles.", metavar="FILE.toml"),
    ] = None,
    settings: Settings = None,
    output: OutputFormat = Format.text,
) -> None:
    """Check this machine, and the server or device whose folder it is; each line says what mends it."""
    if profile is not None:
        from edgefed.api.profile import write_profile

        found = asdict(write_profile(profile))
        if output is Format.json:
            print_json({"profile": str(profile), "this-machine": found})
        note(f"{profile}: a step takes {1e6 * found['step_seconds']:.0f} us and {found['flops'] / 1e9:.3g} Gflop/s")
        note(f"-s devices=this-machine -s device-profiles={profile} uses it; power and bandwidth are yours to put in")
        return
    from edgefed.deploy.doctor import BAD, examine

    if label and data is None:
        raise SettingsError(f"--label {shown(label)}: of which rows? give --data FILE.csv too")
    given = read_settings(None, settings or ()) | ({"label-column": label} if label else {})
    findings = []
    for finding in examine(folder, data, given):
        findings.append(finding)
        if output is Format.text:
            mark = {"ok": "ok     ", "warning": "beware ", BAD: "PROBLEM"}[finding.state]
            typer.echo(f"{mark} {finding.check}: {finding.found}{f'  ->  {finding.mend}' if finding.mend else ''}")
    bad = sum(finding.state == BAD for finding in findings)
    if output is Format.json:
        print_json({"well": not bad, "findings": [asdict(finding) for finding in findings]})
    if bad:
        raise typer.Exit(1)
