"""How the kinds of errors are shown wherever they are: a sign, a colour and a few words each.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which the colour-blind tell
apart; nobody has to, since each kind has its sign. Their blue is lighter here, so that a black sign
is read on it.
"""

from entityseg_bench.errors.kinds import KINDS

__all__ = ["COLOURS", "MEANINGS", "SIGNS"]

# Kind -> sign, colour, meaning.
ABOUT = {
    "missed": ("-", "#d55e00", "no prediction is about the entity"),
    "spurious": ("+", "#f0e442", "a prediction that is on no entity"),
    "duplicate": ("=", "#56b4e9", "the entity has been found already"),
    "localisation": ("~", "#3b76e0", "the right place, the wrong shape"),
    "merged": ("&", "#cc79a7", "one prediction over several entities"),
    "split": ("/", "#009e73", "several predictions over one entity"),
    "boundary": ("o", "#e69f00", "wrong along the outline alone"),
}

SIGNS = {kind: ABOUT[kind][0] for kind in KINDS}
COLOURS = {kind: ABOUT[kind][1] for kind in KINDS}
MEANINGS = {kind: ABOUT[kind][2] for kind in KINDS}
