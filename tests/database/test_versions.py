"""Statements and session parameters stay within PostgreSQL 13, which no test here can run."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from app.database.connection import _SWITCHED_OFF, _startup_parameters, _statement
from tests.conftest import ROOT, MakeSettings
from tests.support.marks import on_postgresql

# What the release notes of PostgreSQL 14 to 18 have added, as far as a statement of ours might want it.
NEWER = {
    14: r"date_bin|string_to_table|bit_count|trim_array|\w*multirange\w*|range_agg|split_part\([^)]*, *-|waitstart"
    r"|pg_stat_wal\b|pg_backend_memory_contexts|query_id|compute_query_id|BEGIN ATOMIC|OR REPLACE TRIGGER"
    r"|(?:SEARCH (?:DEPTH|BREADTH)|CYCLE \w+) SET|COMPRESSION (?:pglz|lz4)|pg_read_all_data|pg_write_all_data"
    r"|idle_session_timeout|GROUP BY DISTINCT",
    15: r"MERGE INTO|NULLS NOT DISTINCT|security_invoker|regexp_(?:count|instr|like|substr)|pg_stat_subscription_stats"
    r"|SET ACCESS METHOD|unicode_normalize|has_parameter_privilege",
    16: r"any_value|IS (?:NOT )?JSON\b|JSON_(?:ARRAY|ARRAYAGG|OBJECT|OBJECTAGG)\(|array_(?:sample|shuffle)"
    r"|random_normal|pg_stat_io|0x[0-9a-f]+\b(?=.*::)|erfc?\(|date_(?:add|subtract)\(",
    17: r"JSON_(?:TABLE|QUERY|VALUE|EXISTS|SCALAR|SERIALIZE)\(|merge_action|transaction_timeout|to_bin|to_oct"
    r"|xmltext|uuid_extract_\w+|pg_stat_checkpointer|AT LOCAL|SPLIT PARTITION|MERGE PARTITIONS",
    18: r"uuidv[47]\(|RETURNING (?:WITH|OLD|NEW)\b|WITHOUT OVERLAPS|\bPERIOD\b|NOT ENFORCED|casefold|array_reverse"
    r"|array_sort|file_copy_method|io_method|crc32c?\(",
}
# Parameters of a session that this project sets; each has been there since PostgreSQL 13 or longer.
PARAMETERS = {
    "application_name",
    "default_transaction_isolation",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronous_commit",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "timezone",
}


def statements() -> Iterator[tuple[Path, str]]:
    """Every text in the service and its migrations that reads like SQL."""
    for folder in ("app", "alembic"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and re.search(r"[A-Z]{3}", node.value)
                ):
                    yield path, node.value


def test_no_statement_needs_a_newer_server() -> None:
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(NEWER.values())})")
    found = {(str(path.relative_to(ROOT)), match[0]) for path, text in statements() for match in pattern.finditer(text)}
    assert found == set()


@on_postgresql
def test_sessions_have_old_parameters_and_newer_ones_only_where_the_server_knows_them(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings()
    assert set(_startup_parameters(settings)) <= PARAMETERS
    statement = _statement({}, local=False)
    newer = re.findall(r"CASE WHEN current_setting\('(\w+)', true\) IS NOT NULL THEN set_config\('\1'", statement)
    assert newer == list(_SWITCHED_OFF)
    assert set(re.findall(r"set_config\('(\w+)'", statement)) - set(newer) <= PARAMETERS


def test_the_patterns_find_what_they_are_for() -> None:
    examples = {
        14: "SELECT date_bin('1 s', a, b)",
        15: "MERGE INTO a",
        16: "WHERE a IS JSON",
        17: "JSON_TABLE(a)",
        18: "uuidv7()",
    }
    for version, example in examples.items():
        assert re.search(rf"(?<!\w)(?:{NEWER[version]})", example), version
