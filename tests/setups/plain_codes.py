"""Compressed run lengths as their definition says them, in plain Python."""

__all__ = ["ALPHABET", "counts_in", "write_counts"]

# Characters "0" to "o" are run-length codes; 32 of them end a number, 32 say that it goes on.
ALPHABET = bytes(range(48, 112))


def counts_in(text, pixels):
    """Read compressed counts as their definition says, or give None where they are none."""
    counts, at = [], 0
    while at < len(text):
        value, shift = 0, 0
        while True:
            if at >= len(text) or text[at] not in ALPHABET or shift > 30:
                return None
            bits = text[at] - 48
            at += 1
            value |= (bits & 31) << shift
            shift += 5
            if not bits & 32:
                break
        value -= (bits >> 4 & 1) << shift
        if len(counts) > 2:
            value += counts[-2]
        if value < 0:
            return None
        counts.append(value)
    return counts if sum(counts) == pixels else None


def write_counts(counts):
    """Compress run lengths: differences to the last but one, 5 bits a character, signed."""
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + (32 if more else 0))
    return text.encode()
