"""Libraries that are preloaded into processes of the tests, compiled with the machine's compiler."""

import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def preloaded(name: str, directory: Path) -> Path:
    """Compile one of the libraries beside this file."""
    library = directory / f"{name}.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", library, HERE / f"{name}.c", "-ldl"], check=True)
    return library
