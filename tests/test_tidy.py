"""House rules that no linter knows, checked by reading the sources.

- A file has at most 600 lines, a function at most 70, and every module says what it is.
- DET-1, as far as reading can tell: nothing in the packages that take part in a run asks the wall clock,
  the operating system, the memory layout, hash order or the garbage collector. Sets are followed through
  names and `self` attributes of the function, class or module where they are made, and no further: what
  comes back from a call is not known to be a set. The rest is for the runs in processes of different hash
  seeds to find.
- A line may excuse itself with `# deterministic: reason`. The excuses are counted, and one that excuses
  nothing is an error.
- No tracked file names the machine it was written on.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "simkit"
SOURCES = sorted(PACKAGE.rglob("*.py"))

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
# A budget, not a target: raise it only together with a reason a reviewer accepts.
EXCUSES_MAX = 12

DETERMINISTIC_PACKAGES = ("kernel", "depot", "vfs", "pool", "check", "scenario")
RANDOM_SOURCE = "kernel/decisions.py"
THREAD_CARRIER = "kernel/baton.py"

# A name that ends in a dot stands for everything below it.
FORBIDDEN = {
    "_thread.": "threads",
    "concurrent.futures.": "threads",
    "datetime.date.today": "the wall clock",
    "datetime.datetime.now": "the wall clock",
    "datetime.datetime.today": "the wall clock",
    "datetime.datetime.utcnow": "the wall clock",
    "gc.": "the garbage collector",
    "multiprocessing.": "processes",
    "os.environ": "the environment",
    "os.getenv": "the environment",
    "os.getpid": "the process",
    "os.urandom": "the operating system's randomness",
    "random.": "randomness outside the decisions",
    "secrets.": "the operating system's randomness",
    "threading.": "threads",
    "time.": "the wall clock",
    "uuid.": "the machine and the clock",
    "weakref.finalize": "the garbage collector",
}
THREAD_MODULES = {"_thread.", "threading."}
MEMORY_LAYOUT = {"hash": "hash order", "id": "the memory layout"}
SET_TYPES = {"AbstractSet", "FrozenSet", "MutableSet", "Set", "frozenset", "set"}
SET_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor, ast.Sub)
SET_METHODS = {"copy", "difference", "intersection", "symmetric_difference", "union"}
# These keep the order in which they are given things.
ORDER_KEEPERS = {"enumerate", "filter", "iter", "list", "map", "reversed", "tuple", "zip"}
# What these make of a generator does not depend on its order.
ORDER_IGNORERS = {"all", "any", "frozenset", "set"}

EXCUSE = re.compile(r"#\s*deterministic:(?P<reason>.*)")

Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that a line of source may not do."""

    line: int
    message: str


def parents_of(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    """Map every node of the tree to the node that holds it."""
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Map each name that an import binds to the dotted name it stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted_name(node: ast.AST, imports: dict[str, str]) -> str | None:
    """Give the full name that `a.b.c` refers to, or None when it does not start at an import."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in imports:
        return None
    return ".".join([imports[node.id], *reversed(parts)])


def annotation_nodes(tree: ast.AST) -> set[ast.AST]:
    """Collect the nodes that only say what type something has."""
    roots: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            roots.append(node.annotation)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            roots.append(node.returns)
    return {inner for root in roots for inner in ast.walk(root)}


def bound_names(tree: ast.AST) -> set[str]:
    """Collect every name that the module itself gives a meaning to."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return names | set(imported_names(tree))


def is_permitted(name: str, module: str, *, called: bool, annotation: bool) -> bool:
    """Say whether this module may use what the name stands for although FORBIDDEN has it."""
    if name == "random.Random":
        return annotation or (called and module == RANDOM_SOURCE)
    return module == THREAD_CARRIER and f"{name.partition('.')[0]}." in THREAD_MODULES


def find_forbidden_names(tree: ast.AST, module: str) -> Iterator[Finding]:
    """Yield every use of a forbidden function, class or module, under whatever name it was imported."""
    imports = imported_names(tree)
    parents = parents_of(tree)
    annotations = annotation_nodes(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute | ast.Name) or isinstance(parents.get(node), ast.Attribute):
            continue
        name = dotted_name(node, imports)
        if name is None:
            continue
        parent = parents.get(node)
        called = isinstance(parent, ast.Call) and parent.func is node and bool(parent.args or parent.keywords)
        for forbidden, what in FORBIDDEN.items():
            reached = f"{name}.".startswith(f"{forbidden.rstrip('.')}.")
            if reached and not is_permitted(name, module, called=called, annotation=node in annotations):
                yield Finding(node.lineno, f"{name}: {what} must not reach a run")


def find_memory_layout(tree: ast.AST) -> Iterator[Finding]:
    """Yield every call of the built-in `id` or `hash`, and every place that hands them on."""
    bound = bound_names(tree)
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Name) or node.id not in MEMORY_LAYOUT:
            continue
        if node in called or (isinstance(node.ctx, ast.Load) and node.id not in bound):
            yield Finding(node.lineno, f"{node.id}(): {MEMORY_LAYOUT[node.id]} must not reach a run")


def scope_of(node: ast.AST, parents: dict[ast.AST, ast.AST], kinds: tuple[type[ast.AST], ...] = SCOPES) -> ast.AST:
    """Give the nearest enclosing node of these kinds, or the module."""
    while node in parents:
        node = parents[node]
        if isinstance(node, kinds):
            break
    return node


class SetSpotter:
    """Knows which expressions of one module are sets, by their form or by where their name was made."""

    def __init__(self, tree: ast.Module) -> None:
        self.parents = parents_of(tree)
        self.sets: set[tuple[ast.AST, str]] = set()
        self.others: set[tuple[ast.AST, str]] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign):
                self._learn(node.target, self._names_set_type(node.annotation))
            elif isinstance(node, ast.arg):
                key = (scope_of(node, self.parents), node.arg)
                is_set = node.annotation is not None and self._names_set_type(node.annotation)
                (self.sets if is_set else self.others).add(key)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    self._learn(target, self.is_set(node.value))

    def _names_set_type(self, annotation: ast.expr) -> bool:
        while isinstance(annotation, ast.Subscript):
            annotation = annotation.value
        name = annotation.attr if isinstance(annotation, ast.Attribute) else getattr(annotation, "id", None)
        return name in SET_TYPES

    def _learn(self, target: ast.expr, is_set: bool) -> None:
        key = self._key(target)
        if key is not None:
            (self.sets if is_set else self.others).add(key)

    def _key(self, node: ast.expr) -> tuple[ast.AST, str] | None:
        """Identify a name by its function or module, and `self.name` by its class."""
        if isinstance(node, ast.Name):
            scope = scope_of(node, self.parents)
            return scope, f"self.{node.id}" if isinstance(scope, ast.ClassDef) else node.id
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return scope_of(node, self.parents, (ast.ClassDef,)), f"self.{node.attr}"
        return None

    def is_set(self, node: ast.expr) -> bool:
        """Say whether the expression is known to be a set or a frozenset."""
        match node:
            case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
            case ast.BinOp(left=left, right=right, op=operator) if isinstance(operator, SET_OPERATORS):
                return self.is_set(left) or self.is_set(right)
            case ast.Call(func=ast.Attribute(value=value, attr=method)) if method in SET_METHODS:
                return self.is_set(value)
            case ast.Name() | ast.Attribute():
                return self._is_set_name(node)
        return False

    def _is_set_name(self, node: ast.Name | ast.Attribute) -> bool:
        key = self._key(node)
        if key is None:
            return False
        scope, name = key
        while (scope, name) not in self.sets | self.others and scope in self.parents:
            scope = scope_of(scope, self.parents)
        return (scope, name) in self.sets


def find_set_order(tree: ast.Module) -> Iterator[Finding]:
    """Yield every place where the order of a set decides something."""
    spotter = SetSpotter(tree)
    message = "the order of a set must not reach a run: sort it, or keep a list or dict"
    for node in ast.walk(tree):
        ordered: list[ast.expr] = []
        match node:
            case ast.For(iter=source) | ast.AsyncFor(iter=source) | ast.Starred(value=source):
                ordered = [source]
            case ast.ListComp() | ast.DictComp():
                ordered = [generator.iter for generator in node.generators]
            case ast.GeneratorExp() if not is_order_ignored(node, spotter.parents):
                ordered = [generator.iter for generator in node.generators]
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in ORDER_KEEPERS:
                ordered = arguments
            case ast.Call(func=ast.Attribute(attr="join" | "fromkeys" | "extend"), args=arguments):
                ordered = arguments
            case ast.Call(func=ast.Attribute(value=source, attr="pop"), args=[]):
                ordered = [source]
        for source in ordered:
            if spotter.is_set(source):
                yield Finding(source.lineno, message)


def is_order_ignored(generator: ast.GeneratorExp, parents: dict[ast.AST, ast.AST]) -> bool:
    """Say whether the generator goes straight into something whose result has no order."""
    match parents.get(generator):
        case ast.Call(func=ast.Name(id="sorted"), keywords=[]):
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in ORDER_IGNORERS
    return False


def excuses(source: str) -> dict[int, str]:
    """Map each line that carries `# deterministic: reason` to its reason, which may be empty."""
    found: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        excuse = EXCUSE.match(token.string) if token.type == tokenize.COMMENT else None
        if excuse is not None:
            found[token.start[0]] = excuse["reason"].strip()
    return found


def check_determinism(source: str, module: str) -> list[Finding]:
    """Check one module, named by its path below the package, and weigh its excuses."""
    tree = ast.parse(source)
    findings = {*find_forbidden_names(tree, module), *find_memory_layout(tree), *find_set_order(tree)}
    excused = excuses(source)
    kept = [finding for finding in findings if not excused.get(finding.line)]
    needed = {finding.line for finding in findings}
    for line, reason in excused.items():
        if not reason:
            kept.append(Finding(line, "`# deterministic:` without a reason"))
        elif line not in needed:
            kept.append(Finding(line, "`# deterministic:` excuses nothing on this line"))
    return sorted(kept)


def check_shape(source: str) -> list[Finding]:
    """Check the length of a file and of its functions, and that the module says what it is."""
    tree = ast.parse(source)
    line_count = len(source.splitlines())
    findings: list[Finding] = []
    if line_count > FILE_LINES_MAX:
        findings.append(Finding(line_count, f"{line_count} lines; a file has at most {FILE_LINES_MAX}"))
    if not ast.get_docstring(tree):
        findings.append(Finding(1, "the module does not say what it is: give it a docstring"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                message = f"{node.name} has {length} lines; a function has at most {FUNCTION_LINES_MAX}"
                findings.append(Finding(node.lineno, message))
    return sorted(findings)


def check_machine_names(text: str) -> list[Finding]:
    """Look for paths and hosts that hold only where a file was written."""
    directories = "|".join(["work", "root", r"home/\w+", r"Users/\w+"])
    hosts = "|".join(re.escape(host) for host in ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org"])
    pattern = re.compile(rf"(?<![\w.~*}}])/(?:{directories})/|\.\./shared\b|{hosts}")
    return [
        Finding(number, f"names a machine: {match.group()}")
        for number, line in enumerate(text.splitlines(), start=1)
        for match in pattern.finditer(line)
    ]


def report(path: Path, findings: list[Finding]) -> str:
    """Give the findings as lines that an editor can jump to."""
    name = path.relative_to(REPOSITORY).as_posix()
    return "\n".join(f"{name}:{finding.line}: {finding.message}" for finding in findings)


def deterministic_sources() -> list[Path]:
    """List the modules of the packages that take part in a run."""
    return [path for path in SOURCES if path.relative_to(PACKAGE).parts[0] in DETERMINISTIC_PACKAGES]


def repository_files() -> list[Path]:
    """List the files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a git checkout to know the project's files: {error}")
    paths = (REPOSITORY / name for name in listing.stdout.split("\0") if name)
    return sorted(path for path in paths if path.is_file())


def test_source_files_were_found() -> None:
    assert {path.relative_to(PACKAGE).parts[0] for path in SOURCES} >= set(DETERMINISTIC_PACKAGES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_is_short_and_says_what_it_is(path: Path) -> None:
    findings = check_shape(path.read_text("utf-8"))
    assert not findings, report(path, findings)


@pytest.mark.parametrize("path", deterministic_sources(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_is_deterministic(path: Path) -> None:
    findings = check_determinism(path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix())
    assert not findings, report(path, findings)


def test_excuses_stay_few() -> None:
    lines = [
        f"{path.relative_to(REPOSITORY).as_posix()}:{line}: {reason}"
        for path in deterministic_sources()
        for line, reason in excuses(path.read_text("utf-8")).items()
    ]
    assert len(lines) <= EXCUSES_MAX, "\n".join(lines)


def test_no_file_names_the_machine_it_was_written_on() -> None:
    reports = []
    for path in repository_files():
        try:
            findings = check_machine_names(path.read_text("utf-8"))
        except UnicodeDecodeError:
            continue
        if findings:
            reports.append(report(path, findings))
    assert not reports, "\n".join(reports)


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    quoted = re.findall(r'^bash -c "(.+)"$', (REPOSITORY / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    assert [command for command in quoted if command in (REPOSITORY / "README.md").read_text("utf-8")]


FIRES = {
    "wall clock": "import time\nx = time.time()",
    "monotonic clock": "from time import monotonic\nx = monotonic()",
    "renamed clock": "import time as clock\nx = clock.perf_counter()",
    "clock handed on": "from time import time_ns\nf(time_ns)",
    "now": "from datetime import datetime\nx = datetime.now()",
    "utcnow by module": "import datetime\nx = datetime.datetime.utcnow()",
    "today": "from datetime import date\nx = date.today()",
    "urandom": "import os\nx = os.urandom(8)",
    "environ": "import os\nx = os.environ['A']",
    "getenv": "from os import getenv\nx = getenv('A')",
    "uuid": "import uuid\nx = uuid.uuid4()",
    "secrets": "from secrets import token_bytes\nx = token_bytes(8)",
    "global random": "import random\nx = random.random()",
    "choice imported": "from random import choice\nx = choice([1, 2])",
    "generator outside decisions": "import random\nx = random.Random(7)",
    "system random": "import random\nx = random.SystemRandom(7)",
    "id": "x = id(object())",
    "id as a key": "x = sorted([], key=id)",
    "hash": "x = hash('a')",
    "for over a set display": "for x in {1, 2}: pass",
    "for over set()": "for x in set([1]): pass",
    "comprehension over frozenset()": "x = [y for y in frozenset([1])]",
    "dict comprehension over a set": "x = {y: 1 for y in {1, 2}}",
    "generator over a set": "x = sum(y for y in {1.5, 2.5})",
    "union": "for x in {1} | other: pass",
    "method of a set": "for x in {1}.union(other): pass",
    "list of a set": "x = list({1, 2})",
    "star": "x = [*{1, 2}]",
    "join": "x = ','.join({'a'})",
    "pop": "x = {1, 2}.pop()",
    "local name": "def f():\n    a = set()\n    for x in a: pass",
    "annotated argument": "def f(a: set[int]):\n    for x in a: pass",
    "module name": "A = frozenset({1})\ndef f():\n    for x in A: pass",
    "attribute": "class C:\n    def __init__(self):\n        self.a: set[int] = set()\n"
    "    def f(self):\n        for x in self.a: pass",
    "thread": "import threading\nx = threading.Thread()",
    "low-level thread": "import _thread\nx = _thread.allocate_lock()",
    "finalizer": "import weakref\nx = weakref.finalize(a, b)",
    "collector": "import gc\ngc.collect()",
    "excuse without a reason": "x = id(a)  # deterministic:",
    "excuse for nothing": "x = 1  # deterministic: it is a constant",
}

SILENT = {
    "simulated time": "x = kernel.now",
    "own method named time": "x = self.time()",
    "a date that is given": "from datetime import datetime\nx = datetime.fromisoformat(text)",
    "type annotation": "import random\ndef f(source: random.Random) -> random.Random: return source",
    "method named id": "x = branch.id()",
    "own name id": "def f(id):\n    return [id]",
    "membership": "x = 1 in {1, 2}",
    "sorted set": "for x in sorted({1, 2}): pass",
    "set from a set": "x = {y + 1 for y in {1, 2}}",
    "any over a set": "x = any(y > 1 for y in {1, 2})",
    "sorted generator": "x = sorted(y + 1 for y in {1, 2})",
    "dict display": "for x in {1: 2}: pass",
    "dict pop": "x = {1: 2}.pop(1)",
    "name of another function": "def f():\n    a = set()\ndef g(a):\n    for x in a: pass",
    "attribute of another class": "class C:\n    a: set[int]\nclass D:\n    a: list[int]\n"
    "    def f(self):\n        for x in self.a: pass",
    "weak reference": "import weakref\nx = weakref.ref(a)",
    "excuse with a reason": "x = id(a)  # deterministic: only compared for equality",
    "excuse in a string": "x = '# deterministic: no comment'",
}


@pytest.mark.parametrize("source", FIRES.values(), ids=FIRES.keys())
def test_nondeterminism_is_found(source: str) -> None:
    assert check_determinism(source, "pool/example.py")


@pytest.mark.parametrize("source", SILENT.values(), ids=SILENT.keys())
def test_determinism_is_left_alone(source: str) -> None:
    assert check_determinism(source, "pool/example.py") == []


def test_finding_names_the_line_and_the_full_name() -> None:
    source = "import time as clock\n\nx = clock.perf_counter()"
    message = "time.perf_counter: the wall clock must not reach a run"
    assert check_determinism(source, "pool/example.py") == [Finding(3, message)]


def test_only_decisions_may_make_generators() -> None:
    assert check_determinism("import random\nx = random.Random(7)", RANDOM_SOURCE) == []


def test_even_decisions_must_seed_generators() -> None:
    assert check_determinism("import random\nx = random.Random()", RANDOM_SOURCE)


def test_only_the_baton_may_use_threads() -> None:
    assert check_determinism("import threading\nx = threading.Thread()", THREAD_CARRIER) == []


def test_the_baton_may_not_use_the_clock() -> None:
    assert check_determinism("import time\nx = time.time()", THREAD_CARRIER)


def test_excuse_covers_only_its_own_line() -> None:
    assert check_determinism("x = id(a)  # deterministic: fine\ny = id(b)", "pool/example.py")


def test_long_file_is_found() -> None:
    assert check_shape('"""Doc."""\n' + "x = 1\n" * FILE_LINES_MAX)


def test_file_of_the_greatest_length_is_left_alone() -> None:
    assert check_shape('"""Doc."""\n' + "x = 1\n" * (FILE_LINES_MAX - 1)) == []


def test_long_function_is_found() -> None:
    assert check_shape('"""Doc."""\ndef f():\n' + "    x = 1\n" * FUNCTION_LINES_MAX)


def test_function_of_the_greatest_length_is_left_alone() -> None:
    assert check_shape('"""Doc."""\ndef f():\n' + "    x = 1\n" * (FUNCTION_LINES_MAX - 1)) == []


def test_missing_docstring_is_found() -> None:
    assert check_shape("x = 1\n") == [Finding(1, "the module does not say what it is: give it a docstring")]


@pytest.mark.parametrize(
    "text",
    [
        "cd /" + "work/main",
        "'/" + "root/.cache'",
        "/home/" + "someone/x",
        "see ../" + "shared",
        "pypi" + ".org",
    ],
)
def test_machine_name_is_found(text: str) -> None:
    assert check_machine_names(text)


@pytest.mark.parametrize(
    "text",
    ["src/work/x", "https://example.org/work/x", ".github/workflows/ci.yml", "/tmp/x", "the shared page"],
)
def test_other_paths_are_left_alone(text: str) -> None:
    assert check_machine_names(text) == []
