"""What `mimir` says of itself, and the examples under each command's help."""

from __future__ import annotations

from typing import Final

from mimir_core.cli.exits import MEANINGS

OVERVIEW: Final = """\
Mimir: a private, encrypted, local memory for AI agents.

A vault is one file, sealed under your passphrase. Nothing leaves this computer.

See it work, in ten seconds:
  mimir demo

Make a vault, and use it:
  mimir create agent.mimir
  export MIMIR_VAULT=agent.mimir
  mimir remember "Ana's cat is called Pixel" --thread monday
  mimir recall "what is the cat's name?"
  mimir forget --thread monday --dry-run

More:
  mimir --help                  all commands and exit codes
  mimir recall --help           one command, with examples
  mimir doctor                  is everything in order?
  mimir --install-completion    commands and options complete with the Tab key"""

EXAMPLES: Final = {
    "create": """
mimir create agent.mimir                             asks for a passphrase
MIMIR_PASSPHRASE=... mimir create agent.mimir        in a script
""",
    "remember": """
mimir remember "Ana's cat is called Pixel"
mimir remember "We leave at nine" --thread trip --meta speaker=Ana --meta stars=4
mimir remember "Ana lives in Lisbon" --key ana.home   a later memory of the key erases this one
mimir remember - --namespace alice.notes < note.txt
""",
    "recall": """
mimir recall "what is the cat's name?"
mimir recall "where do we meet?" -k 3 --thread trip --context 2
mimir recall "allergies" --where speaker=Ana --where "stars>=4" --since 2024-05-01
mimir recall "the cat" --explain                      what each channel gave
mimir recall "the cat" --json | jq -r '.[].text'
""",
    "forget": """
mimir forget 0f3a...                                  an id, as recall shows it
mimir forget --key ana.home
mimir forget --where speaker=Ana --dry-run            lists, erases nothing
mimir forget --thread trip --cascade --yes            with what was made from it
mimir forget --mentions Pixel                         every copy, in all namespaces; asks first
""",
    "import": """
mimir import chat.jsonl archive.jsonl.gz
mimir import chat.jsonl --namespace alice.chat
zcat chat.jsonl.gz | mimir import -
# a line: {"text": "I bought a boat.", "speaker": "Maren", "time": "2025-03-03T19:44",
#          "conversation": "boat", "session": 1, "id": "1:3"}
""",
    "export": """
mimir export -o backup.jsonl                          in the clear: keep it safe
mimir export --namespace alice --descendants --since 2024-05-01
mimir export | jq -r .text | wc -w
""",
    "thread": """
mimir thread                                          lists the threads
mimir thread trip
mimir thread trip --json
""",
    "stats": """
mimir stats
mimir stats --json | jq .memories
""",
    "verify": """
mimir verify
mimir verify --json && cp agent.mimir /backup/
""",
    "passwd": """
mimir passwd                                          asks for the old one and the new one
mimir passwd --passphrase-file old --new-passphrase-file new
""",
    "doctor": """
mimir doctor                                          the installation and this folder
mimir doctor agent.mimir                              a vault from outside, too
mimir doctor --json
""",
    "demo": """
mimir demo
mimir demo --vault demo.mimir                         keeps the vault to play with
""",
}

_TOP: Final = """
mimir demo                                            see it work, in ten seconds
mimir create agent.mimir                              make a vault; asks for a passphrase
export MIMIR_VAULT=agent.mimir
mimir remember "Ana's cat is called Pixel" --meta speaker=Ana --thread monday
mimir import chat.jsonl.gz
mimir recall "what is the cat's name?" -k 3 --where speaker=Ana --since 2024-05-01
mimir forget --where speaker=Ana --dry-run
mimir verify
"""

_PASSPHRASE: Final = """\
The passphrase is asked for, or comes from MIMIR_PASSPHRASE or --passphrase-file.
A namespace is written with dots: --namespace alice.chat"""


def examples(command: str) -> str:
    """The examples of a command, as the epilog of its help."""
    return _block("Examples:", EXAMPLES[command])


def epilog() -> str:
    """What stands below the list of commands."""
    codes = "\n".join(f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items())
    return f"{_block('Examples:', _TOP)}\n\n\b\n{_PASSPHRASE}\n\n{_block('Exit codes:', codes)}"


def _block(title: str, lines: str) -> str:
    """Indented lines under a title; after a backspace the help leaves them unwrapped."""
    return f"\b\n{title}\n" + "\n".join(f"  {line}" for line in lines.strip("\n").splitlines())
