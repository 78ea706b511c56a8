"""The texts on which activations are measured: our own words, the same on every machine.

Sentences by hand carry variety of kind (chat, notes, code, numbers, other scripts); patterns
filled from word lists carry variety of vocabulary; joined runs of them carry length.
"""

from __future__ import annotations

from collections.abc import Iterator

BY_HAND = (
    "hi",
    "ok, thanks!",
    "lol no way",
    "Good morning, how did the interview go?",
    "My sister moved to Lisbon in March and opened a small bakery near the river.",
    "I am allergic to hazelnuts, so please never suggest that cake again.",
    "remind me to call the dentist on thursday at half past nine",
    "The train to Vienna leaves at 07:42 from platform 6; change in Salzburg.",
    "Can you remember that the spare key is under the third flower pot?",
    "We decided against the blue curtains because the room gets so little sun.",
    "did you try turning it off and on again",
    "sudo mount -o remount,rw /dev/sda2 /mnt/backup",
    "Traceback: KeyError 'user_id' in handlers/session.py, line 212",
    "def area(radius): return 3.14159 * radius ** 2",
    "SELECT name, total FROM invoices WHERE total > 900 ORDER BY total DESC;",
    "{\"level\": \"warn\", \"queue\": 17, \"retry\": true}",
    "https://example.org/docs/setup?lang=en#step-3",
    "The kernel panics when I plug in the second monitor, but only after suspend.",
    "Which package has the headers for the wireless driver?",
    "My server has 64 GB of memory, two 4 TB disks and a ten year old power supply.",
    "Invoice 2291 was paid on 14 February 2023, 1,250.00 euros, thank you.",
    "Her phone number ends in 0047 and she prefers messages after six.",
    "He said he'd rather walk; I'd rather he didn't.",
    "What a game!!! Three goals in the last five minutes :-)",
    "WHY IS EVERYONE SHOUTING IN THIS CHANNEL",
    "hmm... maybe, maybe not... let me think about it for a day or two",
    "The doctor changed my prescription from 20 mg to 10 mg because of the headaches.",
    "Grandmother's recipe: two eggs, a cup of flour, a pinch of salt, and patience.",
    "The committee postponed its vote on the harbour bridge until the autumn session.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "A prime number has exactly two divisors; one is not prime.",
    "In the second chapter the lighthouse keeper finds the letter that was never sent.",
    "Quarterly revenue rose eight percent while shipping costs fell for the first time.",
    "The cat, the dog and the very old parrot share one sofa without a single fight.",
    "Please translate: je voudrais une table pour quatre personnes ce soir.",
    "Ich habe gestern meinen Schlüssel im Büro vergessen.",
    "¿Dónde está la biblioteca? Creo que cerró a las ocho.",
    "Мы встретимся завтра у входа в парк.",
    "明日の会議は十時からです。",
    "我喜欢在雨天喝热茶。",
    "αβγ, naïve café, Łódź, smörgåsbord, Æsop",
    "🎉🎉 happy birthday 🎂 see you at eight 🕗",
    "x = 4, y = -7.5, z = 1e-9, w = 0xFF3A",
    "?",
    "...",
    "- milk\n- bread\n- two lemons\n- batteries (AA)",
    "The password policy asks for twelve characters, and no, I will not type mine here.",
    "If the pump runs dry for more than a minute, its seal melts and floods the cellar.",
    "Once I had learned to say no, the rest of the job became almost pleasant.",
    "antidisestablishmentarianism pneumonoultramicroscopic zzzzyx qwrtp",
)

PATTERNS = (
    "{who} wants to {do} the {thing} before {when}.",
    "did {who} really {do} that {quality} {thing}?",
    "I told {who} that the {thing} in {place} is too {quality}, but nobody listened.",
    "how do I {do} a {quality} {thing}",
    "{when} we went to {place} to {do} a {thing}; it was {quality} and we loved it",
    "Note: the {thing} for {who} costs {number} and arrives {when}.",
    "error {number}: cannot {do} {thing}, is {place} {quality}?",
    "{who}: no idea, ask again {when}, the {thing} is still {quality}",
    "After {number} attempts to {do} it, {who} gave the {quality} {thing} away in {place}.",
)

WORDS = {
    "who": (
        "Ana", "my brother", "the landlord", "Dr. Osei", "everyone", "Mei Lin", "a stranger",
        "the night shift", "Tomasz", "our teacher", "the committee", "Priya",
    ),
    "do": (
        "repair", "sell", "install", "paint", "forget", "compile", "return", "cook", "measure",
        "describe", "encrypt", "plant", "cancel",
    ),
    "thing": (
        "bicycle", "printer driver", "violin", "contract", "database", "garden wall", "soup",
        "passport", "telescope", "mortgage", "wedding dress", "firewall", "piano", "vaccine",
        "tax return", "canoe", "novel",
    ),
    "quality": (
        "broken", "expensive", "beautiful", "slow", "secret", "purple", "heavy", "legal",
        "frozen", "ancient", "noisy",
    ),
    "place": (
        "Nairobi", "the attic", "/etc/network", "Oslo", "the hospital", "a village by the sea",
        "the server room",
    ),
    "when": (
        "tomorrow", "in 1998", "last winter", "on Friday at noon", "two weeks ago",
    ),
    "number": ("12", "404", "3.75 dollars", "one hundred", "7"),
}

FILLED = 432
RUNS = 60


def texts() -> Iterator[str]:
    """About 540 texts of 3 to 256 tokens."""
    yield from BY_HAND
    yield from map(_filled, range(FILLED))
    for run in range(RUNS):
        parts = [_filled(7 * run + 5 * i) for i in range(2 + run % 15)]
        yield " ".join([BY_HAND[run % len(BY_HAND)], *parts])


def _filled(number: int) -> str:
    """Pattern and words of this number; the lists' lengths have no common factor to repeat by."""
    chosen = {kind: words[number % len(words)] for kind, words in WORDS.items()}
    return PATTERNS[number % len(PATTERNS)].format(**chosen)
