"""Ways to damage the file of a store."""

import shutil
import sqlite3

FILE = "embeddings.sqlite3"
PAGE = 32_768


def pages_zeroed(folder, rng):
    def change(content):
        for page in rng.integers(1, len(content) // PAGE, 2):
            content[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)

    _change(folder, change)


def pages_swapped(folder, rng):
    def change(content):
        for _ in range(2):
            a, b = (int(at) * PAGE for at in rng.integers(1, len(content) // PAGE, 2))
            first, second = content[a : a + PAGE], content[b : b + PAGE]
            content[a : a + PAGE], content[b : b + PAGE] = second, first

    _change(folder, change)


def pages_repeated(folder, rng):
    def change(content):
        a, b = (int(at) * PAGE for at in rng.integers(1, len(content) // PAGE, 2))
        content[a : a + PAGE] = content[b : b + PAGE]

    _change(folder, change)


def bytes_flipped(folder, rng):
    def change(content):
        for at in rng.integers(100, len(content), rng.integers(1, 200)):
            content[at] ^= 1 << rng.integers(8)

    _change(folder, change)


def high_bits_flipped(folder, rng):
    """Flip the highest bits of many 32-bit words, which cancel out in a sum."""

    def change(content):
        for at in rng.integers(25, len(content) // 4, 2_000):
            content[4 * at + 3] ^= 0x80

    _change(folder, change)


def tree_pages_flipped(folder, rng):
    """Flip bits of the cells and pointers of pages."""

    def change(content):
        for page in range(1, len(content) // PAGE):
            for at in rng.integers(0, 64, 2):
                content[page * PAGE + at] ^= 1 << rng.integers(8)

    _change(folder, change)


def truncated(folder, rng):
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[: rng.integers(0, len(content))])


def header_damaged(folder, rng):
    def change(content):
        for at in rng.integers(0, 100, rng.integers(1, 6)):
            content[at] = rng.integers(256)

    _change(folder, change)


def log_damaged(folder, rng):
    """Damage a log that was not written back: flip bits, truncate or zero its head."""
    with_log(folder)
    log = folder / f"{FILE}-wal"
    content = bytearray(log.read_bytes())
    match rng.integers(3):
        case 0:
            for at in rng.integers(0, len(content), 50):
                content[at] ^= 1 << rng.integers(8)
        case 1:
            del content[rng.integers(len(content)) :]
        case _:
            content[:32] = bytes(32)
    log.write_bytes(bytes(content))


def log_of_another_file(folder, rng):
    other = folder.with_name(f"{folder.name}-other")
    other.mkdir()
    with sqlite3.connect(other / FILE) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE t (a, b)")
        for _ in range(rng.integers(1, 30)):
            connection.execute("INSERT INTO t VALUES (1, randomblob(40000))")
        connection.commit()
        shutil.copy(other / f"{FILE}-wal", folder)
    connection.close()
    shutil.rmtree(other)


def shared_memory_damaged(folder, rng):
    with_log(folder)
    (folder / f"{FILE}-shm").write_bytes(rng.bytes(PAGE))


def log_alone(folder, rng):
    with_log(folder)
    (folder / FILE).unlink()


def schema_altered(folder, rng):
    statements = [
        "DROP TABLE files",
        "DROP TABLE blocks",
        "DROP INDEX blocks_by_scope",
        "ALTER TABLE blocks RENAME COLUMN vectors TO rows",
        "ALTER TABLE blocks ADD COLUMN more",
        "ALTER TABLE blocks DROP COLUMN crc",
        "ALTER TABLE scopes RENAME TO scope",
        "DELETE FROM scopes",
        "CREATE TRIGGER t BEFORE INSERT ON blocks BEGIN SELECT RAISE(FAIL, 'no'); END",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 3",
        "PRAGMA journal_mode = DELETE",
    ]
    _execute(folder, statements[rng.integers(len(statements))])


def cells_of_other_types(folder, rng):
    values = [
        "'text'",
        "NULL",
        "1.5",
        "x''",
        "-1",
        "9223372036854775807",
        "zeroblob(7)",
    ]
    column = ["scope", "width", "stored", "crc", "keys", "vectors"][rng.integers(6)]
    value = values[rng.integers(len(values))]
    _execute(
        folder,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') "
        "WHERE name = 'blocks'",
        "PRAGMA writable_schema = RESET",
        f"UPDATE blocks SET {column} = {value} WHERE id % {rng.integers(1, 4)} = 0",
    )


def rows_given_to_others(folder, rng):
    """Exchange columns of blocks, as damage to cell pointers would."""
    column = ["scope", "keys", "vectors", "crc", "width"][rng.integers(5)]
    _execute(
        folder,
        f"UPDATE blocks SET {column} = "
        f"(SELECT {column} FROM blocks AS b WHERE b.id = blocks.id % 7 + 1)",
    )


def huge_lengths(folder, rng):
    sizes = [2**31 - 1, 1_000_000_000, 900_000_000]
    size = sizes[rng.integers(len(sizes))]

    def change(content):
        # A serial type of a blob is 12 + 2n, as a varint of five bytes.
        found = content.find(b"\x06\x01")
        serial = 12 + 2 * size
        varint = bytes(
            (serial >> shift & 0x7F) | (0x80 if shift else 0)
            for shift in (28, 21, 14, 7, 0)
        )
        for page in range(1, len(content) // PAGE):
            at = page * PAGE + int(rng.integers(100, PAGE - 8))
            content[at : at + 5] = varint
        content[found : found + 5] = varint

    _change(folder, change)


def files_table_altered(folder, rng):
    values = ["'zz'", "x'ff'", "replace(content_key, '1', '2')", "upper(content_key)"]
    _execute(folder, f"UPDATE files SET content_key = {values[rng.integers(4)]}")


def foreign(folder, rng):
    (folder / FILE).unlink()
    match rng.integers(4):
        case 0:
            _execute(folder, "CREATE TABLE mine (a)", "INSERT INTO mine VALUES (1)")
        case 1:
            _execute(folder, "CREATE TABLE blocks (a)", "PRAGMA user_version = 2")
        case 2:
            (folder / FILE).write_bytes(rng.bytes(5_000))
        case _:
            (folder / FILE).write_text("a diary\n" * 100)


DAMAGES = [
    pages_zeroed,
    pages_swapped,
    pages_repeated,
    bytes_flipped,
    high_bits_flipped,
    tree_pages_flipped,
    truncated,
    header_damaged,
    log_damaged,
    log_of_another_file,
    shared_memory_damaged,
    log_alone,
    schema_altered,
    cells_of_other_types,
    rows_given_to_others,
    huge_lengths,
    files_table_altered,
    foreign,
]


def with_log(folder):
    """Leave half of the blocks in a log, like a killed writer."""
    copy = folder.with_name(f"{folder.name}-log")
    connection = sqlite3.connect(folder / FILE, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("UPDATE blocks SET stored = stored + 1 WHERE id % 2")
    copy.mkdir()
    for name in (FILE, f"{FILE}-wal"):
        shutil.copy(folder / name, copy)
    connection.close()
    for path in folder.iterdir():
        path.unlink()
    for path in copy.iterdir():
        shutil.move(path, folder)
    copy.rmdir()


def _change(folder, change):
    content = bytearray((folder / FILE).read_bytes())
    change(content)
    (folder / FILE).write_bytes(bytes(content))


def _execute(folder, *statements):
    connection = sqlite3.connect(folder / FILE, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
