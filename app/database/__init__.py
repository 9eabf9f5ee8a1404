"""Everything that differs between SQLite and PostgreSQL: engines, types, constructs, errors, migrations."""
