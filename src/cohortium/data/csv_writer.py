"""A table as a CSV file (UTF-8, comma, one header line) that `csv_reader` reads back with equal values.

Whole numbers are written without a point, other numbers by their shortest exact form, missing values as nothing. Arrays
per row have no place in a CSV and are refused.
"""

from __future__ import annotations

import csv
import io

from cohortium.data.table import Table, number_text
from cohortium.errors import UsageError

__all__ = ["csv_bytes"]


def csv_bytes(table: Table) -> bytes:
    """The file's content. Raises UsageError for columns that hold an array a row."""
    columns = []
    for name in table.names:
        if table.is_array(name):
            raise UsageError(f"column '{name}' holds an array in every row; a CSV file cannot")
        held = table.column(name)
        texts = held.tolist() if table.is_text(name) else ["" if v != v else number_text(v) for v in held.tolist()]
        columns.append(texts)
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.names)
    writer.writerows(zip(*columns, strict=True))
    return file.getvalue().encode()
