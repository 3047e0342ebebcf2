"""Django's database engine for PostgreSQL, with a pool whose connections are checked without a round trip."""
