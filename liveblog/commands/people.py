"""The commands `liveblog user` and `liveblog token`.

Rules: this module reads the options and prints the result; `Accounts` reads and writes
the store. Slow modules are imported inside functions only: the docstring of commands/main.py has
the reason.
"""

import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from liveblog.blog.model import ROLES, Role
from liveblog.clock import now_ms
from liveblog.commands.oneshot import print_rows, quiet_settings, with_store
from liveblog.settings import Settings

if TYPE_CHECKING:
    from liveblog.store.accounts import Accounts, Token
    from liveblog.store.users import User

T = TypeVar("T")

_role = click.option("--role", type=click.Choice(ROLES), default="editor", show_default=True)
_blogs = click.option(
    "--blog", "blogs", metavar="SLUG", multiple=True, help="Only this blog. May be repeated."
)


@click.group()
def user() -> None:
    """Add, list and alter the users of the desk."""


@user.command("add")
@click.argument("name")
@_role
@_blogs
def user_add(name: str, role: Role, blogs: tuple[str, ...]) -> None:
    """Add a user. The password is prompted for, or read from one line of standard input."""
    chosen = quiet_settings()
    # Read first, because an embedded store is locked while this command has the store open.
    password = _password()

    async def add(accounts: "Accounts") -> None:
        await accounts.check_blogs(blogs)
        await accounts.people.add(name, password, role, blogs)

    _with_accounts(chosen, add)
    click.echo(f"{name} can sign in: {role}, {_bound(blogs)}", err=True)


@user.command("list")
def user_list() -> None:
    """List the users."""
    _print_accounts(lambda accounts: accounts.users())


@user.command("disable")
@click.argument("name")
def user_disable(name: str) -> None:
    """Reject a user from now on and end all the user's sessions."""
    _with_accounts(quiet_settings(), lambda accounts: accounts.people.disable(name))
    click.echo(f"{name} can no longer sign in", err=True)


@user.command("enable")
@click.argument("name")
def user_enable(name: str) -> None:
    """Admit a disabled user again. The sessions from before stay ended."""
    _with_accounts(quiet_settings(), lambda accounts: accounts.people.enable(name))
    click.echo(f"{name} can sign in again", err=True)


@user.command("password")
@click.argument("name")
def user_password(name: str) -> None:
    """Set a new password, which is prompted for, or read from one line of standard input.

    Ends all the user's sessions, and the marks of browsers in which the user signed in.
    """
    chosen = quiet_settings()
    password = _password()  # read first, as in `user add`
    _with_accounts(chosen, lambda accounts: accounts.people.set_password(name, password))
    click.echo(f"{name} has a new password, and must sign in again everywhere", err=True)


@user.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
def user_role(name: str, role: Role) -> None:
    """Give a user another role, which open sessions have at once."""
    _with_accounts(quiet_settings(), lambda accounts: accounts.people.set_role(name, role))
    click.echo(f"{name} is now {role}", err=True)


@click.group()
def token() -> None:
    """Create, list and revoke the tokens with which scripts call the API."""


@token.command("create")
@click.argument("name")
@_role
@_blogs
def token_create(name: str, role: Role, blogs: tuple[str, ...]) -> None:
    """Create a token and print its secret. No later command prints it."""
    chosen = quiet_settings()

    async def create(accounts: "Accounts") -> str:
        await accounts.check_blogs(blogs)
        return await accounts.create_token(name, role, blogs)

    secret = _with_accounts(chosen, create)
    click.echo(secret)
    click.echo(f"{name} can call the API: {role}, {_bound(blogs)}", err=True)


@token.command("list")
def token_list() -> None:
    """List the tokens, without their secrets."""
    _print_accounts(lambda accounts: accounts.tokens())


@token.command("revoke")
@click.argument("name")
def token_revoke(name: str) -> None:
    """Reject a token from now on."""
    _with_accounts(quiet_settings(), lambda accounts: accounts.revoke_token(name))
    click.echo(f"{name} can no longer call the API", err=True)


def _password() -> str:
    """Return a new password: prompted for twice on a terminal, else one line of standard input."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    try:
        line = sys.stdin.buffer.readline().decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise click.ClickException("the password on standard input is not UTF-8") from None
    if not line:
        raise click.ClickException("standard input has no line with a password")
    return line


def _print_accounts(ask: "Callable[[Accounts], Awaitable[Sequence[User | Token]]]") -> None:
    """Print a row for each intact account, then fail if other accounts are corrupt."""
    from liveblog.store.accounts import DamagedAccounts

    try:
        print_rows(map(_account_row, _with_accounts(quiet_settings(), ask)))
    except DamagedAccounts as damaged:
        print_rows(map(_account_row, damaged.others))
        raise


def _with_accounts(chosen: Settings, ask: "Callable[[Accounts], Awaitable[T]]") -> T:
    """Call a function with the accounts in the configured store, and return its result."""
    from liveblog.store.accounts import Accounts

    return with_store(chosen, lambda nodes: ask(Accounts(nodes, now_ms)))


def _account_row(listed: "User | Token") -> tuple[str, str, str]:
    is_disabled = getattr(listed, "disabled", False)
    role = f"{listed.role} (disabled)" if is_disabled else listed.role
    return listed.name, role, _bound(listed.blogs)


def _bound(blogs: Iterable[str]) -> str:
    return ", ".join(blogs) or "all blogs"
