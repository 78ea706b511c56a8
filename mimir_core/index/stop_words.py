"""English words that say nothing by themselves."""

from __future__ import annotations

# Closed-class English. "don", "won" and "haven" stay terms: they are a name, a verb and a noun too.
_ENGLISH = """
    a an the and or but nor so if then else than as because while until although though
    of at by for with about against between into through during before after above below to from
    up down in out on off over under again further once upon within without toward towards
    i me my mine myself we us our ours ourselves you your yours yourself yourselves
    he him his himself she her hers herself it its itself they them their theirs themselves
    this that these those here there what which who whom whose when where why how
    am is are was were be been being have has had having do does did doing done
    can could may might must shall should will would ought
    not no any some all both each few more most other such only own same too very just also
    ain aren didn doesn hadn hasn isn wasn weren couldn shouldn wouldn
"""
STOP_WORDS = frozenset(_ENGLISH.split())
