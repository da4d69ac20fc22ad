"""The commands of a Dockerfile, run in a folder of their own where there is no Docker.

    python docker/exercise.py [--dockerfile docker/Dockerfile.cpu] [--root DIR] [--list]

COPY and RUN lines are read from the Dockerfile, so that they cannot drift from it. Absolute paths
that the image makes for itself become paths below the root. Lines that would change this machine
(users, packages of the system) are named and left out. Then the entry point and the health check
run with the environment of the image, and ``ctdenoise run`` denoises the sample series: with no
network, and as a user without rights, where this machine allows it. It takes minutes.

This is not a build of the image: the base is the Python and the system at hand.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
OWN_PATHS = (
    "/opt/ctdenoise",
    "/src",
    "/var/lib/ctdenoise",
    "/var/cache/ctdenoise",
    "/usr/share/doc/ctdenoise",
)
"""What the image makes for itself; everything else belongs to its base."""

CHANGES_THE_SYSTEM = ("apt-get", "groupadd", "useradd")
USER = 10001


@dataclass(frozen=True)
class Instruction:
    """A line of a Dockerfile, with its continuations, and the stage (from 0) that it is in."""

    name: str
    value: str
    stage: int

    @property
    def words(self) -> list[str]:
        """The value's words; those of a JSON list are its items."""
        if self.value.startswith("["):
            return [str(word) for word in json.loads(self.value)]
        return self.value.split()


def parse(dockerfile: Path) -> list[Instruction]:
    """The instructions of a Dockerfile; what is before the first FROM is in stage -1."""
    found: list[Instruction] = []
    stage = -1
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, _, value = line.strip().partition(" ")
        stage += name == "FROM"
        found.append(Instruction(name, value.strip(), stage))
    return found


def sources(instruction: Instruction) -> list[str]:
    """What a COPY takes from the repository; nothing where it copies from another stage."""
    words = [word for word in instruction.words if not word.startswith("--")]
    return [] if "--from=" in instruction.value else words[:-1]


def assignments(value: str) -> Iterator[tuple[str, str]]:
    """Names and values of an ENV or LABEL line."""
    for name, quoted, plain in re.findall(r'([\w.]+)=(?:"([^"]*)"|(\S*))', value):
        yield name, quoted or plain


class Exercise:
    """Runs instructions with ``root`` in the place of the image's own paths."""

    def __init__(self, root: Path, torch_index: str) -> None:
        self._root = root
        self._arguments = {"TORCH_INDEX": torch_index}
        self.environment: dict[str, str] = {}
        self._folder = root
        self.done: list[str] = []
        self.left_out: list[str] = []

    def moved(self, text: str) -> str:
        """``text`` with the image's own paths below the root."""
        paths = "|".join(OWN_PATHS)
        return re.sub(rf"(?<![\w/.])({paths})(?=$|[\s/:'\"])", rf"{self._root}\1", text)

    def do(self, instruction: Instruction) -> None:
        """One instruction; those that say nothing to a shell are taken note of, or passed over."""
        if instruction.name == "FROM":
            self.environment = {}
        elif instruction.name == "ENV":
            self.environment |= {
                name: self.moved(value) for name, value in assignments(instruction.value)
            }
        elif instruction.name == "WORKDIR":
            self._folder = Path(self.moved(instruction.value))
            self._folder.mkdir(parents=True, exist_ok=True)
        elif instruction.name == "COPY":
            self._copy(instruction)
        elif instruction.name == "RUN":
            self._run(instruction)

    def _copy(self, instruction: Instruction) -> None:
        *_, target = instruction.words
        if "--from=" in instruction.value:
            # Both stages have the same root: it is there already.
            assert instruction.words[-2] == target, instruction
            assert Path(self.moved(target)).exists(), instruction
            return
        names = sources(instruction)
        to = self._folder / self.moved(target)
        for name in names:
            path = REPOSITORY / name
            into = to / path.name if len(names) > 1 or target.endswith("/") else to
            into.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, into, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy(path, into)
        self.done.append(f"COPY {instruction.value}")

    def _run(self, instruction: Instruction) -> None:
        command = self.moved(instruction.value)
        if any(word in CHANGES_THE_SYSTEM for word in instruction.words):
            self.left_out.append(f"RUN {instruction.value}")
            return
        if os.geteuid() != 0:
            command = command.replace(f"-o {USER} -g {USER} ", "")
        print(f"+ {command}", flush=True)
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self._folder,
            env=_build_environment() | self._arguments | self.environment,
            check=True,
        )
        self.done.append(f"RUN {instruction.value}")


def _build_environment() -> dict[str, str]:
    """What a build needs of this machine: its Python, and how pip reaches its packages."""
    python = sysconfig.get_path("scripts", vars={"base": sys.base_prefix})
    kept = ("HOME", "PIP_", "SSL_", "REQUESTS_", "http", "https", "HTTP", "no_proxy", "NO_PROXY")
    return {"PATH": f"{python}:/usr/local/bin:/usr/bin:/bin"} | {
        name: value for name, value in os.environ.items() if name.startswith(kept)
    }


class Image:
    """What was made, to be run as a container would run it."""

    def __init__(self, environment: dict[str, str], home: Path) -> None:
        self._environment = environment | {"HOME": str(home), "OMP_NUM_THREADS": "1"}
        self._home = home
        self._prefix: list[str] = []
        self._user: int | None = None
        if _succeeds(["unshare", "-n", "true"]):
            self._prefix = ["unshare", "-n"]
        if os.geteuid() == 0 and self._allows(USER):
            self._user = USER

    def _allows(self, user: int) -> bool:
        """Whether another user can reach the Python that is used here."""
        return _succeeds([sys.executable, "-c", ""], user=user)

    def describe(self) -> str:
        """What of the image's isolation could be had."""
        network = "without a network" if self._prefix else "with this machine's network"
        who = f"as user {self._user}" if self._user else "as this machine's user"
        return f"{network}, {who}"

    def run(self, command: Sequence[str]) -> str:
        """Run a command as the image would; gives what it says."""
        print(f"+ {' '.join(command)}", flush=True)
        words = list(command)
        if self._user:
            # Behind unshare, which needs the rights that this gives up.
            words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *words]
        finished = subprocess.run(
            [*self._prefix, *words],
            cwd=self._home,
            env=self._environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return finished.stdout


def _succeeds(command: Sequence[str], *, user: int | None = None) -> bool:
    try:
        return subprocess.run(command, user=user, capture_output=True, cwd="/").returncode == 0
    except OSError:
        return False


def exercise(dockerfile: Path, root: Path, torch_index: str) -> None:
    """Do it, and say what was done and what was not."""
    instructions = parse(dockerfile)
    made = Exercise(root, torch_index)
    for instruction in instructions:
        made.do(instruction)
    of = {instruction.name: instruction for instruction in instructions}
    home = Path(made.moved("/var/lib/ctdenoise"))
    image = Image(made.environment, home)
    health = Instruction("CMD", of["HEALTHCHECK"].value.partition("CMD ")[2], -1)
    version = image.run(health.words)
    sample, output = home / "sample_dicom", home / "out"
    shutil.copytree(REPOSITORY / "sample_dicom", sample, dirs_exist_ok=True)
    shutil.rmtree(output, ignore_errors=True)
    image.run([*of["ENTRYPOINT"].words, "run", "--input", str(sample), "--output", str(output)])
    slices = len(list(output.rglob("*.dcm")))
    assert slices == len(list(sample.glob("*.dcm"))), f"{slices} slices"
    print(f"\n{version.strip()}: {slices} slices denoised, {image.describe()}")
    print(f"{len(made.done)} lines of {dockerfile.name} were exercised. Left out:")
    print("\n".join(f"  {line}" for line in made.left_out))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the commands of a Dockerfile without Docker.")
    parser.add_argument(
        "--dockerfile", type=Path, default=REPOSITORY / "docker" / "Dockerfile.cpu", metavar="FILE"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="is kept (default: a temporary)")
    parser.add_argument(
        "--torch-index",
        default="https://pypi.org/simple",
        metavar="URL",
        help="of PyTorch; this machine's pip settings hold beside it",
    )
    parser.add_argument("--list", action="store_true", help="print the lines, and do nothing")
    options = parser.parse_args()
    if options.list:
        for instruction in parse(options.dockerfile):
            print(f"{instruction.stage:2} {instruction.name} {instruction.value}")
        return
    if options.root is not None:
        options.root.mkdir(parents=True, exist_ok=True)
        exercise(options.dockerfile, options.root.resolve(), options.torch_index)
        return
    with tempfile.TemporaryDirectory(prefix="ctdenoise-image-") as folder:
        Path(folder).chmod(0o755)
        exercise(options.dockerfile, Path(folder).resolve(), options.torch_index)


if __name__ == "__main__":
    main()
