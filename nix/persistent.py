# The sectors of a disk image that are not zero, as init reads them: for each run its offset and length, as numbers of eight
# and four bytes, and its bytes.
import struct
import sys

SECTOR = 512
# Copies of the superblock but the first: the kernel writes them by itself.
COPIES = {(64 << 20) // SECTOR + number for number in range(4096 // SECTOR)}
# The first one is a run of its own, since init changes it and writes it last.
FIRST = (64 << 10) // SECTOR

with open(sys.argv[1], "rb") as image, open(sys.argv[2], "wb") as out:
    runs: list[tuple[int, bytearray]] = []
    number = 0
    while sector := image.read(SECTOR):
        is_first = FIRST <= number < FIRST + 4096 // SECTOR
        if number not in COPIES and (is_first or any(sector)):
            begins = number in (FIRST, FIRST + 4096 // SECTOR)
            if not begins and runs and runs[-1][0] + len(runs[-1][1]) == number * SECTOR:
                runs[-1][1].extend(sector)
            else:
                runs.append((number * SECTOR, bytearray(sector)))
        number += 1
    for at, data in runs:
        out.write(struct.pack("<QI", at, len(data)) + data)
