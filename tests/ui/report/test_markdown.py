"""The tables of a study as they stand in tables.md, in parts that a page can show."""

from pathlib import Path

from securefl.ui.report.markdown import Block, blocks_in

TEXT = """\
# Title of the study

20 seeds; mean ± standard error.
From /home/jane/study.toml.

- one
- two

## Section \\| a

|  | accuracy | difference |
|---|---|---|
| a \\| b | 0.700 ± 0.100 | -0.011 [-0.031, +0.009] |
| short |
| - | - | - |
"""


def test_a_text_of_tables_becomes_its_parts(tmp_path: Path) -> None:
    (tmp_path / "tables.md").write_text(TEXT, encoding="utf-8")
    assert blocks_in(tmp_path / "tables.md") == [
        Block("text", ["20 seeds; mean ± standard error.", "From …/study.toml."]),
        Block("items", ["one", "two"]),
        Block("heading", ["Section \\| a"]),
        Block(
            "table",
            (),
            ["", "accuracy", "difference"],
            [
                ["a | b", "0.700 ± 0.100", "-0.011 [-0.031, +0.009]"],
                ["short", "", ""],
                ["-", "-", "-"],
            ],
        ),
    ]


def test_a_folder_without_tables_has_no_parts(tmp_path: Path) -> None:
    assert blocks_in(tmp_path / "tables.md") == []
