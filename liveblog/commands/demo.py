"""The command `liveblog demo`.

Rules: this module reads the options and prints the result; commands/story.py publishes. Slow
modules are imported inside functions only: the docstring of commands/main.py has the reason.
"""

from typing import TYPE_CHECKING

import click

from liveblog.clock import now_ms
from liveblog.commands.oneshot import quiet_settings, with_store
from liveblog.settings import Settings

if TYPE_CHECKING:
    from liveblog.editors.publishing import Publishing
    from liveblog.store.nodes import Nodes


@click.command()
@click.option("--replay", is_flag=True, help="Publish live into a new blog, entry by entry.")
@click.option("--gap", default=3.0, show_default=True, help="Seconds between replayed changes.")
def demo(replay: bool, gap: float) -> None:
    """Fill the sample blog. A second call changes nothing.

    When there is no user yet, also create the user `editor`, an admin, and print the password.
    """
    from liveblog.commands import story
    from liveblog.store.accounts import Accounts

    chosen = quiet_settings()
    if replay:
        with_store(
            chosen,
            lambda nodes: story.replay(_publishing(nodes, chosen), gap, report=click.echo),
            must_run=True,
        )
        return
    made = with_store(
        chosen,
        lambda nodes: story.fill(_publishing(nodes, chosen), Accounts(nodes, now_ms)),
    )
    click.echo(f"page: {chosen.site_url}/blogs/{story.MAIN}")
    click.echo(f"desk: {chosen.site_url}/desk")
    if made:
        click.echo(f"sign in as {made[0]} with the password {made[1]}")


def _publishing(nodes: "Nodes", chosen: Settings) -> "Publishing":
    from liveblog.editors.publishing import Publishing
    from liveblog.store.broker import Broker

    return Publishing(Broker(nodes, wait_for_replica=chosen.durability == "replica"), now_ms)
