"""Tables of pages as CSV."""

from securefl.ui.report.table import Table, csv_of


def test_a_text_that_a_spreadsheet_would_compute_becomes_a_text() -> None:
    table = Table(("=1+1", "n"), [("@SUM(A1)", -1.5), ("-a", 1e-17), ("a-b", None)])
    assert csv_of(table) == "'=1+1,n\n'@SUM(A1),-1.5\n'-a,1e-17\na-b,\n"
