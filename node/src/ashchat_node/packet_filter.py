"""Removes chains and rules from the packet filter by what iptables-save prints."""

import re


def removal(saved: str, chain: re.Pattern[str], rule: re.Pattern[str] | None = None) -> str:
    """Return the input of iptables-restore --noflush that removes chains and their rules.

    Args:
        saved: The output of iptables-save.
        chain: Matches the names of the chains to remove, from their start.
        rule: Found in rules of other chains that must be removed, too; None: in none.

    Returns:
        For every table with such chains or rules: deletes those rules and the ones that jump to
        one of the chains, then flushes and deletes the chains. Empty if there are none.
    """
    out: list[str] = []
    for table in re.split(r"^(?=\*)", saved, flags=re.MULTILINE):
        if not table.startswith("*"):
            continue
        lines = table.splitlines()
        names = [line[1:].split()[0] for line in lines if line.startswith(":")]
        chains = [name for name in names if chain.match(name)]
        unwanted = [rule] if rule else []
        if chains:
            targets = "|".join(map(re.escape, chains))
            unwanted.append(re.compile(rf"(?:-j|-g) (?:{targets})(?:\s|$)"))
        deleted = [
            "-D" + line[2:]
            for line in lines
            if line.startswith("-A")
            and not chain.match(line.split()[1])
            and any(pattern.search(line) for pattern in unwanted)
        ]
        if chains or deleted:
            flushed = [f":{name} - [0:0]" for name in chains]  # this flushes an existing chain
            out += [lines[0], *flushed, *deleted, *(f"-X {name}" for name in chains), "COMMIT"]
    return "\n".join(out) + "\n" if out else ""
