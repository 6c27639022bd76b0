"""Set up and run: `python3 bootstrap.py [OPTIONS] VERB [ARGUMENTS]`; `make VERB` calls this.

verbs
  demo         a swarm of hospitals on real patients, with its report
  test         the fast suite (pytest arguments may follow, e.g. test -m slow)
  test-lowest  the same, without torch, on the oldest versions pyproject.toml admits
  lint type    format, rules and import contract; mypy
  docs bench   the documentation into ./site, with its tests; the benchmarks
  lock         write constraints.txt from a fresh environment of the lowest Python
  wheelhouse   fetch every wheel into ./wheelhouse, for a place without internet
  clean        remove what this file made
options
  --no-torch        everything but neural networks; an environment of its own, .venv-no-torch
  --cuda            torch for NVIDIA GPUs (gigabytes), also where no GPU is seen
  --offline FOLDER  install from a wheelhouse, never from a network

Makes `.venv` beside this file once, installs what the verb needs, runs it there and passes its exit
code on. Standard library only. The syntax is that of Python 3.8, so that an old Python answers with a
sentence instead of a syntax error. What is to be done is decided by functions without side effects
(`*_plan`, `read_line`); what is done goes through `call`, which the tests replace.
"""

import collections
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LOWEST, HIGHEST = (3, 11), (3, 13)
TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
BUILD = ["hatchling", "editables"]  # what an editable install fetches besides; a wheelhouse must hold it
NO_CPU_TORCH = """the CPU build of torch could not be fetched. Ways out:
  PIP_FIND_LINKS=FOLDER make VERB    a folder with a torch wheel in it
  make VERB ARGS=--cuda              the GPU build from the usual index: gigabytes
  make VERB ARGS=--no-torch          everything but neural networks"""

LINT_IMPORTS = "from importlinter.cli import lint_imports_command as lint; lint()"
TESTS = ["-m", "pytest", "-n", "auto", "--maxprocesses", "8", "--dist", "worksteal", "-m", "not slow and not long"]
COMMANDS = {
    "demo": [["-m", "cohortium", "demo"]],
    "test": [TESTS],
    "test-lowest": [TESTS],
    "lint": [["-m", "ruff", "format", "--check", "."], ["-m", "ruff", "check", "."], ["-c", LINT_IMPORTS]],
    "type": [["-m", "mypy"]],
    "docs": [["-m", "mkdocs", "build", "--strict", "-q"], ["-m", "pytest", "-q", "tests/house/test_docs.py"]],
    "bench": [["-m", "benchmarks"]],
}
VERBS = list(COMMANDS) + ["lock", "wheelhouse", "clean"]
FLAGS = ("--no-torch", "--cuda")
ENVIRONMENTS = (".venv", ".venv-no-torch", ".venv-lock", ".venv-lowest")

Line = collections.namedtuple("Line", "verb flags offline arguments")
Place = collections.namedtuple("Place", "folder python stamp")


class Stop(Exception):
    """What cannot go on, as a sentence for the person at the keyboard, and the exit code."""

    def __init__(self, text, code=2):
        super().__init__(text)
        self.code = code


# --- deciding: no side effects ---------------------------------------------------------------------


def read_line(arguments):
    """The command line as (verb, flags, wheelhouse folder or None, the verb's own arguments).

    Our options may stand on either side of the verb, because `make VERB ARGS=...` appends them.
    """
    flags, offline, rest = [], None, []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--offline":
            if not waiting:
                raise Stop("--offline needs the folder that `make wheelhouse` wrote")
            offline = os.path.abspath(waiting.pop(0))
        elif word in FLAGS:
            flags.append(word)
        else:
            rest.append(word)
    if not rest:
        raise Stop(__doc__.strip())
    if rest[0] not in VERBS:
        raise Stop("unknown verb %r; known: %s; options: %s --offline" % (rest[0], " ".join(VERBS), " ".join(FLAGS)))
    return Line(rest[0], tuple(sorted(set(flags))), offline, rest[1:])


def python_problem(version, others=()):
    """A sentence when this Python is too old or too new, else ''. `others`: fitting ones on the path."""
    if LOWEST <= tuple(version[:2]) <= HIGHEST:
        return ""
    known = "try: make VERB PYTHON=%s" % others[0] if others else "install one of those and run again"
    return "cohortium needs Python 3.11, 3.12 or 3.13; this is %d.%d; %s" % (version[0], version[1], known)


def place_of(line):
    """The environment a command line uses: its folder, its Python and its stamp file.

    Without torch is a place of its own, so that switching neither reinstalls nor leaves torch lying about.
    """
    special = {"lock": ".venv-lock", "test-lowest": ".venv-lowest"}
    name = special.get(line.verb, ".venv-no-torch" if "--no-torch" in line.flags else ".venv")
    folder = os.path.join(HERE, name)
    script = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return Place(folder, os.path.join(folder, *script), os.path.join(folder, "cohortium-stamp.json"))


def extra_of(line):
    """Which extra of pyproject.toml the verb needs."""
    if line.verb == "test-lowest":
        return "dev-core"
    if line.verb in ("demo", "clean"):
        return "evm,dp,demo-data" if "--no-torch" in line.flags else "demo"
    return "dev-core" if "--no-torch" in line.flags else "dev"


def torch_plan(present, cuda, wheel_at_hand, gpu, platform):
    """How torch is had: ("nothing" | "configured" | "cpu-index", why).

    present: the version already installed, '' for none. wheel_at_hand: pip finds one without any index.
    """
    fits = present.split("+")[0] == TORCH.split("==")[1]
    if fits and not (cuda and present.endswith("+cpu")):
        return "nothing", "torch %s is here" % present
    if wheel_at_hand:
        return "configured", "a torch wheel lies in a folder pip knows"
    if cuda or gpu or platform != "linux":
        return "configured", "torch from the configured index, which has the build for this machine"
    return "cpu-index", "no NVIDIA GPU here: torch from PyTorch's CPU index"


def install_plan(line, lowest=()):
    """The pip arguments of the last step, after torch."""
    offline = ["--no-index", "--find-links", line.offline] if line.offline else []
    pins = ["-c", os.path.join(HERE, "constraints.txt")]
    if line.verb == "lock":
        pins = [TORCH]
    elif line.verb == "test-lowest":
        pins = list(lowest)
    return ["install", "-qq", *offline, *pins, "-e", "%s[%s]" % (HERE, extra_of(line))]


def wheelhouse_plan(line, folder):
    """The pip arguments that fill a wheelhouse; torch comes before, by the same branches as an install."""
    pins = ["-c", os.path.join(HERE, "constraints.txt"), "--find-links", folder]
    return ["download", "-qq", "-d", folder, *pins, *BUILD, "%s[%s]" % (HERE, extra_of(line))]


def lowest_plan(project):
    """`name==bound` for every run-time requirement of a parsed pyproject.toml, extras included.

    Not torch: its old builds for Linux come with gigabytes of CUDA, or from an index that is asked for no other verb.
    """
    extras = project["project"]["optional-dependencies"]
    wanted = list(project["project"]["dependencies"])
    for name in ("evm", "frames", "demo-data"):
        wanted += extras[name]
    found = (re.match(r"([A-Za-z0-9_.-]+)[>=]=([0-9][^,]*)", one) for one in wanted)
    return ["%s==%s" % match.groups() for match in found]


def constraints_text(frozen):
    """`pip freeze` as constraints: exact versions without local labels, CUDA parts, or the project itself."""
    lines = [line.split("+")[0] for line in frozen.splitlines() if re.match(r"[A-Za-z0-9_.-]+==", line)]
    kept = [line for line in lines if not re.match(r"nvidia[-_]|cuda[-_]|triton=", line)]
    head = "# Versions the suite passes with on Python 3.11 to 3.13; written by `make lock`.\n"
    return head + "\n".join(kept) + "\n"


def stamp_of(line):
    """What an environment was made from; equal stamps need no set-up."""
    content = hashlib.sha256()
    origin = ["pyproject.toml", "bootstrap.py"] + ([] if line.verb == "lock" else ["constraints.txt"])
    for name in origin:
        try:
            with open(os.path.join(HERE, name), "rb") as file:
                content.update(file.read())
        except FileNotFoundError:
            raise Stop("%s is missing beside bootstrap.py; this is not a whole checkout" % name) from None
    place = {"python": sys.version, "folder": HERE}
    return {"files": content.hexdigest(), "place": place, "cuda": "--cuda" in line.flags, "extras": [extra_of(line)]}


def covers(found, wanted):
    """Whether an environment with stamp `found` serves `wanted`: same origin, and no extra is missing."""
    if not found or any(found.get(key) != wanted[key] for key in ("files", "place")):
        return False
    has = found.get("extras", [])
    everything = (
        {"dev", "demo"} if "dev" in has else {"dev-core", "evm,dp,demo-data"} if "dev-core" in has else set(has)
    )
    return wanted["extras"][0] in everything and found.get("cuda", False) >= wanted["cuda"]


# --- doing -----------------------------------------------------------------------------------------


def say(text):
    print(text, file=sys.stderr, flush=True)


def call(command, silent=False):
    """Run a command; its exit code. What it prints goes to stderr, or nowhere."""
    where = subprocess.DEVNULL if silent else sys.stderr
    return subprocess.run(command, stdout=where, stderr=where, check=False).returncode


def answer(command):
    """Run a command; what it printed, '' when it failed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True)
    return done.stdout if done.returncode == 0 else ""


def pip(place, *arguments):
    return [place.python, "-m", "pip", "--disable-pip-version-check", *arguments]


def read_stamp(place):
    try:
        with open(place.stamp) as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def make_environment(place, found, wanted, call=call):
    """`python -m venv`; over an interrupted one, or from scratch when Python or folder changed."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise Stop("this Python cannot make virtual environments; on Debian: apt install python3-venv") from None
    fresh = ["--clear"] if found and found.get("place") != wanted["place"] else []
    if call([sys.executable, "-m", "venv", *fresh, place.folder]):
        raise Stop("%s could not be made; on Debian: apt install python3-venv" % place.folder, 1)


def get_torch(place, line, how, call=call, answer=answer):
    """Install or download (`how`) torch by the branch that fits; never gigabytes unasked."""
    version = "from importlib.metadata import version; print(version('torch'))"
    present = answer([place.python, "-c", version]).strip() if how == ["install"] else ""
    probe = ["install", "--dry-run", "--ignore-installed", "--no-index", "--no-deps", "--report", "-", TORCH]
    at_hand = call(pip(place, *probe), silent=True) == 0
    gpu = shutil.which("nvidia-smi") is not None
    way, why = torch_plan(present, "--cuda" in line.flags, at_hand, gpu, sys.platform)
    say(why)
    if way == "configured" and call(pip(place, *how, "-qq", "--no-deps", TORCH)):
        raise Stop("torch could not be fetched; without neural networks: make %s ARGS=--no-torch" % line.verb, 1)
    if way == "cpu-index":
        impatient = ["--retries", "1", "--timeout", "15", "--index-url", CPU_INDEX]
        if call(pip(place, *how, "-qq", "--no-deps", *impatient, TORCH)):
            raise Stop(NO_CPU_TORCH.replace("VERB", line.verb), 1)


def set_up(line, call=call, answer=answer):
    """Make the environment the line needs, unless its stamp says it is there. Returns its place."""
    place, wanted = place_of(line), stamp_of(line)
    found = read_stamp(place)
    if covers(found, wanted):
        return place
    began = time.time()
    say("setting up %s (once; minutes)" % place.folder)
    make_environment(place, found, wanted, call)
    if os.path.exists(place.stamp):
        os.remove(place.stamp)  # from here on half made, until the new stamp is written
    if line.offline and not os.path.isdir(line.offline):
        raise Stop("no wheelhouse at %s; make one where there is internet: make wheelhouse" % line.offline)
    if "--no-torch" not in line.flags and not line.offline and line.verb not in ("test-lowest", "wheelhouse"):
        get_torch(place, line, ["install"], call, answer)
    if line.verb != "wheelhouse" and call(pip(place, *install_plan(line, read_lowest(line)))):
        raise Stop("pip could not install cohortium; its own words are above", 1)
    if line.verb != "wheelhouse":
        with open(place.stamp, "w") as file:
            json.dump(wanted, file)
    say("set up in %.0f s" % (time.time() - began))
    return place


def read_lowest(line):
    if line.verb != "test-lowest":
        return ()
    import tomllib  # from Python 3.11 on, and no older one comes here

    with open(os.path.join(HERE, "pyproject.toml"), "rb") as file:
        return lowest_plan(tomllib.load(file))


def lock(line):
    """Write constraints.txt; only from the lowest Python, whose newest versions every later one has too."""
    if sys.version_info[:2] != LOWEST:
        raise Stop("constraints.txt is written from Python %d.%d: make lock PYTHON=python3.11" % LOWEST)
    shutil.rmtree(place_of(line).folder, ignore_errors=True)
    place = set_up(line)
    text = constraints_text(answer(pip(place, "freeze", "--exclude-editable")))
    with open(os.path.join(HERE, "constraints.txt"), "w") as file:
        file.write(text)
    shutil.rmtree(place.folder)
    return 0


def fill_wheelhouse(line, call=call):
    """Every wheel `demo` and `test` need, for `--offline`, by this Python and for this kind of machine."""
    place = set_up(line, call)
    folder = os.path.join(HERE, "wheelhouse")
    if "--no-torch" not in line.flags:
        get_torch(place, line, ["download", "-d", folder], call)
    return call(pip(place, *wheelhouse_plan(line, folder)))


def outlast(command):
    """Run a command to its own end, also after Ctrl-C: it was told too, and may still be saving.

    Compiled modules are kept whatever the shell says: the tests start hundreds of Pythons, and each would compile anew.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(command, cwd=HERE, env=kept)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def run(place, line):
    """The verb's commands one after another, up to the first that fails; arguments go to the last."""
    commands = COMMANDS[line.verb]
    for command in commands:
        more = line.arguments if command is commands[-1] else []
        code = outlast([place.python, *command, *more])
        if code:
            return code if code > 0 else 128 - code
    return 0


def main(arguments):
    try:
        others = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
        problem = python_problem(sys.version_info, others)
        if problem:
            raise Stop(problem)
        line = read_line(arguments)
        if line.verb == "clean":
            for name in ENVIRONMENTS:
                shutil.rmtree(os.path.join(HERE, name), ignore_errors=True)
            return 0
        if line.verb == "lock":
            return lock(line)
        if line.verb == "wheelhouse":
            return fill_wheelhouse(line)
        return run(set_up(line), line)
    except Stop as stop:
        say(str(stop))
        return stop.code
    except KeyboardInterrupt:
        say("interrupted; the next call goes on")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
