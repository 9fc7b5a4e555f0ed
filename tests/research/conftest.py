"""A pack whose rows and columns a test may change."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reenactor.research.data.shards import INDEX


@pytest.fixture
def edited(pack, tmp_path):
    """A function that copies the pack with only the rows that `keep` accepts, and with changed columns of the index."""

    def edit(keep, **columns):
        folder = tmp_path / "edited"
        shutil.copytree(pack, folder)
        rows = [row | columns for row in pq.read_table(pack / INDEX).to_pylist() if keep(row)]
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(pack / INDEX)), folder / INDEX)
        return folder

    return edit
