"""The page of a run under secure aggregation says that the server saw sums, and of whom it does not know steps."""

import edgefed
from edgefed.config import FederationConfig
from edgefed.report.page.clients import taking_part
from edgefed.report.page.leaving import leaving
from edgefed.report.page.moved import moved
from edgefed.report.timeline import timeline_of
from edgefed.runs import Run


def test_the_page_of_sums(tmp_path):
    config = FederationConfig(num_clients=4, partition="iid", num_server_rounds=2)
    pages, spent = {}, {}
    for privacy in ("none", "secagg"):
        folder = tmp_path / privacy
        edgefed.run(config.replace(privacy=privacy), out=folder, progress=False)
        run = Run.read(folder)
        pages[privacy] = {section: repr(section_of(run)) for section, section_of in SECTIONS.items()}
        spent[privacy] = timeline_of(run, 2).times.compute

    assert "each client's trained weights" in pages["none"]["moved"]
    assert "the sums of the clients' updates" in pages["secagg"]["moved"]
    assert "trained weights" not in pages["secagg"]["moved"]
    assert "its update, with its say, rows, loss and steps, under masks" in pages["secagg"]["leaving"]
    assert "the server sees nothing but the sum over clients" in pages["secagg"]["leaving"]
    assert pages["secagg"]["clients"] != pages["none"]["clients"]
    assert spent["secagg"].tolist() == spent["none"].tolist()


SECTIONS = {"moved": moved, "leaving": leaving, "clients": taking_part}
