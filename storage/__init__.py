"""The truth in SQL and the files beside it: tables, migrations, one file of queries per noun, artifacts."""
