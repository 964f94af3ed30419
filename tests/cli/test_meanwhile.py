"""`enalysis connection meanwhile`: begun, listed, ended, and refused where nothing waits."""

from tests.cli.conftest import Terminal, Vendors, connect


async def test_only_a_waiting_connection_gets_simulated_sites(shell: Terminal, vendors: Vendors) -> None:
    """A connection that works is told that it does not wait; ending what was never begun deletes nothing."""
    [made] = await connect(shell, vendors, "lapsed")
    said = await shell.run("connection", "meanwhile", made)
    assert said.code == 1
    assert "does not wait for" in said.err
    assert await shell.json("connection", "meanwhile", made, "--end") == {"sandbox": True, "sites": 0}
    said = await shell.run("connection", "meanwhile", "lapsed", "--end")
    assert "0 simulated sites deleted" in said.err
