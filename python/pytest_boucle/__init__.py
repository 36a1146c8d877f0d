"""The options of boucle's pytest plugin.

pytest imports this in every run of an environment in which boucle is installed. So it stands outside of the package
``boucle``, whose import would load the native module, and imports it only when an option asks for it.
"""


def pytest_addoption(parser):
    """Add our options."""
    group = parser.getgroup("boucle", "event loops (boucle)")
    group.addoption(
        "--boucle",
        action="store_true",
        help="every new event loop of the run is boucle's; the options below ask for it too",
    )
    group.addoption(
        "--boucle-max-block",
        metavar="TIME",
        help="fail a test during which a step of a boucle loop held the processor for longer: 50ms, 0.05s or 0.05",
    )
    group.addoption(
        "--boucle-record",
        metavar="DIR",
        help="save the chronology of each test that ran a boucle loop in this folder",
    )


def pytest_configure(config):
    """Say what our marker is, and load the rest if it is wanted."""
    config.addinivalue_line(
        "markers",
        "boucle_max_block(time): how long a step of a boucle loop may hold the processor in this test, as in "
        '"200ms"; None for as long as it likes. For runs with one of the options --boucle...',
    )
    option = config.option
    if option.boucle or option.boucle_max_block or option.boucle_record:
        from boucle._pytest import Plugin

        config.pluginmanager.register(Plugin(config), "boucle-run")
