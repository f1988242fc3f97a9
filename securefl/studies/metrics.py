"""The metrics that a study shows where it names none."""

from collections.abc import Mapping

from securefl.studies.scores import Scores
from securefl.studies.study import Study


def with_usual_metrics(study: Study, scores: Scores) -> Study:
    """Returns the study; one that names no metrics shows errors where records have real targets."""
    if "metrics" in study.model_fields_set:
        return study
    measured = {metric for metric, rows in scores.values.items() if _has_number(rows)}
    if "rmse" not in measured or "accuracy" in measured:
        return study
    return study.model_copy(update={"metrics": ("rmse", "mae", "r2")})


def _has_number(rows: Mapping[str, Mapping[int, float | None]]) -> bool:
    values = [value for by_seed in rows.values() for value in by_seed.values()]
    return any(value is not None for value in values)
