"""RTLIL text as Amaranth writes it, item by item: what is removed from it, and what is said in another way."""

import re
from dataclasses import dataclass

__all__ = ["with_enables", "without_assertions"]

_MODULE = re.compile(r"(?m)^(?=(?:attribute .*\n)*module )")
_ITEM = re.compile(r"(?m)(?:^  attribute .*\n)*"
                   r"^(?:  (?:cell|process) .*\n(?:.*\n)*?  end\n|  (?:wire|memory) .*\n|(?:  )?connect .*\n)\n?")
_ID = re.compile(r"[\\$]\S+")
_ASSERTIONS = ("$check", "$print")


@dataclass(frozen=True)
class _Item:
    """A wire, memory, cell, process or connection of a module, with the wires that it drives and reads.

    `keeps` says that it has to stay although nothing reads it.
    """

    text: str
    kind: str
    drives: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    keeps: bool = False


def _item(text):
    words = re.sub(r"^(?:  attribute .*\n)*", "", text).split(None, 3)
    if words[0] == "cell":
        ports = re.findall(r"(?m)^    connect \\(\S+) (.*)$", text)
        simple = words[1].startswith("$") and not words[1].startswith("$mem")
        outputs = {"Y", "Q"} if simple else set()
        drives, reads = (tuple(name for port, value in ports if (port in outputs) == driven
                               for name in _ID.findall(value)) for driven in (True, False))
        return _Item(text, words[1], drives, reads, not simple)
    if words[0] == "process":
        assigned = re.findall(r"(?m)^ +assign (\S+)", text)
        body = re.sub(r"(?m)^ +assign \S+", "", text.partition("\n")[2])
        return _Item(text, "process", tuple(assigned), tuple(_ID.findall(body)))
    if words[0] == "connect":
        left, right = re.match(r"\s*connect (\{.*?\}|\S+(?: \[.*?\])?) (.*)", text).groups()
        return _Item(text, "connect", tuple(_ID.findall(left)), tuple(_ID.findall(right)))
    name = text.split()[-1]
    port = words[0] == "wire" and re.search(r"(?m)^  wire .*\b(?:input|output|inout)\b", text)
    return _Item(text, words[0], reads=(name,), keeps=bool(port) or words[0] == "memory")


def _live(items):
    """Names of the wires that something that stays depends on."""
    drivers = {}
    for item in items:
        for name in item.drives:
            drivers.setdefault(name, []).append(item)
    live, waiting = set(), [name for item in items if item.keeps for name in item.reads]
    while waiting:
        name = waiting.pop()
        if name not in live:
            live.add(name)
            waiting += [read for item in drivers.get(name, ()) for read in item.reads]
    return live


def _stripped(module):
    items = [_item(found.group()) for found in _ITEM.finditer(module)]
    checks = [item for item in items if item.kind in _ASSERTIONS]
    if not checks:
        return module
    rest = [item for item in items if item.kind not in _ASSERTIONS]
    needed = _live(rest)
    # What nothing needed before stays: the text without assertions is that of a design that never had any.
    served = _live([*rest, *(_Item("", "root", reads=item.reads, keeps=True) for item in checks)]) - needed
    gone = {item.text for item in checks}
    gone |= {item.text for item in rest if item.drives and served.issuperset(item.drives)}
    gone |= {item.text for item in rest if item.kind == "wire" and served.issuperset(item.reads)}
    return _ITEM.sub(lambda found: "" if found.group() in gone else found.group(), module)


def without_assertions(text):
    """The text without assertions, and without the registers and logic of a module that only they use."""
    return "".join(map(_stripped, _MODULE.split(text)))


_SLICE = r"(\S+ \[\S+\])"
_ARM = re.compile(rf"    switch (.+)\n      case 1'1\n        assign {_SLICE} (.+)\n    end\n")
_CONSTANT = re.compile(r"\d+'[01]+")


def _held(process):
    """(wire assigned, wire that it holds, arms) of a process that is a chain of plain Ifs over a default, or None."""
    found = re.match(rf"  process \S+\n    assign {_SLICE} {_SLICE}\n", process)
    if not found:
        return None
    target, default = found.groups()
    arms, at = [], found.end()
    while arm := _ARM.match(process, at):
        if arm.group(2) != target:
            return None
        arms.append((arm.group(1), arm.group(3)))
        at = arm.end()
    return (target, default, arms) if process[at:].strip() == "end" else None


def _enabled(module):
    items = [_item(found.group()) for found in _ITEM.finditer(module)]
    processes = [item.text for item in items if item.kind == "process"]
    held = {found[0]: (text, *found[1:]) for text in processes if (found := _held(text))}
    changed, any_of = {}, {}
    for item in items:
        if item.kind != "$dff":
            continue
        ports = dict(re.findall(r"(?m)^    connect \\(\S+) (.*)$", item.text))
        process, default, arms = held.get(ports["D"], (None, None, ()))
        if not arms or default.partition(" ")[0] != ports["Q"]:
            continue
        (enable, value), *resets = arms
        constants = {constant for _, constant in resets}
        if len(constants) > 1 or not all(map(_CONSTANT.fullmatch, constants)):
            continue
        kind = "$sdffe" if resets else "$dffe"
        lines = f"    parameter \\EN_POLARITY 1\n    connect \\EN {enable}\n"
        if resets:  # they come last
            conditions = tuple(condition for condition, _ in resets)
            reset = conditions[0] if len(resets) == 1 else any_of.setdefault(conditions, f"$any{len(any_of)}")
            lines += (f"    parameter \\SRST_POLARITY 1\n    parameter \\SRST_VALUE {constants.pop()}\n"
                      f"    connect \\SRST {reset}\n")
        text = item.text.replace("cell $dff ", f"cell {kind} ").replace(f"connect \\D {ports['D']}\n",
                                                                        f"connect \\D {value}\n")
        changed[item.text] = text.replace("\n  end\n", f"\n{lines}  end\n")
        changed[process] = ""
    module = _ITEM.sub(lambda found: changed.get(found.group(), found.group()), module)
    head, end, tail = module.rpartition("\nend\n")
    for conditions, name in any_of.items():
        head = re.sub(r"(?m)^(module .*\n)", rf"\g<1>\n  wire width 1 {name}\n", head, count=1)
        head += (f"\n  cell $reduce_or {name}_or\n    parameter \\A_SIGNED 0\n"
                 f"    parameter \\A_WIDTH {len(conditions)}\n    parameter \\Y_WIDTH 1\n"
                 f"    connect \\A {{ {' '.join(conditions)} }}\n    connect \\Y {name}\n  end\n")
    return head + end + tail


def with_enables(text):
    """The text with an enable at every flip-flop that holds, in place of a path from its output to its input.

    Verilator copies a register that holds twice a cycle, and makes its next value for nothing; with an enable it
    does neither.
    """
    return "".join(map(_enabled, _MODULE.split(text)))
